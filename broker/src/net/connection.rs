//! One client connection: requests in, answers out, in order.
//!
//! Owns: the order of answers, the bound on requests and bytes in flight, the idle limit.
//! Invariants: answers leave in the order of requests; a run of Produce requests overlaps, any other request starts
//! when those before it are answered; a produce answer leaves only after its `Pending` is done, never because
//! the connection closes. A dropped connection changes nothing that was admitted.
//! Never: waits for durability in the reader, or decides what an answer says.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tidegate_s3stream::budget::MemoryPermit;
use tidegate_wire::frame::{FrameError, FrameReader};
use tidegate_wire::response::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::api::{Answer, Close, Handler};
use crate::release::Pending;

/// Who is on the other end, and through which listener it came.
#[derive(Debug, Clone)]
pub struct Client {
    pub listener: Arc<str>,
    pub host: IpAddr,
}

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub request_bytes_max: usize,
    pub in_flight_requests_max: usize,
    pub in_flight_bytes_max: usize,
    pub idle: Duration,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum End {
    #[error("the client closed it")]
    Eof,
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("the log died before the answer: the outcome is unknown")]
    Unanswered,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Refused(#[from] Close),
    #[error("{0}")]
    Io(#[from] io::Error),
}

struct Slot {
    pending: Option<Arc<Pending>>,
    frame: Frame,
    /// Memory that the answer draws until it is written.
    held: Vec<MemoryPermit>,
    request_bytes: usize,
}

/// Answers in order: filled by the reader, emptied by the writer of the same task.
#[derive(Default)]
struct Queue {
    inner: Mutex<Inner>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Inner {
    slots: VecDeque<Slot>,
    /// Slots that the writer took and has not written yet.
    writing: usize,
    requests: usize,
    bytes: usize,
}

impl Queue {
    fn push(&self, slot: Slot) {
        let mut inner = self.inner.lock();
        inner.requests += 1;
        inner.bytes += slot.request_bytes;
        inner.slots.push_back(slot);
        drop(inner);
        self.filled.notify_one();
    }

    async fn until(&self, ready: impl Fn(&Inner) -> bool) {
        loop {
            let drained = self.drained.notified();
            if ready(&self.inner.lock()) {
                return;
            }
            drained.await;
        }
    }

    async fn until_answered(&self) {
        self.until(|q| q.requests == 0).await;
    }

    async fn take(&self) -> Slot {
        loop {
            let filled = self.filled.notified();
            if let Some(slot) = self.take_if(|_| true) {
                return slot;
            }
            filled.await;
        }
    }

    fn take_if(&self, wanted: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let mut inner = self.inner.lock();
        if inner.slots.front().is_some_and(&wanted) {
            inner.writing += 1;
            inner.slots.pop_front()
        } else {
            None
        }
    }

    fn wrote(&self, slots: usize, request_bytes: usize) {
        let mut inner = self.inner.lock();
        inner.writing -= slots;
        inner.requests -= slots;
        inner.bytes -= request_bytes;
        drop(inner);
        self.drained.notify_one();
    }
}

/// Serves a connection until it ends; the reason says which log line it deserves.
pub async fn serve<R, W, H>(read: R, write: W, handler: H, limits: Limits, stop: watch::Receiver<bool>) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    H: Handler,
{
    let queue = Queue::default();
    let reader = read_loop(read, handler, limits, stop, &queue);
    let writer = write_loop(write, &queue);
    let end = tokio::select! {
        biased;
        end = writer => end,
        end = reader => end,
    };
    match end {
        Ok(()) => End::Eof,
        Err(end) => end,
    }
}

async fn read_loop<R, H>(
    mut read: R,
    mut handler: H,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    queue: &Queue,
) -> Result<(), End>
where
    R: AsyncRead + Unpin,
    H: Handler,
{
    let mut frames = FrameReader::new(limits.request_bytes_max);
    loop {
        let Some(frame) = frames.next_frame()? else {
            let stopping = async { drop(stop.wait_for(|s| *s).await) };
            let n = tokio::select! {
                biased;
                () = stopping => {
                    queue.until_answered().await;
                    return Err(End::Shutdown);
                }
                n = timeout(limits.idle, read.read_buf(frames.buffer())) => match n {
                    Ok(n) => n?,
                    Err(_) if queue.inner.lock().requests > 0 => continue,
                    Err(_) => return Err(End::Idle),
                },
            };
            if n == 0 {
                queue.until_answered().await;
                return Err(End::Eof);
            }
            continue;
        };
        queue
            .until(|q| {
                q.requests < limits.in_flight_requests_max
                    && (q.requests == 0 || q.bytes < limits.in_flight_bytes_max)
            })
            .await;
        let request_bytes = frame.len();
        if !handler.overlaps(&frame) {
            queue.until_answered().await;
        }
        let answer = handle_while_connected(&mut read, &mut frames, &mut handler, frame, limits).await?;
        let (pending, frame, held) = match answer {
            Answer::Now(frame) => (None, frame, Vec::new()),
            Answer::Held(frame, held) => (None, frame, held),
            Answer::When(pending, frame) => (Some(pending), frame, Vec::new()),
            Answer::None => continue,
        };
        queue.push(Slot { pending, frame, held, request_bytes });
    }
}

/// Runs one request while listening for the end of the connection, so that a long poll ends with its client. What
/// arrives meanwhile is kept for the next request, up to one read buffer.
async fn handle_while_connected<R, H>(
    read: &mut R,
    frames: &mut FrameReader,
    handler: &mut H,
    frame: Bytes,
    limits: Limits,
) -> Result<Answer, End>
where
    R: AsyncRead + Unpin,
    H: Handler,
{
    const AHEAD_MAX: usize = 64 * 1024;
    let answer = handler.handle(frame);
    tokio::pin!(answer);
    // Most requests are done at their first poll: look for the end of the connection only when one waits.
    let mut ahead = 0;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer?),
            n = read.read_buf(frames.buffer()), if ahead < AHEAD_MAX.min(limits.in_flight_bytes_max) => match n? {
                0 => return Err(End::Eof),
                n => ahead += n,
            },
        }
    }
}

