//! Cuts connections between clients and the broker in the middle of a request or an answer, or loses a whole answer.
//!
//! Holds: knows where frames begin and to which API an answer belongs (answers come in the order of their requests), so
//! that a cut is in the middle of just what was asked for.
//! Never: looks further into a frame than its first bytes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{CHUNK, Counts};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
/// Length and API key, or length and half of the correlation id.
const HEAD: usize = 6;
/// Shortest frame that is cut: an empty answer to a fetch says nothing.
const CUT_BYTES_MIN: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first half of the answer is passed on.
    CutAnswer,
    /// Nothing of the answer is: the request was carried out, and its client does not know.
    LoseAnswer,
    /// The first half of the request is passed on.
    CutRequest,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::CutAnswer => "cut-answer",
            Self::LoseAnswer => "lose-answer",
            Self::CutRequest => "cut-request",
        }
    }
}

/// Faults that wait for a frame to hit: kind, API key, how many.
#[derive(Default, Clone)]
pub struct Plan {
    armed: Arc<Mutex<Vec<(Kind, i16, u64)>>>,
    pub counts: Counts,
}

impl Plan {
    /// `cut-answer|lose-answer|cut-request produce|fetch COUNT`, `pass`, `stats`.
    ///
    /// # Errors
    /// For any other words.
    pub fn obey(&self, words: &[&str]) -> Result<String> {
        match words {
            ["stats"] => {}
            ["pass"] => self.armed.lock().clear(),
            [kind, api, count] => {
                let kind = [Kind::CutAnswer, Kind::LoseAnswer, Kind::CutRequest]
                    .into_iter()
                    .find(|known| known.name() == *kind)
                    .with_context(|| format!("no such fault: {kind}"))?;
                let api = match *api {
                    "produce" => PRODUCE,
                    "fetch" => FETCH,
                    other => bail!("no such API: {other}"),
                };
                self.armed.lock().push((kind, api, count.parse()?));
            }
            other => bail!("no such command: {other:?}"),
        }
        Ok(self.counts.show())
    }

    /// Takes one of the faults that wait for a frame of this kind.
    fn strike(&self, api: i16, length: u64, kinds: &[Kind]) -> Option<Kind> {
        if length < CUT_BYTES_MIN && !kinds.contains(&Kind::LoseAnswer) {
            return None;
        }
        let mut armed = self.armed.lock();
        let at = armed.iter().position(|(kind, of, left)| kinds.contains(kind) && *of == api && *left > 0)?;
        armed[at].2 -= 1;
        self.counts.add(armed[at].0.name());
        Some(armed[at].0)
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
            // A broker that is down refuses its clients through the proxy as well.
            if let Ok(broker) = TcpStream::connect(&upstream).await {
                plan.counts.add("connections");
                join(client, broker, plan).await;
            }
        });
    }
}

async fn join(client: TcpStream, broker: TcpStream, plan: Plan) {
    let (Ok(()), Ok(())) = (client.set_nodelay(true), broker.set_nodelay(true)) else { return };
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let asked = Mutex::new(VecDeque::new());
    let requests = pump(from_client, to_broker, |head, length| {
        let api = i16::from_be_bytes([head[4], head[5]]);
        asked.lock().push_back(api);
        plan.strike(api, length, &[Kind::CutRequest])
    });
    let answers = pump(from_broker, to_client, |_, length| {
        let api = asked.lock().pop_front()?;
        plan.strike(api, length, &[Kind::CutAnswer, Kind::LoseAnswer])
    });
    // Whichever side ends first, by itself or by a fault, takes the other with it.
    tokio::select! {
        _ = requests => {}
        _ = answers => {}
    }
}

/// Passes frames on; ends at the end of the stream, at an error, or at a fault that `judge` chose at a frame's head.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    judge: impl Fn(&[u8], u64) -> Option<Kind>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut head = Vec::with_capacity(HEAD);
    // Bytes of the frame that are still to come, once its head is complete.
    let mut left = 0u64;
    let mut cut = None;
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        let mut at = 0;
        // What of this chunk is to be passed on, in one write.
        let mut out = Vec::with_capacity(count + HEAD);
        while at < count {
            if left == 0 {
                let take = (HEAD - head.len()).min(count - at);
                head.extend_from_slice(&chunk[at..at + take]);
                at += take;
                if head.len() < HEAD {
                    break;
                }
                let length = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
                left = (length + 4).saturating_sub(HEAD as u64);
                match judge(&head, length) {
                    Some(Kind::LoseAnswer) => {
                        to.write_all(&out).await?;
                        return Ok(());
                    }
                    Some(Kind::CutAnswer | Kind::CutRequest) => cut = Some(left / 2),
                    None => {}
                }
                out.extend_from_slice(&head);
                head.clear();
            }
            let take = left.min((count - at) as u64);
            if let Some(allowed) = &mut cut {
                let pass = take.min(*allowed);
                *allowed -= pass;
                out.extend_from_slice(&chunk[at..at + pass as usize]);
                if *allowed == 0 {
                    to.write_all(&out).await?;
                    return Ok(());
                }
            } else {
                out.extend_from_slice(&chunk[at..at + take as usize]);
            }
            at += take as usize;
            left -= take;
        }
        to.write_all(&out).await?;
    }
}
