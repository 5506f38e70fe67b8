//! Rare states that a long run must reach (reliability.md 6.6, as far as one process can).
//!
//! Owns: their names. A run counts them; the sum over all runs is printed, and a `--full` run with a zero has failed.

macro_rules! states {
    ($($name:ident: $label:literal, $says:literal;)*) => {
        $(#[doc = $says] pub const $name: &str = $label;)*
        /// All labels, with what each says.
        pub const ALL: &[(&str, &str)] = &[$(($label, $says)),*];
    };
}

states! {
    FAILOVER_DURING_UPLOAD: "failover-during-upload", "a crash while ids were prepared and not committed";
    ZOMBIE_PUT: "zombie-put-after-delete", "a PUT landed after the DELETE of its key";
    OWN_412: "own-412", "a PUT landed and was answered 412";
    CONFLICT_409: "409-nothing-landed", "a PUT was answered 409 and nothing landed";
    ANSWER_LOST: "put-answer-lost", "a PUT landed and its answer was lost";
    WAL_RECOVERED_TWICE: "wal-recovered-twice", "a start met a WAL that an earlier life had sealed already";
    CRASH_IN_RECOVERY: "crash-in-recovery", "a crash while a start was recovering a WAL";
    HOLE_ABOVE_D: "hole-above-durable", "a power loss kept some unsynced sectors of a WAL and lost others";
    DAMAGE_BELOW_D: "damage-below-durable", "a flipped bit in what was durable stopped a start or a process";
    DAMAGE_RAFT: "damage-in-raft", "a flipped bit in Raft's files stopped a start";
    PARTIAL_RECOVERY: "partial-recovery", "a damaged WAL was opened at what lies before the damage";
    SYNC_FAILED: "sync-failed-hand-over", "a write or sync failed, and a later life went on";
    DUPLICATE_AFTER_FAILOVER: "duplicate-after-failover", "a later life answered a repeat with the original offset";
    PID_BLOCK_EXHAUSTED: "pid-block-exhausted", "a block of producer ids was used up within one life";
    PID_AFTER_FAILOVER: "pid-after-failover", "a later life gave out producer ids";
    GC_RACED_READER: "gc-raced-reader", "a GET met an object that was being, or had been, deleted";
    LEASE_LOST_IN_FLIGHT: "lease-lost-in-flight", "the lease lapsed while appended records waited";
    DISK_STALL: "disk-stalled", "the disk stalled for a second or more";
    SNAPSHOT_IN_RECOVERY: "snapshot-in-recovery", "a Raft snapshot was written while a start was recovering";
    SNAPSHOT: "raft-snapshot", "a Raft snapshot was written";
    DISK_FULL: "disk-full", "a file could not be made for want of space";
    BACK_PRESSURE: "back-pressure", "a producer was told NOT_ENOUGH_REPLICAS";
    OBJECT_VANISHED: "object-vanished", "an object that was referred to was gone for a while";
    FENCED_FETCH: "fenced-fetch", "a fetch with an old leader epoch was refused";
    UNKNOWN_EPOCH: "unknown-epoch", "a request with a leader epoch to come was refused";
    DIVERGING: "diverging-fetch", "a fetch beyond the end of its epoch was told so";
    OLD_PRODUCER_EPOCH: "old-producer-epoch", "a batch of an old producer epoch was refused";
    BAD_SEQUENCE: "bad-sequence", "a batch with a gap in its sequence was refused";
    LATE_REPEAT: "late-repeat", "an old request came again on a new connection";
    HALF_OPEN: "half-open", "a connection was left half open";
    UNREAD_ANSWERS: "unread-answers", "a client stopped reading until its requests were no longer taken";
    LEAF_MADE: "leaf-made", "a leaf was listed in the metadata";
    STREAM_OBJECT: "stream-object", "a stream object was committed";
    LOG_START_MOVED: "log-start-moved", "DeleteRecords moved a log start";
}
