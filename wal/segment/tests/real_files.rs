//! The log on a real file system: what is committed is there after the writer is gone.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_segment::disk::OsDisk;
use tidegate_segment::{HEAD_BIT, LogIdentity, LogOptions, Meta, OpenRequest, SegmentLog};

const OPTIONS: LogOptions =
    LogOptions { segment_bytes: 256 << 10, align_bytes: 4096, record_bytes_max: 64 << 10 };

fn meta(base: i64) -> Meta {
    Meta { kind: 1 | HEAD_BIT, stream: 7, epoch: 3, base, count: 1 }
}

#[test]
fn a_log_goes_on_over_several_lives_and_gives_every_record_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut written: Vec<Bytes> = Vec::new();
    for life in 1..=4 {
        let disk = Arc::new(OsDisk::new(dir.path().to_owned()));
        let identity = LogIdentity { log: 5, incarnation: life };
        let request = OpenRequest { floor: written.len() as u64, payloads: life % 2 == 0 };
        let (mut log, records) = SegmentLog::open(disk, "raft", identity, OPTIONS, request).expect("opens");
        assert_eq!(records.len(), written.len());
        for (record, body) in records.iter().zip(&written) {
            assert_eq!(log.files().read(record.seq).expect("reads").1, body);
            assert!(record.payload.as_ref().is_none_or(|p| p == body));
            assert_eq!(record.prefix.map(|p| p.to_vec()), body.get(..61).map(<[u8]>::to_vec));
        }
        for i in 0..100u8 {
            let body = Bytes::from(vec![i; 13 + usize::from(i) * 300]);
            let (head, rest) = body.split_at(body.len() / 3);
            let seq = log.append(&meta(i.into()), head, &body.slice_ref(rest)).expect("appends");
            written.push(body);
            assert_eq!(seq, written.len() as u64);
            if i % 7 == 0 {
                log.commit().expect("commits");
            }
        }
        log.mark().expect("marks");
        log.files().prepare_spare().expect("prepares");
    }
    let disk = Arc::new(OsDisk::new(dir.path().to_owned()));
    let identity = LogIdentity { log: 5, incarnation: 4 };
    let again = SegmentLog::open(disk, "raft", identity, OPTIONS, OpenRequest::default());
    assert!(again.is_err(), "an incarnation is used once");
}
