//! Where the bucket is: a local directory or an S3-compatible service, from settings.
//!
//! Owns: the choice of store and its options; the settings' names in messages.
//! Invariants: a local object is visible only whole, and durable (file and directory synced) before its PUT
//! answers; the client library retries next to nothing, because [`super::retry`] counts and bounds retries.
//! Left out: credentials from profile files (`~/.aws/credentials`), which object_store does not read;
//! environment, web identity, container and instance credentials are.

use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig, StaticCredentialProvider};
use thiserror::Error;

/// A bucket, opened.
#[derive(Clone)]
pub struct Media {
    pub store: Arc<dyn ObjectStore>,
    pub prefix: Path,
    /// Names the bucket in messages.
    pub place: String,
    /// Set when what the store shows need not be durable yet: a local directory.
    pub local: Option<Arc<dyn LocalSync>>,
}

impl Media {
    /// Any store: tests and the simulation.
    #[must_use]
    pub fn of(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { place: store.to_string(), store, prefix: Path::from(prefix), local: None }
    }
}

/// Makes durable what a local directory shows.
#[async_trait]
pub trait LocalSync: Send + Sync + 'static {
    async fn sync(&self, key: &Path) -> io::Result<()>;
    async fn sync_parent(&self, key: &Path) -> io::Result<()>;
}

/// `storage.*`, as given.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct MediaSettings {
    /// `file:///path` (taken as it stands, without %-escapes) or `s3://bucket/prefix`.
    pub url: String,
    /// Of an S3-compatible service. Absent: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, else AWS itself.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Bucket in the path rather than in the host name. Absent: yes with an endpoint, no without.
    pub path_style: Option<bool>,
    /// Absent: the usual chain of environment, web identity, container and instance.
    pub credentials: Option<Credentials>,
    pub encryption: Encryption,
    /// 0 means 5,000.
    pub connect_timeout_ms: u64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

/// Encryption at rest by the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// As the bucket is set up.
    #[default]
    BucketDefault,
    /// SSE-S3.
    S3,
    /// SSE-KMS with this key, or else the account's default one, and a bucket key to spare calls.
    Kms { key_id: Option<String> },
}

/// A setting that cannot be: one line that names it and the remedy.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{setting}: {what}")]
pub struct MediaError {
    pub setting: &'static str,
    pub what: String,
}

/// What `storage.url` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Local(PathBuf),
    S3 { bucket: String, prefix: String },
}

/// Opens the store; for a local directory, creates it. Sends nothing: [`super::probe`] does.
///
/// # Errors
/// [`MediaError`] names the setting.
pub fn open(settings: &MediaSettings) -> Result<Media, MediaError> {
    match parse_url(&settings.url)? {
        Location::Local(dir) => open_local(&dir),
        Location::S3 { bucket, prefix } => open_s3(settings, &bucket, &prefix),
    }
}

/// # Errors
/// [`MediaError`] when the URL is of neither form.
pub fn parse_url(url: &str) -> Result<Location, MediaError> {
    let bad = |what: &str| MediaError { setting: "storage.url", what: format!("\"{url}\": {what}") };
    if let Some(path) = url.strip_prefix("file://") {
        if !path.starts_with('/') {
            return Err(bad("a local directory is written file:///absolute/path"));
        }
        return Ok(Location::Local(PathBuf::from(path)));
    }
    let Some(rest) = url.strip_prefix("s3://") else {
        return Err(bad("write file:///path for a directory or s3://bucket/prefix for a bucket"));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err(bad("the bucket's name is missing or has characters that no bucket has"));
    }
    let prefix = prefix.trim_end_matches('/');
    Path::parse(prefix).map_err(|e| bad(&e.to_string()))?;
    Ok(Location::S3 { bucket: bucket.into(), prefix: prefix.into() })
}

fn open_local(dir: &FsPath) -> Result<Media, MediaError> {
    let bad = |e: &dyn std::fmt::Display| MediaError {
        setting: "storage.url",
        what: format!("{}: {e}; give a directory that can be written", dir.display()),
    };
    create_synced(dir).map_err(|e| bad(&e))?;
    sweep_staged(dir, &["data", "probe"]).map_err(|e| bad(&e))?;
    let store = LocalFileSystem::new_with_prefix(dir).map_err(|e| bad(&e))?.with_fsync(true);
    Ok(Media {
        store: Arc::new(store),
        prefix: Path::default(),
        place: format!("file://{}", dir.display()),
        local: Some(Arc::new(Directory { root: dir.to_path_buf() })),
    })
}

