//! A medium that rots: every flipped byte and every misplaced sector of a small log is found, or harmless.

use super::{DIR, Recovered, Trace, Workload, check, seal_and_read};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
#[cfg(test)]
use crate::{inspect, recover_partial};

/// A log of several segments, closed by a mark; with footers on the medium, or without.
fn reference(with_footers: bool) -> (SimDisk, Trace) {
    let disk = SimDisk::new(1);
    let mut workload = Workload::new(&disk, &|_| {}, 1);
    let mut log = workload.run().expect("nothing fails");
    log.mark().expect("marks");
    if with_footers {
        log.files().sync_footers().expect("syncs");
    }
    let trace = workload.trace;
    drop(log);
    disk.kill();
    if !with_footers {
        // Rolled segments lose their trailers: one more thing that may rot.
        for name in segments(&disk) {
            disk.flip(&format!("{DIR}/{name}"), 8192 - 1, 0xff);
        }
    }
    (disk, trace)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.list(DIR).expect("lists").into_iter().filter(|name| crate::names::parse(name).is_some()).collect()
}

/// Either the damage is named, or everything is there.
fn found_or_harmless(disk: &SimDisk, trace: &Trace, intact: &Recovered) -> Result<bool, String> {
    match seal_and_read(disk, 1, 0) {
        Ok(recovered) if recovered == *intact => Ok(false),
        Ok(recovered) => {
            Err(format!("cut to {}..={} of {} acknowledged", recovered.first, recovered.end, trace.acked))
        }
        Err(what) if what.contains("damage") => Ok(true),
        Err(what) => Err(what),
    }
}

/// What became of flips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flips {
    /// The recovery stopped and named the damage.
    pub found: u64,
    /// The same records were recovered.
    pub harmless: u64,
}

impl Flips {
    pub fn add(&mut self, found: bool) {
        *if found { &mut self.found } else { &mut self.harmless } += 1;
    }
}

/// Flips each byte of every segment of a log that is not sealed, with each mask.
///
/// # Errors
/// The first flip that is neither found nor harmless.
pub fn of_an_open_log(masks: &[u8], with_footers: bool) -> Result<Flips, String> {
    let (disk, trace) = reference(with_footers);
    let intact = seal_and_read(&disk.fork(1), 1, 0)?;
    check(&trace, &intact)?;
    every_byte(&disk, &segments(&disk), masks, &trace, &intact)
}

/// As [`of_an_open_log`], of a log that is sealed: its segments and its seal.
///
/// # Errors
/// The first flip that is neither found nor harmless.
pub fn of_a_sealed_log(masks: &[u8]) -> Result<Flips, String> {
    let (disk, trace) = reference(true);
    let intact = seal_and_read(&disk, 1, 0)?;
    check(&trace, &intact)?;
    let mut names = segments(&disk);
    names.push(crate::names::seal(super::LOG));
    every_byte(&disk, &names, masks, &trace, &intact)
}

fn every_byte(
    disk: &SimDisk,
    names: &[String],
    masks: &[u8],
    trace: &Trace,
    intact: &Recovered,
) -> Result<Flips, String> {
    let mut flips = Flips::default();
    for name in names {
        let path = format!("{DIR}/{name}");
        let len = disk.bytes(&path).map_err(|e| format!("{path}: {e}"))?.len() as u64;
        for at in 0..len {
            for mask in masks {
                let disk = disk.fork(1);
                disk.flip(&path, at, *mask);
                let found = found_or_harmless(&disk, trace, intact);
                flips.add(found.map_err(|what| format!("byte {at} of {name}, mask {mask:#04x}: {what}"))?);
            }
        }
    }
    Ok(flips)
}

#[test]
fn every_flipped_byte_is_found_or_harmless() {
    for with_footers in [true, false] {
        let flips = of_an_open_log(&[0x10], with_footers).unwrap_or_else(|what| panic!("{what}"));
        assert!(flips.found > 5_000, "{flips:?}");
    }
}

