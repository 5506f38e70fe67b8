//! Addresses other than Kafka's listeners: the bucket, its endpoint, the admin listener.

use std::path::PathBuf;

use super::checks::Problem;
use super::settings::StorageLocation;

/// `file://directory` (absolute or relative) or `s3://bucket/prefix`.
pub(super) fn storage(url: &str) -> Result<StorageLocation, Problem> {
    let refuse = |problem: &str| {
        Problem::new(
            "storage.url",
            problem.to_owned(),
            "write file:///var/lib/tidegate/bucket or s3://bucket/prefix",
        )
    };
    if let Some(path) = url.strip_prefix("file://") {
        return match path {
            "" => Err(refuse("names no directory")),
            path => Ok(StorageLocation::Directory(PathBuf::from(path))),
        };
    }
    let Some(rest) = url.strip_prefix("s3://") else {
        return Err(refuse("is neither file:// nor s3://"));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
    if !is_bucket {
        return Err(refuse("names no bucket of 3 to 63 lower-case letters, digits, dots and hyphens"));
    }
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err(refuse("has an empty, . or .. part in its prefix"));
    }
    Ok(StorageLocation::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

pub(super) fn endpoint(url: &str) -> Result<(), Problem> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match host {
        Some(host) if !host.trim_matches('/').is_empty() => Ok(()),
        _ => Err(Problem::new(
            "storage.endpoint",
            "is not an http:// or https:// address".to_owned(),
            "write for example https://s3.example.com or http://127.0.0.1:9000",
        )),
    }
}

/// host:port, or `none`.
pub(super) fn admin(text: &str) -> Result<Option<String>, Problem> {
    if text == "none" {
        return Ok(None);
    }
    let is_address =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if is_address {
        return Ok(Some(text.to_owned()));
    }
    let problem = "is neither host:port nor none".to_owned();
    Err(Problem::new("admin.listener", problem, "write for example 127.0.0.1:9644"))
}
