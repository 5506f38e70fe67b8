//! Stands between the broker and its S3-compatible store: slows it, refuses for it with 503, or loses its answers.
//!
//! Holds: one upstream connection for each of the broker's; a request is passed on whole before its answer is lost, so
//! what it asked for was done. The Host header passes unchanged, so signatures stay valid.
//! Never: handles a request body without a Content-Length (the broker sends none); such a request ends the connection
//! and is counted as `unsupported`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use parking_lot::Mutex;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};

use super::{CHUNK, Counts};

/// Longest head of a request or an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Pass,
    /// Each request waits this long before it is passed on.
    Slow(Duration),
    /// Each request is answered with 503 SlowDown, and never passed on.
    Refuse,
    /// Of every so many requests one gets no answer, though it was carried out.
    Lose { one_of: u64 },
}

/// What is done to requests from now on.
#[derive(Default, Clone)]
pub struct Plan {
    mode: Arc<Mutex<(Mode, u64)>>,
    pub counts: Counts,
}

impl Plan {
    /// `pass`, `slow MILLISECONDS`, `refuse`, `lose ONE_OF`, `stats`.
    ///
    /// # Errors
    /// For any other words.
    pub fn obey(&self, words: &[&str]) -> Result<String> {
        let mode = match words {
            ["stats"] => return Ok(self.counts.show()),
            ["pass"] => Mode::Pass,
            ["slow", ms] => Mode::Slow(Duration::from_millis(ms.parse()?)),
            ["refuse"] => Mode::Refuse,
            ["lose", one_of] => Mode::Lose { one_of: one_of.parse::<u64>()?.max(1) },
            other => bail!("no such command: {other:?}"),
        };
        *self.mode.lock() = (mode, 0);
        Ok(self.counts.show())
    }

    /// What happens to the next request.
    fn next(&self) -> Mode {
        let mut mode = self.mode.lock();
        mode.1 += 1;
        match mode.0 {
            Mode::Lose { one_of } if !mode.1.is_multiple_of(one_of) => Mode::Pass,
            chosen => chosen,
        }
    }
}

/// Serves connections for ever.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, upstream: String, plan: Plan) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let (upstream, plan) = (upstream.clone(), plan.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(client, &upstream, &plan).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn connection(client: TcpStream, upstream: &str, plan: &Plan) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::with_capacity(CHUNK, client);
    let mut store: Option<BufReader<TcpStream>> = None;
    while let Some(head) = read_head(&mut client).await? {
        plan.counts.add("requests");
        let Body::Length(length) = head.body() else {
            plan.counts.add("unsupported");
            return Ok(());
        };
        let mode = plan.next();
        match mode {
            Mode::Refuse => {
                copy(&mut client, &mut tokio::io::sink(), length).await?;
                plan.counts.add("refused");
                client.get_mut().write_all(refusal().as_bytes()).await?;
                continue;
            }
            Mode::Slow(delay) => {
                plan.counts.add("slowed");
                tokio::time::sleep(delay).await;
            }
            Mode::Pass | Mode::Lose { .. } => {}
        }
        let store = match &mut store {
            Some(store) => store,
            none => none.insert(BufReader::with_capacity(CHUNK, connect(upstream).await?)),
        };
        store.get_mut().write_all(&head.bytes).await?;
        // A store may answer, and close, before it has read the body.
        let sent = copy(&mut client, store.get_mut(), length).await;
        let lost = matches!(mode, Mode::Lose { .. });
        let answered = pass_answer(store, client.get_mut(), head.is("HEAD"), lost).await?;
        if lost {
            plan.counts.add("lost");
            return Ok(());
        }
        sent?;
        if !answered {
            return Ok(());
        }
    }
    Ok(())
}

async fn connect(upstream: &str) -> io::Result<TcpStream> {
    let store = TcpStream::connect(upstream).await?;
    store.set_nodelay(true)?;
    Ok(store)
}

/// Passes an answer on, or reads it and keeps it; false if the connection ends with it.
async fn pass_answer(
    store: &mut BufReader<TcpStream>,
    client: &mut TcpStream,
    to_head: bool,
    lost: bool,
) -> io::Result<bool> {
    let mut sink = tokio::io::sink();
    let Some(head) = read_head(store).await? else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let out: &mut (dyn AsyncWrite + Unpin + Send) = if lost { &mut sink } else { client };
    out.write_all(&head.bytes).await?;
    if to_head || head.is("HTTP/1.1 204") || head.is("HTTP/1.1 304") {
        return Ok(true);
    }
    match head.body() {
        Body::Length(length) if head.says("content-length", |_| true) => {
            copy(store, out, length).await?;
            Ok(true)
        }
        Body::Chunked => {
            copy_chunks(store, out).await?;
            Ok(true)
        }
        // Neither: the answer lasts as long as the connection.
        Body::Length(_) => {
            copy(store, out, u64::MAX).await.ok();
            Ok(false)
        }
    }
}

enum Body {
    Length(u64),
    Chunked,
}

struct Head {
    bytes: Vec<u8>,
}

impl Head {
    fn is(&self, start: &str) -> bool {
        self.bytes.starts_with(start.as_bytes())
    }

    /// Whether a header of this lower-case name has a value that `holds`.
    fn says(&self, name: &str, mut holds: impl FnMut(&str) -> bool) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(key, value)| key.eq_ignore_ascii_case(name) && holds(value.trim()))
    }

    fn body(&self) -> Body {
        if self.says("transfer-encoding", |value| value.eq_ignore_ascii_case("chunked")) {
            return Body::Chunked;
        }
        let mut length = 0;
        self.says("content-length", |value| {
            length = value.parse().unwrap_or(0);
            true
        });
        Body::Length(length)
    }
}

/// The lines up to and with the empty one; none at an end between requests.
async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        if from.take((HEAD_BYTES_MAX - before) as u64).read_until(b'\n', &mut bytes).await? == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if bytes[before..] == *b"\r\n" {
            return Ok(Some(Head { bytes }));
        }
    }
}

/// Copies exactly so many bytes.
async fn copy(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin + ?Sized),
    length: u64,
) -> io::Result<()> {
    let mut part = from.take(length);
    let copied = tokio::io::copy_buf(&mut part, to).await?;
    if copied < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

async fn copy_chunks(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin + ?Sized),
) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        from.take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut line).await?;
        to.write_all(&line).await?;
        let text = String::from_utf8_lossy(&line);
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if size == 0 {
            // Trailers, and the empty line.
            let Some(trailers) = read_head(from).await? else { return Ok(()) };
            return to.write_all(&trailers.bytes).await;
        }
        copy(from, to, size + 2).await?;
    }
}

fn refusal() -> String {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
