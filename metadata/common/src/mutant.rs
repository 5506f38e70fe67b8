//! Planted bugs, by which the test suites are tested: each is one branch in the product, on when it is named.
//!
//! Owns: the table of them, and which one this process runs.
//! Invariants: without the feature `mutants` the question is answered by a constant, so that the compiler drops the
//! branch and its name: what is shipped holds none of them (`tests/suites/mutants.sh` looks). With it a process runs at
//! most one, chosen once, by [`choose`] or by an argument `mutant=NAME` (`--skip mutant=NAME` for a runner of `#[test]`s).
//! Never: reads the environment or a setting, so nothing of a user can turn one on.

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    pub name: &'static str,
    /// What catches it: `crash WORKLOAD`, `sim SEEDS`, or `unit CRATE FILTER`.
    pub suite: &'static str,
    pub what: &'static str,
}

/// Whether this process runs the planted bug `name`.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn on(_name: &str) -> bool {
    false
}

// Known while compiling: nothing of a branch on it is left.
#[cfg(not(feature = "mutants"))]
const _: () = assert!(!on("any"));

#[cfg(feature = "mutants")]
pub use planted::{TABLE, choose, on, reached};

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Mutant;

    static CHOSEN: OnceLock<Option<&'static Mutant>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Whether this process runs the planted bug `name`.
    #[must_use]
    pub fn on(name: &str) -> bool {
        let is_on = CHOSEN.get_or_init(from_arguments).is_some_and(|chosen| chosen.name == name);
        if is_on {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        is_on
    }

    /// Runs the planted bug `name` from here on.
    ///
    /// # Errors
    /// When there is no such mutant, or the choice was made.
    pub fn choose(name: &str) -> Result<(), String> {
        let mutant = find(name).ok_or_else(|| format!("there is no mutant {name}"))?;
        CHOSEN.set(Some(mutant)).map_err(|_| "the mutant was chosen already".to_owned())
    }

    /// How often the branch of the chosen mutant was taken: one that was never taken was not tested.
    #[must_use]
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }

    fn find(name: &str) -> Option<&'static Mutant> {
        TABLE.iter().find(|mutant| mutant.name == name)
    }

    fn from_arguments() -> Option<&'static Mutant> {
        let name = std::env::args().find_map(|arg| arg.strip_prefix("mutant=").map(str::to_owned))?;
        Some(find(&name).unwrap_or_else(|| panic!("there is no mutant {name}")))
    }

    const fn mutant(name: &'static str, suite: &'static str, what: &'static str) -> Mutant {
        Mutant { name, suite, what }
    }

    /// All of them, by the part of the product that they are in.
    pub const TABLE: &[Mutant] = &[
        // wal/segment
        mutant("ack-before-sync", "crash segment", "a group is durable once it is written, without its sync"),
        mutant("sync-retried", "crash poison", "a sync that failed is tried again, and then believed"),
        mutant("poison-ignored", "crash poison", "after a failed write or sync the log goes on"),
        mutant("seal-skipped", "crash segment", "a recovery gives what it found without sealing it"),
        mutant(
            "recover-past-seal",
            "crash segment",
            "what a fenced writer added after the seal is recovered",
        ),
        mutant("tail-rule-anywhere", "crash flips-wal", "whatever stops the chain is taken for a torn tail"),
        mutant(
            "hole-skipped",
            "crash flips-wal",
            "a segment that does not continue the one before is accepted",
        ),
        mutant("body-crc-ignored", "crash flips-wal", "a record's body is not compared with its checksum"),
        mutant(
            "removal-not-synced",
            "crash segment",
            "trimming removes a file before the last removal is durable",
        ),
        // wal
        mutant(
            "durable-one-ahead",
            "crash wal",
            "the WAL tells one position more than its group made durable",
        ),
        // metadata, the Raft side
        mutant("vote-not-synced", "crash raft", "a vote is answered before it is durable"),
        mutant("entries-not-synced", "crash raft", "an append is answered before it is durable"),
        mutant("snapshot-not-synced", "crash raft", "a snapshot takes its name before its bytes are durable"),
        mutant("purge-forgets-vote", "crash raft", "segments go without a record of the vote behind them"),
        // metadata, decisions
        mutant(
            "incarnation-reused",
            "unit metadata decide",
            "a new registration gets the incarnation before it",
        ),
        mutant("object-id-reused", "unit metadata decide", "ids are handed out that were handed out before"),
        mutant("producer-ids-reissued", "unit metadata decide", "every block of producer ids is the first"),
        mutant(
            "commit-anywhere",
            "unit metadata decide",
            "a slice is committed that does not begin at the committed end",
        ),
        mutant("delete-without-grace", "unit metadata decide", "garbage is deleted at once"),
        // s3stream
        mutant(
            "trim-before-commit",
            "unit s3stream tests::",
            "the WAL is trimmed before the round is committed",
        ),
        mutant(
            "trim-by-newest",
            "unit s3stream tests::",
            "a round trims to the newest position of the cache, not to its own",
        ),
        mutant(
            "upload-skips-slice",
            "unit s3stream tests::",
            "a round leaves a stream out and is done with it",
        ),
        mutant("exists-is-success", "unit s3stream io::", "a 412 or 409 is success without reading back"),
        mutant(
            "exists-is-taken",
            "unit s3stream io::",
            "a 412 or 409 is another's object without reading back",
        ),
        mutant("block-crc-ignored", "crash flips-objects", "a block is served without its checksum"),
        mutant("delta-truncated", "unit s3stream format", "offsets of the block index are cut to 32 bits"),
        // broker
        mutant("ack-before-durable", "unit broker release", "batches are released once they are appended"),
        mutant("lease-before-write", "unit broker release", "the lease is not looked at after durability"),
        mutant(
            "lease-from-receipt",
            "unit broker lease",
            "a renewal counts from its answer, not from its question",
        ),
        mutant("tail-not-adopted", "sim 40", "a start opens partitions at their committed end"),
        mutant("stale-high-watermark", "sim 40", "a start shows the log start as the high watermark"),
        mutant(
            "producers-without-tail",
            "sim 40",
            "producer state is loaded without the heads of the adopted tail",
        ),
        mutant(
            "sequence-gap-accepted",
            "unit common producers",
            "any sequence above the last one is the next",
        ),
        mutant("duplicate-appended", "unit common producers", "a repeated batch gets a new offset"),
    ];

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_are_unique_and_none_is_on_by_itself() {
            for (at, mutant) in TABLE.iter().enumerate() {
                assert!(TABLE[..at].iter().all(|other| other.name != mutant.name), "{mutant:?}");
            }
        }
    }
}
