//! Rules between keys, on the typed configuration.
//!
//! Invariants: each rule names the key to change, and what to change it to.

use super::settings::{Config, WAL_SEGMENT_RESERVE_BYTES, wal_batch_bytes_max};
use super::value::list;
use super::values::Values;
use crate::logging::{self, LoggingError};

/// A rule that does not hold. The loader adds the value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub key: &'static str,
    pub problem: String,
    pub remedy: String,
}

impl Problem {
    pub fn new(key: &'static str, problem: String, remedy: impl Into<String>) -> Self {
        Self { key, problem, remedy: remedy.into() }
    }
}

/// Every rule that does not hold.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut check = |holds: bool, key, problem: String, remedy: String| {
        if !holds {
            found.push(Problem { key, problem, remedy });
        }
    };
    let message = u64::from(config.topics.message_bytes_max);
    let request = u64::from(config.connections.request_bytes_max);
    let (wal, storage, memory) = (&config.wal, &config.storage, &config.memory);
    check(
        message <= request,
        "message.max.bytes",
        format!("is above socket.request.max.bytes ({request}), so no such batch could arrive"),
        format!("raise socket.request.max.bytes to {message} or more"),
    );
    check(
        message <= wal_batch_bytes_max(wal.segment_bytes),
        "message.max.bytes",
        format!("does not fit half a WAL segment (wal.segment.bytes is {})", wal.segment_bytes),
        format!("raise wal.segment.bytes to {} or more", 2 * message + WAL_SEGMENT_RESERVE_BYTES),
    );
    check(
        wal.segment_bytes.saturating_mul(4) <= wal.bytes_max,
        "wal.bytes.max",
        format!("is below four segments (wal.segment.bytes is {})", wal.segment_bytes),
        format!("raise it to {} or more, or lower wal.segment.bytes", wal.segment_bytes.saturating_mul(4)),
    );
    check(
        storage.upload_bytes.saturating_mul(2) <= wal.bytes_max,
        "wal.bytes.max",
        format!(
            "is below two upload rounds (storage.upload.bytes is {}), so the WAL would fill up",
            storage.upload_bytes
        ),
        format!(
            "raise it to {} or more, or lower storage.upload.bytes",
            storage.upload_bytes.saturating_mul(2)
        ),
    );
    check(
        storage.upload_bytes.saturating_mul(2) <= memory.bytes_max - memory.block_cache_bytes,
        "memory.bytes.max",
        format!(
            "less its block cache holds no two upload rounds (storage.upload.bytes is {})",
            storage.upload_bytes
        ),
        "raise it, or lower storage.upload.bytes or memory.block.cache.percent".to_owned(),
    );
    check(
        request <= memory.bytes_max - memory.block_cache_bytes,
        "memory.bytes.max",
        format!("less its block cache is below socket.request.max.bytes ({request})"),
        "raise it, or lower socket.request.max.bytes or memory.block.cache.percent".to_owned(),
    );
    let queued = config.connections.queued_request_bytes_max;
    check(
        queued.is_none_or(|queued| queued >= request),
        "queued.max.request.bytes",
        format!("is below socket.request.max.bytes ({request}), so the largest request would wait for ever"),
        format!("raise it to {request} or more, or set -1"),
    );
    found
}

/// Rules on keys that have no typed value of their own.
pub(super) fn text_problems(values: &Values) -> Vec<Problem> {
    let mut found = Vec::new();
    for key in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        if list(values.text(key).unwrap_or_default()).len() > 1 {
            found.push(Problem::new(
                key,
                "a quorum of several nodes is not served yet, and each node would be a cluster of its own"
                    .to_owned(),
                "leave it out and run one node",
            ));
        }
    }
    let level = values.text("log.level").unwrap_or_default();
    if let Err(LoggingError::Directives { problem, .. }) = logging::check(level) {
        let remedy =
            "write off, error, warn, info, debug, trace, or directives such as info,tidegate_wal=debug";
        found.push(Problem::new("log.level", problem, remedy));
    }
    for key in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        if values.text(key) == Some("0") {
            found.push(Problem::new(key, "must be 1 or more, or -1 for no bound".to_owned(), "correct it"));
        }
    }
    let access = ["storage.access.key.id", "storage.access.key.secret"];
    for (has, lacks) in [(access[0], access[1]), (access[1], access[0])] {
        if values.explicit(has).is_some() && values.explicit(lacks).is_none() {
            found.push(Problem::new(
                has,
                format!("is set without {lacks}"),
                format!("set {lacks} too, or neither to use the AWS environment"),
            ));
        }
    }
    let kms = values.explicit("storage.sse.kms.key.id").is_some();
    if kms && values.text("storage.sse.type") != Some("kms") {
        let problem = "is set while storage.sse.type is not kms".to_owned();
        found.push(Problem::new(
            "storage.sse.kms.key.id",
            problem,
            "set storage.sse.type=kms, or leave the key id out",
        ));
    }
    found
}
