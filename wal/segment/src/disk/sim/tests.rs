//! What the simulated disk loses and keeps.

use super::*;

fn disk_with_a_file() -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(1);
    let file = disk.create("f", 2048).expect("creates");
    file.sync().expect("syncs");
    disk.sync_dir("").expect("syncs");
    (disk, file)
}

#[test]
fn what_is_synced_survives_and_what_is_not_may_or_may_not_sector_by_sector() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let (disk, file) = disk_with_a_file();
        file.write_at(&[&[1; 512]], 0).expect("writes");
        file.sync().expect("syncs");
        file.write_at(&[&[2; 512], &[3; 512]], 512).expect("writes");
        let disk = disk.fork(seed);
        disk.crash();
        let bytes = disk.bytes("f").expect("reads");
        assert_eq!(bytes[..512], [1; 512]);
        seen.insert((bytes[512] == 2, bytes[1024] == 3));
    }
    assert_eq!(seen.len(), 4, "every subset is reached");
}

#[test]
fn a_failed_sync_drops_what_the_cache_still_shows() {
    let (disk, file) = disk_with_a_file();
    file.write_at(&[&[7; 512]], 0).expect("writes");
    disk.fail_sync(0);
    assert!(file.sync().is_err());
    file.sync().expect("the next one says all is well");
    let (mut cached, mut uncached) = ([0; 512], [0; 512]);
    file.read_at(&mut cached, 0).expect("reads");
    file.read_at_uncached(&mut uncached, 0).expect("reads");
    assert_eq!((cached[0], uncached[0]), (7, 0));
}

#[test]
fn a_name_that_is_not_synced_may_vanish_and_a_removed_one_may_come_back() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let (disk, _file) = disk_with_a_file();
        disk.create("g", 0).expect("creates").sync().expect("syncs");
        disk.remove("f").expect("removes");
        let disk = disk.fork(seed);
        disk.crash();
        seen.insert(disk.list("").expect("lists"));
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn power_goes_off_in_the_call_that_was_named() {
    let (disk, file) = disk_with_a_file();
    disk.fail_after(1);
    file.write_at(&[b"a"], 0).expect("before it");
    assert!(file.sync().is_err());
    assert!(disk.is_off() && disk.list("").is_err());
    disk.crash();
    assert!(file.len().is_err(), "the old handle is void");
    assert_eq!(disk.bytes("f").expect("reads").len(), 2048);
}
