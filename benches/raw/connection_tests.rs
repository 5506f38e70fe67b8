//! A connection against a socket that answers as a test says: stalls, errors, an end.

use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use tidegate_common::random::SeededRandom;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::batch::LoadBatch;
use crate::client::TopicIdentity;
use crate::schedule::{Rate, Window};
use crate::workload::Produce;

const VERSION: i16 = 9;
const MS: u64 = 1_000_000;

/// What the socket does with request number n, from 0.
#[derive(Clone, Copy)]
enum Step {
    Answer,
    AnswerAfter(Duration),
    Refuse(i16),
    Close,
}

/// Answers the requests of one connection; returns how many it read.
async fn serve(listener: TcpListener, step: impl Fn(u64) -> Step) -> Result<u64> {
    let (mut stream, _) = listener.accept().await?;
    let mut reader = FrameReader::default();
    let mut count = 0;
    loop {
        while let Some(mut frame) = reader.next()? {
            let header = RequestHeader::decode(&mut frame, ProduceRequest::header_version(VERSION))?;
            let request = ProduceRequest::decode(&mut frame, VERSION)?;
            let code = match step(count) {
                Step::Answer => 0,
                Step::AnswerAfter(pause) => {
                    tokio::time::sleep(pause).await;
                    0
                }
                Step::Refuse(code) => code,
                Step::Close => return Ok(count),
            };
            let answer = PartitionProduceResponse::default()
                .with_index(request.topic_data[0].partition_data[0].index)
                .with_error_code(code)
                .with_base_offset(count as i64);
            let topic = TopicProduceResponse::default().with_partition_responses(vec![answer]);
            let response = ProduceResponse::default().with_responses(vec![topic]);
            let mut body = BytesMut::new();
            ResponseHeader::default()
                .with_correlation_id(header.correlation_id)
                .encode(&mut body, ProduceResponse::header_version(VERSION))?;
            response.encode(&mut body, VERSION)?;
            let length = (body.len() as i32).to_be_bytes();
            if stream.write_all(&[&length, &body[..]].concat()).await.is_err() {
                return Ok(count); // the connection has ended, on the answer before this one
            }
            count += 1;
        }
        if stream.read_buf(reader.room()?).await? == 0 {
            return Ok(count);
        }
    }
}

/// Runs one connection for one second; gives how it ended, how many requests were read, and what was recorded.
fn run_one_second(
    rate: Rate,
    in_flight: usize,
    step: impl Fn(u64) -> Step + 'static,
) -> (Result<()>, u64, Rc<Recorder>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = tokio::task::spawn_local(serve(listener, step));
        let topic = TopicIdentity { name: "t".into(), id: uuid::Uuid::nil() };
        let batch = LoadBatch::build(100, 20_000, 0, &SeededRandom::new(1));
        let workload = Produce::new(VERSION, &topic, &[0], batch).expect("encodes");
        let stream = Connection::<Produce>::dial(&address).await.expect("it listens");
        let window = Window::new(now_ns(), 0, 1);
        let recorder = Rc::new(Recorder::new(window));
        let schedule = Schedule::new(window, rate, 0, 1);
        let connection =
            Connection::new(stream, workload, schedule, in_flight, recorder.clone()).expect("a timer");
        let ended = connection.run().await;
        let read = server.await.expect("no panic").expect("the requests decode");
        (ended, read, recorder)
    })
}

#[test]
fn an_open_loop_sends_each_request_of_the_schedule_once() {
    let (ended, read, recorder) = run_one_second(Rate::PerSecond(500.0), 4, |_| Step::Answer);
    ended.expect("all answered");
    assert_eq!(read, recorder.totals().requests);
    assert_eq!(read + recorder.unsent_count(), 500);
    // On a loaded machine the last ones may come up after the end.
    assert!(recorder.unsent_count() < 100, "{} were unsent", recorder.unsent_count());
    recorder.with_latency(|latency| assert_eq!(latency.count(), 500));
    recorder.with_lateness(|lateness| assert_eq!(lateness.count(), read));
}

#[test]
fn a_stall_is_seen_by_every_request_that_was_due_during_it() {
    let pause = Duration::from_millis(400);
    let stall = move |request| if request == 100 { Step::AnswerAfter(pause) } else { Step::Answer };
    let (ended, read, recorder) = run_one_second(Rate::PerSecond(500.0), 1, stall);
    ended.expect("all answered");
    assert_eq!(read + recorder.unsent_count(), 500);
    recorder.with_latency(|latency| {
        assert_eq!(latency.count(), 500);
        assert!(latency.max() >= 400 * MS, "the request that stalled: {}", latency.max());
        // 200 requests were due while one was stalled; a closed loop would have shown one slow request of 500.
        assert!(latency.quantile(0.75) >= 100 * MS, "p75 is {}", latency.quantile(0.75));
    });
    // They were late because the pipeline was full, which is no delay of the generator's.
    recorder.with_lateness(|lateness| {
        assert!(lateness.quantile(0.75) < 100 * MS, "p75 is {}", lateness.quantile(0.75));
    });
}

#[test]
fn what_could_not_be_sent_counts_with_its_age() {
    let slow = |_| Step::AnswerAfter(Duration::from_millis(50));
    let (ended, read, recorder) = run_one_second(Rate::PerSecond(1000.0), 1, slow);
    ended.expect("all answered");
    assert!(read <= 21, "{read} requests of at least 50 ms each");
    assert_eq!(read + recorder.unsent_count(), 1000);
    recorder.with_latency(|latency| {
        assert_eq!(latency.count(), 1000);
        assert!(latency.quantile(0.5) > 400 * MS, "half of the requests waited for half of the run");
    });
}

#[test]
fn a_closed_loop_keeps_the_pipeline_full_and_no_fuller() {
    let slow = |_| Step::AnswerAfter(Duration::from_millis(10));
    let (ended, read, recorder) = run_one_second(Rate::Max, 4, slow);
    ended.expect("all answered");
    assert_eq!(read, recorder.totals().requests);
    assert!((20..=104).contains(&read), "one answer every 10 ms: {read}");
    // A request waits for the three before it.
    recorder.with_latency(|latency| {
        let p50 = latency.quantile(0.5);
        assert!(p50 >= 39 * MS, "p50 is {p50}");
    });
}

#[test]
fn an_error_code_ends_the_connection_with_the_code() {
    let refuse = |request| if request == 20 { Step::Refuse(19) } else { Step::Answer };
    let (ended, _, recorder) = run_one_second(Rate::PerSecond(500.0), 4, refuse);
    let error = ended.expect_err("one was refused");
    assert!(error.to_string().contains("error code 19 (NotEnoughReplicas)"), "{error}");
    assert_eq!(recorder.totals().requests, 20);
}

#[test]
fn a_broker_that_goes_away_ends_the_connection() {
    let close = |request| if request == 20 { Step::Close } else { Step::Answer };
    let (ended, read, _) = run_one_second(Rate::PerSecond(500.0), 4, close);
    assert_eq!(read, 20);
    ended.expect_err("the socket was closed");
}