async fn write_loop<W: AsyncWrite + Unpin>(mut write: W, queue: &Queue) -> Result<(), End> {
    const COALESCE_BYTES_MAX: usize = 256 * 1024;
    loop {
        let first = queue.take().await;
        if let Some(pending) = &first.pending
            && !pending.done().await
        {
            return Err(End::Unanswered);
        }
        let (mut slots, mut request_bytes) = (1, first.request_bytes);
        let mut out = first.frame;
        let mut held = first.held;
        // Whatever else is ready leaves in the same system call.
        while out.len < COALESCE_BYTES_MAX {
            let Some(next) = queue.take_if(|s| s.pending.as_ref().is_none_or(|p| p.is_done())) else { break };
            slots += 1;
            request_bytes += next.request_bytes;
            held.extend(next.held);
            out.chunks.extend(next.frame.chunks);
            out.len += next.frame.len;
        }
        write_all_vectored(&mut write, &out.chunks).await?;
        write.flush().await?;
        drop((out, held));
        queue.wrote(slots, request_bytes);
    }
}

async fn write_all_vectored<W: AsyncWrite + Unpin>(write: &mut W, chunks: &[Bytes]) -> io::Result<()> {
    const SLICES_MAX: usize = 64;
    let (mut chunk, mut at) = (0, 0);
    while chunk < chunks.len() {
        if at == chunks[chunk].len() {
            (chunk, at) = (chunk + 1, 0);
            continue;
        }
        let rest = &chunks[chunk..];
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let n = rest.len().min(SLICES_MAX);
        for (i, (slice, bytes)) in slices.iter_mut().zip(rest).enumerate() {
            *slice = IoSlice::new(if i == 0 { &bytes[at..] } else { bytes });
        }
        let mut wrote = write.write_vectored(&slices[..n]).await?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while wrote > 0 {
            let left = chunks[chunk].len() - at;
            if wrote < left {
                at += wrote;
                break;
            }
            wrote -= left;
            (chunk, at) = (chunk + 1, 0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
