//! A full disk does not poison.

use bytes::Bytes;

use super::{OPTIONS, open, seal_and_read};
use crate::disk::sim::SimDisk;
use crate::{FilesError, LogError, Meta, OpenRequest};

#[test]
fn a_full_disk_refuses_the_record_and_the_log_goes_on_when_there_is_space() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(2 * 8192 + 100));
    let (mut log, _) = open(&disk, 1, OpenRequest::default()).expect("opens");
    let body = Bytes::from(vec![1; 1000]);
    let mut written = 0;
    let refused = loop {
        match log.append(&Meta::default(), &[], &body) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        log.commit().expect("commits");
    };
    assert!(matches!(refused, LogError::NoSpace(_)) && written > 5, "{refused:?} after {written}");
    assert!(matches!(log.files().prepare_spare(), Err(FilesError::NoSpace(_))));
    assert_eq!(log.files().room(), 0);
    disk.set_capacity(None);
    log.files().prepare_spare().expect("there is space again");
    assert_eq!(log.append(&Meta::default(), &[], &body), Ok(written + 1));
    log.commit().expect("commits");
    disk.crash();
    assert_eq!(seal_and_read(&disk, 1, 0).expect("recovers").end, written + 1);
}

#[test]
fn records_within_the_room_always_find_it() {
    for seed in 0..200u64 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk, 1, OpenRequest::default()).expect("opens");
        log.files().prepare_spare().expect("prepares");
        log.files().prepare_spare().expect("prepares");
        let mut random = seed;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize
        };
        // Whatever is promised must fit, in any grouping and with any marks between.
        loop {
            let mut promised = Vec::new();
            let mut room = log.files().room();
            loop {
                let len = next() % 1025;
                let Some(left) = room.checked_sub(OPTIONS.charge(len)) else { break };
                room = left;
                promised.push(len);
                if next() % 8 == 0 {
                    break;
                }
            }
            if promised.is_empty() {
                break;
            }
            let files = log.files().file_count();
            for len in promised {
                log.append(&Meta::default(), &[], &Bytes::from(vec![2; len])).expect("appends");
                if next() % 2 == 0 {
                    log.commit().expect("commits");
                }
                if next() % 3 == 0 {
                    log.mark().expect("marks");
                }
            }
            log.commit().expect("commits");
            assert_eq!(
                log.files().file_count(),
                files,
                "seed {seed}: a segment was made that nobody had prepared"
            );
        }
    }
}

/// Else a power loss leaves nothing that says where the log ended, and the start that knows it from elsewhere stops.
#[test]
fn a_segment_goes_only_once_its_successor_is_durable() {
    let disk = SimDisk::new(3);
    let (mut log, _) = open(&disk, 1, OpenRequest::default()).expect("opens");
    let body = Bytes::from(vec![1; 1000]);
    loop {
        log.append(&Meta::default(), &[], &body).expect("there is space");
        if log.files().file_count() == 2 {
            break;
        }
        log.commit().expect("commits");
    }
    let durable = log.durable();
    assert!(durable > 0 && log.next_seq() == durable + 2, "the new segment's first record is not synced");
    assert_eq!(log.files().trim(durable + 1, 0).expect("trims"), 0);
    disk.crash_hard();
    assert!(seal_and_read(&disk, 1, durable).expect("nothing durable is lost").end >= durable);
}