fn open_s3(settings: &MediaSettings, bucket: &str, prefix: &str) -> Result<Media, MediaError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_millis(200),
                base: 2.0,
            },
            max_retries: 1,
            retry_timeout: Duration::from_secs(2),
        })
        // Above any attempt's own time, which rules.
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), "3600s")
        .with_config(
            AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout),
            format!(
                "{}ms",
                if settings.connect_timeout_ms == 0 { 5_000 } else { settings.connect_timeout_ms }
            ),
        );
    if let Some(endpoint) = &settings.endpoint {
        // AWS_ENDPOINT_URL_S3, which is the other key, would go before the setting.
        builder = builder.with_endpoint(endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let named = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = named.iter().find_map(|key| builder.get_config_value(key));
    let plain = endpoint.as_deref().is_some_and(|e| e.starts_with("http://"));
    if let Some(endpoint) = &endpoint {
        if !plain && !endpoint.starts_with("https://") {
            let what = format!("\"{endpoint}\": write http://host:port or https://host");
            return Err(MediaError { setting: "storage.endpoint", what });
        }
        builder = builder.with_allow_http(plain);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    let path_style = settings.path_style.unwrap_or(endpoint.is_some());
    builder = builder.with_virtual_hosted_style_request(!path_style);
    if let Some(c) = &settings.credentials {
        // As a whole, so that no session token of the environment joins them.
        let fixed = AwsCredential {
            key_id: c.access_key_id.clone(),
            secret_key: c.secret_access_key.clone(),
            token: c.session_token.clone(),
        };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(fixed)));
    }
    let encryption =
        AmazonS3ConfigKey::from_str("aws_server_side_encryption").expect("a key of this version");
    builder = match &settings.encryption {
        Encryption::BucketDefault => builder,
        Encryption::S3 => builder.with_config(encryption, "AES256"),
        Encryption::Kms { key_id: Some(key_id) } => {
            builder.with_sse_kms_encryption(key_id).with_bucket_key(true)
        }
        Encryption::Kms { key_id: None } => builder.with_config(encryption, "aws:kms").with_bucket_key(true),
    };
    // TLS, or a path inside this machine, protects the request; the checksum protects the body, at a third of
    // the CPU of signing it. In the clear over a network the body is signed.
    if !plain || endpoint.as_deref().is_some_and(is_loopback) {
        builder = builder.with_unsigned_payload(true).with_checksum_algorithm(Checksum::CRC64NVME);
    }
    let store = builder.build().map_err(|e| MediaError { setting: "storage.url", what: e.to_string() })?;
    let at = endpoint.map(|e| format!(" at {e}")).unwrap_or_default();
    Ok(Media {
        store: Arc::new(store),
        prefix: Path::from(prefix),
        place: format!("s3://{bucket}{}{prefix}{at}", if prefix.is_empty() { "" } else { "/" }),
        local: None,
    })
}

fn is_loopback(endpoint: &str) -> bool {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Creates the directory and syncs the ones whose entries changed.
fn create_synced(dir: &FsPath) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_synced(parent)?;
    }
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    dir.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

