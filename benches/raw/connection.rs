//! One connection under load.
//!
//! Owns: the socket, the requests in flight and the timer for the next one.
//! Invariants: at most `in_flight` requests are unanswered; requests leave in the order of their due times and answers
//! are matched in that order; a request's latency begins when it was due, not when it was sent.
//! Why one hand-written poll and not two tasks: reading, writing and pacing share the pipeline, and a task switch or a
//! lock per request would cost more than the request.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::clock::{Timer, now_ns};
use crate::frames::{FrameReader, SLICES_MAX, SendQueue};
use crate::recorder::Recorder;
use crate::schedule::Schedule;
use crate::workload::Workload;

struct InFlight<T> {
    correlation: i32,
    due_ns: u64,
    ticket: T,
}

pub struct Connection<W: Workload> {
    stream: TcpStream,
    timer: Timer,
    reader: FrameReader,
    queue: SendQueue,
    workload: W,
    schedule: Schedule,
    in_flight: VecDeque<InFlight<W::Ticket>>,
    in_flight_max: usize,
    /// When the pipeline last came to have room: before that, waiting is the broker's doing.
    room_since_ns: u64,
    next_correlation: i32,
    recorder: Rc<Recorder>,
}

impl<W: Workload> Connection<W> {
    pub async fn dial(address: &str) -> Result<TcpStream> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub fn new(
        stream: TcpStream,
        workload: W,
        schedule: Schedule,
        in_flight_max: usize,
        recorder: Rc<Recorder>,
    ) -> Result<Self> {
        Ok(Self {
            stream,
            timer: Timer::new()?,
            reader: FrameReader::default(),
            queue: SendQueue::default(),
            workload,
            schedule,
            in_flight: VecDeque::with_capacity(in_flight_max),
            in_flight_max,
            room_since_ns: 0,
            next_correlation: 1,
            recorder,
        })
    }

    /// Sends what is due until the window ends, then waits for the answers.
    pub async fn run(mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_run(cx)).await?;
        for due_ns in self.schedule.unsent() {
            self.recorder.unsent(due_ns);
        }
        Ok(())
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            self.admit(now_ns());
            self.poll_send(cx)?;
            if self.poll_receive(cx)? {
                continue;
            }
            // The socket has nothing more to give; what else could bring the next step is time.
            let now_ns = now_ns();
            let end_ns = self.schedule.window().end_ns;
            if now_ns >= end_ns {
                return if self.in_flight.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if self.in_flight.len() == self.in_flight_max {
                return Poll::Pending;
            }
            let due_ns = self.schedule.next_due(now_ns).unwrap_or(end_ns);
            if due_ns > now_ns && self.timer.poll_until(cx, due_ns)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Queues what is due and has room.
    fn admit(&mut self, now_ns: u64) {
        while self.in_flight.len() < self.in_flight_max && now_ns < self.schedule.window().end_ns {
            let Some(due_ns) = self.schedule.next_due(now_ns).filter(|&due_ns| due_ns <= now_ns) else {
                return;
            };
            self.schedule.take();
            let correlation = self.next_correlation;
            self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(1);
            let ticket = self.workload.request(correlation, &mut self.queue);
            self.in_flight.push_back(InFlight { correlation, due_ns, ticket });
            self.recorder.sent(due_ns, now_ns - due_ns.max(self.room_since_ns));
        }
    }

    /// Writes until the queue is empty or the socket full.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<()> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.queue.slices(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(sent) => self.queue.advance(sent.context("sending a request")?),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Reads once; whether there was anything.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Result<bool> {
        match self.poll_read(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(read) => {
                if read.context("receiving an answer")? == 0 {
                    bail!("the broker closed a connection with {} requests in flight", self.in_flight.len());
                }
            }
        }
        let now_ns = now_ns();
        while let Some(frame) = self.reader.next()? {
            let Some(InFlight { correlation, due_ns, ticket }) = self.in_flight.pop_front() else {
                bail!("the broker sent an answer to no request");
            };
            if self.in_flight.len() + 1 == self.in_flight_max {
                self.room_since_ns = now_ns;
            }
            let counted = self.workload.answer(correlation, ticket, frame)?;
            self.recorder.answered(due_ns, now_ns, counted);
        }
        Ok(true)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = match self.reader.room() {
            Ok(room) => room,
            Err(error) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error))),
        };
        let future = std::pin::pin!(self.stream.read_buf(room));
        future.poll(cx)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
