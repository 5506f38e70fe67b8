//! The invariants that the simulation checks: their names (those of `reliability.md` section 2), what they say, and
//! where they are checked.
//!
//! Owns: the table of `docs/simulation.md`, which a test holds to this file.
//! Invariants: a violation names its rule; a rule without a place that checks it is not in the table.

/// One invariant.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: &'static str,
    pub says: &'static str,
    /// Where it is checked, and when.
    pub place: &'static str,
}

macro_rules! rules {
    ($($id:ident: $says:literal, $place:literal;)*) => {
        $(#[doc = $says] pub const $id: Rule = Rule { id: stringify!($id), says: $says, place: $place };)*
        /// All of them.
        pub const ALL: &[&Rule] = &[$(&$id),*];
    };
}

rules! {
    P1: "what was acknowledged is in the log at that offset, unless below the log start",
        "history.rs: check_final, on a full read after the faults";
    P2: "what is read was sent, with equal bytes, to that topic and partition",
        "history.rs: read, on each record that any consumer is given";
    P3: "an offset names one value, over all reads and acknowledgements of all clients",
        "history.rs: place";
    P4: "a producer's values keep their order in a partition",
        "history.rs: acked, check_final";
    P5: "what is released would survive a power loss at that moment, and the lease held when it was released",
        "checks/white.rs: step; a fork of the disk loses all that is not synced and is recovered by the real code";
    P6: "what was definitely refused is in no log",
        "history.rs: refused, read";
    P7: "batches tile a partition",
        "clients/reader.rs: take; checks/bucket.rs: blocks of objects";
    P8: "leader epochs never decrease with the offset",
        "clients/reader.rs: take";
    P9: "the bytes under a batch's CRC are those that were sent, and the CRC is right",
        "clients/reader.rs: take, against history.rs: batch_crc";
    P10: "ListOffsets by time gives the least offset with that time or a later one, and its epoch",
        "clients/finals.rs: by_time";
    F1: "the high watermark that clients see is monotone",
        "history.rs: saw_end, on every answer to any client";
    F2: "nothing at or above the high watermark is returned",
        "clients/reader.rs: take";
    F4: "a consumer with a fixed assignment sees every offset once, in order",
        "clients/reader.rs: take";
    F5: "an end that is asked for after an acknowledgement is above it",
        "history.rs: saw_end";
    F6: "OFFSET_OUT_OF_RANGE only below the log start or above the end",
        "clients/reader.rs: read_until";
    F7: "the log start is monotone; a fetch gets on though a batch is larger than its limits",
        "history.rs: saw_start; clients/reader.rs fetches with limits below a batch";
    F8: "a fetch beyond the end of its epoch learns of it, and gets no data",
        "clients/finals.rs: diverging";
    I1: "a value has one offset",
        "history.rs: place";
    I2: "a repeat of one of the last five batches gets the offset of the original, also from a later life, unless it was deleted",
        "clients/producer.rs: repeat";
    I3: "a sequence that does not continue is refused; one that does is never",
        "clients/producer.rs: exchange; clients/nasty.rs: bad_sequence";
    I4: "a producer id is given out once",
        "history.rs: producer_id";
    O1: "all releases of one leader epoch are of one incarnation",
        "checks/white.rs: step";
    O2: "a leader epoch grows with each change of owner",
        "checks/fold.rs: applied, on each metadata entry";
    W1: "acknowledged ⊆ recovered ⊆ written, per WAL",
        "checks/recovery.rs: after each crash, on a fork; with P1 and P2 at the end";
    W2: "recovering twice, and after a crash of the recoverer, gives the same",
        "checks/recovery.rs: after each crash, on forks";
    W3: "damage to what was durable stops the start or the process; it is never cut off, and never silent",
        "drive.rs: rot, at restarts; checks/recovery.rs: partial; P1 at the end";
    W4: "after a failed write or sync of a WAL nothing more of it is released",
        "checks/white.rs: step";
    W5: "a WAL is trimmed only below what is in committed objects",
        "checks/fold.rs: applied; with P1 at the end";
    W6: "no record of another life or another WAL is read",
        "P2 and I1 over tiny, reused segments";
    W7: "a full WAL or disk is an error to retry; nothing is lost, and it goes on once there is room",
        "clients/producer.rs: exchange (codes allowed); L1 after the room is back";
    S1: "a key has the same bytes for ever",
        "checks/bucket.rs: event, on each PUT that lands";
    S2: "what the metadata refers to is in the bucket, with its size and checksum",
        "checks/bucket.rs: audit";
    S3: "the objects of a partition tile [log start, committed end)",
        "checks/bucket.rs: audit";
    S4: "nothing is deleted that the metadata refers to",
        "checks/bucket.rs: event, on each DELETE that lands";
    S5: "what the metadata refers to is found",
        "checks/bucket.rs: event, on each GET that finds nothing";
    S6: "nothing is in the bucket but what is referred to, prepared or garbage; nothing once all topics are gone",
        "checks/bucket.rs: audit_listing; clients/reader.rs: nothing_left";
    S7: "object ids are handed out in Raft's order",
        "checks/fold.rs: applied";
    M1: "committed entries never change; purged ≤ snapshot ≤ applied ≤ last; term, vote and applied only grow",
        "checks/fold.rs: applied; checks/white.rs: step";
    M2: "the image at an index equals a reference fold of the log, also after each restart",
        "checks/fold.rs: applied";
    M4: "a node without its log is refused beside what it served before",
        "drive.rs: lose_raft, at restarts";
    L1: "soon after the faults every partition accepts, and all that was acknowledged is readable",
        "drive.rs: step (60 s to accept, 300 s to the end of all clients); P1 by the full read";
    L4: "memory budgets and open files stay within their bounds",
        "checks/white.rs: step";
    L5: "soon after the faults nothing waits for upload, and no garbage or expired id is left",
        "clients/finals.rs: drained";
    L0: "no task of the product panics, and the process does not end without a fault",
        "drive.rs: step; main.rs for a process that dies";
}