#[test]
fn every_flipped_byte_of_a_seal_is_found_and_an_operator_can_seal_again() {
    let (disk, trace) = reference(true);
    let intact = seal_and_read(&disk, 1, 0).expect("is whole");
    let path = format!("{DIR}/{}", crate::names::seal(super::LOG));
    for at in 0..64 {
        let disk = disk.fork(1);
        disk.flip(&path, at, 1 << (at % 8));
        let found =
            found_or_harmless(&disk, &trace, &intact).unwrap_or_else(|what| panic!("byte {at}: {what}"));
        assert!(found, "byte {at} is not looked at");
        let seen = inspect(&disk, DIR, super::LOG, 0).expect("inspects").damage;
        assert_eq!(seen.map(|damage| damage.file), Some(path.clone()));
        let again = recover_partial(&disk, DIR, super::LOG, 2, 0).expect("seals again");
        assert_eq!((again.seal.end, again.seal.executor), (intact.end, 2));
        assert_eq!(seal_and_read(&disk, 3, trace.acked).expect("is whole").records, intact.records);
    }
}

#[test]
fn every_misplaced_lost_or_foreign_sector_is_found_or_harmless() {
    let (disk, trace) = reference(true);
    let intact = seal_and_read(&disk.fork(1), 1, 0).expect("is whole");
    let names = segments(&disk);
    let mut found = 0;
    for name in &names {
        let path = format!("{DIR}/{name}");
        let own = disk.bytes(&path).expect("reads");
        let other = disk.bytes(&format!("{DIR}/{}", names[0])).expect("reads");
        for sector in 0..16 {
            let at = sector * 512;
            let next = (at + 512) % 8192;
            let zeros = vec![0; 512];
            for bytes in [&zeros[..], &own[next..next + 512], &other[at..at + 512]] {
                let disk = disk.fork(1);
                let file = disk.open(&path).expect("opens");
                file.write_at(&[bytes], at as u64).expect("writes");
                file.sync().expect("syncs");
                drop(file);
                match found_or_harmless(&disk, &trace, &intact) {
                    Ok(damage) => found += u32::from(damage),
                    Err(what) => panic!("sector {sector} of {name}: {what}"),
                }
            }
        }
    }
    assert!(found > 40, "{found} found");
}

#[test]
fn a_partial_recovery_keeps_what_is_before_the_damage_and_can_be_run_again_at_any_point() {
    let (disk, trace) = reference(true);
    let intact = seal_and_read(&disk.fork(1), 1, 0).expect("is whole");
    let names = segments(&disk);
    let place = recover_place(&disk, intact.records[4].0);
    disk.flip(&place.0, place.1 + 40, 4);
    let report = inspect(&disk, DIR, super::LOG, 0).expect("inspects");
    let damage = report.damage.expect("is seen");
    assert_eq!((damage.file, damage.offset), (place.0.clone(), place.1));
    assert_eq!((report.end, report.durable), (intact.records[3].0, trace.acked));
    for m in 0.. {
        let disk = disk.fork(m);
        disk.fail_after(m);
        let died = recover_partial(&disk, DIR, super::LOG, 5, 0).is_err();
        if m % 2 == 0 {
            disk.crash();
        } else {
            disk.kill()
        }
        let again = recover_partial(&disk, DIR, super::LOG, 6, 0);
        assert!(again.is_ok() || !died, "{again:?}");
        disk.crash();
        let kept = seal_and_read(&disk, 7, trace.acked).expect("what is kept is whole");
        assert_eq!(kept.records, intact.records[..4]);
        let all = disk.list(DIR).expect("lists");
        for name in &names {
            let aside = crate::names::aside(name);
            assert!(all.contains(name) || all.contains(&aside), "{name} is gone: {all:?}");
        }
        assert!(all.iter().any(|name| name.ends_with(".txt")), "nothing says what was given up");
        assert!(all.contains(&crate::names::aside(place.0.rsplit('/').next().expect("a name"))));
        if !died {
            break;
        }
    }
    let whole = reference(true).0;
    assert!(recover_partial(&whole, DIR, super::LOG, 5, 0).is_err(), "nothing to give up");
    let beyond = recover_partial(&whole, DIR, super::LOG, 5, trace.acked + 3)
        .expect("the floor says that records are lost");
    assert_eq!((beyond.seal.end, beyond.seal.given_up_to), (trace.acked, trace.acked + 3));
}

/// Path and offset of a record.
#[cfg(test)]
fn recover_place(disk: &SimDisk, seq: u64) -> (String, u64) {
    let want = crate::recover::Want { scan_all: true, ..Default::default() };
    let found = crate::recover::recover(disk, DIR, super::LOG, want).expect("is whole");
    let hit = found.segments.iter().find_map(|s| Some((s, s.records.iter().find(|r| r.seq == seq)?)));
    let (segment, record) = hit.expect("is there");
    (format!("{DIR}/{}", segment.name), record.offset.into())
}
