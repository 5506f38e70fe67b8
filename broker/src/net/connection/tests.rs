//! Stories of one connection: order, overlap, bounds, and every way it ends.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tidegate_s3stream::budget::{Limits as Shares, MemoryBudget, Share};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;

const PRODUCE: u8 = 0;
const OTHER: u8 = 1;

/// Answers each request with its own bytes; a produce waits for its turn in `produces`, in the order of arrival.
struct Echo {
    produces: mpsc::UnboundedSender<Arc<Pending>>,
    budget: MemoryBudget,
}

impl Handler for Echo {
    fn overlaps(&self, frame: &Bytes) -> bool {
        frame[0] == PRODUCE
    }

    async fn handle(&mut self, frame: Bytes) -> Result<Answer, Close> {
        if frame[1..] == *b"close" {
            return Err(Close("told to".into()));
        }
        if frame[1..] == *b"slow" {
            sleep(Duration::from_secs(5)).await;
        }
        let answer = Frame { len: frame.len(), chunks: vec![frame.clone()] };
        if frame[0] == OTHER {
            return Ok(Answer::Now(answer));
        }
        let pending = Pending::new(self.budget.charge(Share::Produce, 1));
        pending.expect_one();
        self.produces.send(Arc::clone(&pending)).expect("the test listens");
        Ok(Answer::When(pending, answer))
    }
}

struct Peer {
    stream: DuplexStream,
    produces: mpsc::UnboundedReceiver<Arc<Pending>>,
    end: tokio::task::JoinHandle<End>,
    stop: watch::Sender<bool>,
}

fn connect(in_flight_requests_max: usize) -> Peer {
    let (ours, theirs) = duplex(1 << 20);
    let (read, write) = tokio::io::split(theirs);
    let (produces, listened) = mpsc::unbounded_channel();
    let stop = watch::Sender::new(false);
    let limits = Limits {
        request_bytes_max: 1024,
        in_flight_requests_max,
        in_flight_bytes_max: 1 << 20,
        idle: Duration::from_secs(60),
    };
    let budget = MemoryBudget::new(Shares::of(1 << 20));
    let end = tokio::spawn(serve(read, write, Echo { produces, budget }, limits, stop.subscribe()));
    Peer { stream: ours, produces: listened, end, stop }
}

impl Peer {
    async fn send(&mut self, kind: u8, text: &str) {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(text.len() + 1).expect("small"));
        frame.put_u8(kind);
        frame.put_slice(text.as_bytes());
        self.stream.write_all(&frame).await.expect("open");
    }

    /// The next answer; answers are the request's bytes without a length, all of these tests' have two.
    async fn answer(&mut self) -> String {
        let mut bytes = [0; 2];
        self.stream.read_exact(&mut bytes).await.expect("an answer");
        String::from_utf8_lossy(&bytes[1..]).into_owned()
    }

    async fn is_silent(&mut self) -> bool {
        let mut byte = [0; 1];
        tokio::time::timeout(Duration::from_millis(200), self.stream.read(&mut byte)).await.is_err()
    }

    async fn produce(&mut self) -> Arc<Pending> {
        self.produces.recv().await.expect("a produce was handled")
    }
}

#[tokio::test(start_paused = true)]
async fn produces_overlap_and_their_answers_leave_in_order() {
    let mut peer = connect(16);
    for text in ["a", "b", "c"] {
        peer.send(PRODUCE, text).await;
    }
    let (a, b, c) = (peer.produce().await, peer.produce().await, peer.produce().await);
    b.one_done();
    c.one_done();
    assert!(peer.is_silent().await, "the first answer holds back the others");
    a.one_done();
    assert_eq!([peer.answer().await, peer.answer().await, peer.answer().await], ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn any_other_request_starts_when_those_before_it_are_answered() {
    let mut peer = connect(16);
    peer.send(PRODUCE, "a").await;
    peer.send(OTHER, "x").await;
    let a = peer.produce().await;
    assert!(peer.is_silent().await);
    a.one_done();
    assert_eq!([peer.answer().await, peer.answer().await], ["a", "x"]);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_bounded() {
    let mut peer = connect(2);
    for text in ["a", "b", "c"] {
        peer.send(PRODUCE, text).await;
    }
    let (a, _b) = (peer.produce().await, peer.produce().await);
    sleep(Duration::from_millis(100)).await;
    assert!(peer.produces.try_recv().is_err(), "the third waits for an answer");
    a.one_done();
    assert_eq!(peer.answer().await, "a");
    peer.produce().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_dies_leaves_requests_unanswered() {
    let mut peer = connect(16);
    peer.send(PRODUCE, "a").await;
    peer.produce().await.kill();
    assert!(matches!(peer.end.await, Ok(End::Unanswered)));
    let mut rest = Vec::new();
    peer.stream.read_to_end(&mut rest).await.expect("closed");
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_its_long_poll() {
    let mut peer = connect(16);
    peer.send(OTHER, "slow").await;
    sleep(Duration::from_millis(10)).await;
    drop(peer.stream);
    let ended =
        tokio::time::timeout(Duration::from_secs(1), peer.end).await.expect("well before the poll is over");
    assert!(matches!(ended, Ok(End::Eof | End::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn bad_frames_and_refusals_close() {
    let mut peer = connect(16);
    peer.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("open");
    assert!(matches!(peer.end.await, Ok(End::Frame(_))));
    let mut peer = connect(16);
    peer.send(OTHER, "close").await;
    assert!(matches!(peer.end.await, Ok(End::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_close_and_busy_ones_do_not() {
    let peer = connect(16);
    assert!(matches!(peer.end.await, Ok(End::Idle)));
    let mut peer = connect(16);
    peer.send(PRODUCE, "a").await;
    let a = peer.produce().await;
    sleep(Duration::from_secs(100)).await;
    a.one_done();
    assert_eq!(peer.answer().await, "a");
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_is_in_flight() {
    let mut peer = connect(16);
    peer.send(PRODUCE, "a").await;
    let a = peer.produce().await;
    peer.stop.send_replace(true);
    sleep(Duration::from_millis(10)).await;
    assert!(!peer.end.is_finished());
    a.one_done();
    assert_eq!(peer.answer().await, "a");
    assert!(matches!(peer.end.await, Ok(End::Shutdown)));
}