/// Removes what PUTs that a crash cut off have left: files `{key}#{n}`, which no LIST shows, in `dir` and the
/// directories below that are named. A PUT of another process that loses its file to this fails, and is tried
/// again.
fn sweep_staged(dir: &FsPath, below: &[&str]) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            // Lineages are directories too; nothing else is ours.
            if below.contains(&name.as_str()) || below.is_empty() {
                sweep_staged(&entry.path(), &[])?;
            }
        } else if is_staged(&name) && (below.is_empty() || name.starts_with("cluster.json#")) {
            match std::fs::remove_file(entry.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_staged(name: &str) -> bool {
    let staged = name.split_once('#').map(|(_, n)| n);
    staged.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

struct Directory {
    root: PathBuf,
}

impl Directory {
    fn file(&self, key: &Path) -> PathBuf {
        key.parts().fold(self.root.clone(), |path, part| path.join(part.as_ref()))
    }
}

#[async_trait]
impl LocalSync for Directory {
    async fn sync(&self, key: &Path) -> io::Result<()> {
        let file = self.file(key);
        blocking(move || {
            std::fs::File::open(&file)?.sync_all()?;
            sync_parents(&file)
        })
        .await
    }

    async fn sync_parent(&self, key: &Path) -> io::Result<()> {
        let file = self.file(key);
        blocking(move || sync_parents(&file)).await
    }
}

/// The directory of a file, and the one above: the PUT that failed may have created the first.
fn sync_parents(file: &FsPath) -> io::Result<()> {
    for dir in file.ancestors().skip(1).take(3) {
        match std::fs::File::open(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            dir => dir?.sync_all()?,
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the local directory is the rim: a sync blocks its thread")]
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("place", &self.place).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MediaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaSettings")
            .field("url", &self.url)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_directory_or_a_bucket() {
        let s3 = |bucket: &str, prefix: &str| Location::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(parse_url("file:///a/b"), Ok(Location::Local("/a/b".into())));
        assert_eq!(parse_url("s3://bucket"), Ok(s3("bucket", "")));
        assert_eq!(parse_url("s3://bucket/a/b/"), Ok(s3("bucket", "a/b")));
        for bad in
            ["", "a/b", "file://a", "s3://", "s3:///x", "s3://b u", "s3://b/a//c", "s3://b/../c", "gs://b"]
        {
            let error = parse_url(bad).expect_err(bad);
            assert_eq!(error.setting, "storage.url");
            assert!(error.to_string().contains(&format!("\"{bad}\"")), "{error}");
        }
    }

    #[test]
    fn only_loopback_counts_as_a_path_inside_the_machine() {
        for yes in
            ["http://127.0.0.1:9000", "http://localhost:9000/x", "http://[::1]:9000", "http://127.8.0.1"]
        {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in
            ["http://10.0.0.1:9000", "http://localhost.example.com", "http://minio:9000", "http://[::2]:1"]
        {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let endpoint = MediaSettings {
            url: "s3://bucket".into(),
            endpoint: Some("localhost:9000".into()),
            ..MediaSettings::default()
        };
        assert_eq!(open(&endpoint).expect_err("no scheme").setting, "storage.endpoint");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let url = format!("file://{}/below", file.path().display());
        assert_eq!(
            open(&MediaSettings { url, ..MediaSettings::default() }).expect_err("a file").setting,
            "storage.url"
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let credentials = Some(Credentials {
            access_key_id: "id".into(),
            secret_access_key: "hush".into(),
            session_token: Some("hush".into()),
        });
        let settings = MediaSettings { credentials, ..MediaSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn what_cut_off_puts_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("new");
        let ours = ["data/00000001/2#1", "data/00000001/2#17", "probe/a-0001#3", "cluster.json#1"];
        let kept = ["data/00000001/1", "data/00000001/note#x", "cluster.json", "mine#1", "other/mine#1"];
        for name in ours.iter().chain(&kept) {
            let file = root.join(name);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("created");
            std::fs::write(file, b"x").expect("written");
        }
        let url = format!("file://{}", root.display());
        open(&MediaSettings { url, ..MediaSettings::default() }).expect("opens");
        assert!(ours.iter().all(|name| !root.join(name).exists()));
        assert!(kept.iter().all(|name| root.join(name).exists()));
    }

    #[test]
    fn every_option_builds() {
        let base = MediaSettings {
            url: "s3://bucket/prefix".into(),
            endpoint: Some("https://s3.example.com".into()),
            region: Some("eu-west-1".into()),
            ..MediaSettings::default()
        };
        for encryption in [
            Encryption::BucketDefault,
            Encryption::S3,
            Encryption::Kms { key_id: None },
            Encryption::Kms { key_id: Some("key".into()) },
        ] {
            for path_style in [None, Some(true), Some(false)] {
                let media =
                    open(&MediaSettings { encryption: encryption.clone(), path_style, ..base.clone() });
                assert_eq!(media.expect("opens").place, "s3://bucket/prefix at https://s3.example.com");
            }
        }
    }

    /// The head of the PUT that the settings make, as a server sees it.
    async fn request(settings: MediaSettings) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = Some(format!("http://{}", listener.local_addr().expect("bound")));
        let credentials = Some(Credentials {
            access_key_id: "id".into(),
            secret_access_key: "secret".into(),
            session_token: None,
        });
        let media = open(&MediaSettings { endpoint, credentials, url: "s3://bucket/p".into(), ..settings });
        let media = media.expect("opens");
        let served = async {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(connection.read_u8().await.expect("a request"));
            }
            let answer = b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection.write_all(answer).await.expect("answered");
            String::from_utf8(head).expect("text").to_ascii_lowercase()
        };
        let key = media.prefix.clone().join("key");
        let options = object_store::PutMode::Create.into();
        let (put, head) = futures::join!(media.store.put_opts(&key, "".into(), options), served);
        put.expect("answered");
        head
    }

    #[tokio::test]
    async fn a_put_asks_for_what_the_settings_say() {
        let head =
            request(MediaSettings { region: Some("eu-west-1".into()), ..MediaSettings::default() }).await;
        for wanted in [
            "put /bucket/p/key http/1.1",
            "if-none-match: *",
            "x-amz-content-sha256: unsigned-payload",
            "x-amz-checksum-crc64nvme: ",
            "/eu-west-1/s3/aws4_request",
        ] {
            assert!(head.contains(wanted), "{wanted}: {head}");
        }
        assert!(!head.contains("server-side-encryption") && !head.contains("security-token"), "{head}");
        let head = request(MediaSettings { encryption: Encryption::S3, ..MediaSettings::default() }).await;
        assert!(head.contains("x-amz-server-side-encryption: aes256"), "{head}");
        for key_id in [None, Some("some-key".to_owned())] {
            let encryption = Encryption::Kms { key_id: key_id.clone() };
            let head = request(MediaSettings { encryption, ..MediaSettings::default() }).await;
            assert!(head.contains("x-amz-server-side-encryption: aws:kms"), "{head}");
            assert_eq!(head.contains("aws-kms-key-id: some-key"), key_id.is_some(), "{head}");
        }
    }
}
