//! Each fault of the proxies does what it says, to what was asked for alone, and is counted.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{http, kafka};

const ANSWER_BYTES: usize = 200;

/// A server that hands on what it was sent, chunk by chunk, and answers each with the same bytes.
async fn upstream(answer: Vec<u8>) -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (heard, answer) = (heard.clone(), answer.clone());
            tokio::spawn(async move {
                let mut chunk = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                    heard.send(chunk[..count].to_vec()).ok();
                    stream.write_all(&answer).await.ok();
                }
            });
        }
    });
    (address, hears)
}

/// A frame of this API with so many bytes after its length.
fn frame(api: i16, length: usize) -> Vec<u8> {
    let mut bytes = (length as u32).to_be_bytes().to_vec();
    bytes.extend(api.to_be_bytes());
    bytes.resize(4 + length, 7);
    bytes
}

async fn kafka_proxy() -> (kafka::Plan, String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (address, hears) = upstream(frame(0, ANSWER_BYTES - 4)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let plan = kafka::Plan::default();
    tokio::spawn(kafka::serve(listener, address, plan.clone()));
    (plan, at, hears)
}

/// Sends one request on a connection of its own and counts what comes back: all of the answer, or all until the cut.
async fn ask(at: &str, api: i16) -> usize {
    let mut client = TcpStream::connect(at).await.expect("a connection");
    client.write_all(&frame(api, 996)).await.expect("sent");
    let mut got = [0; ANSWER_BYTES];
    let mut count = 0;
    while count < ANSWER_BYTES {
        match client.read(&mut got[count..]).await {
            Ok(0) | Err(_) => break,
            Ok(more) => count += more,
        }
    }
    count
}

#[tokio::test]
async fn an_answer_is_cut_in_its_middle_once() {
    let (plan, at, mut hears) = kafka_proxy().await;
    assert_eq!(ask(&at, 0).await, ANSWER_BYTES);
    plan.obey(&["cut-answer", "produce", "1"]).expect("known");
    assert_eq!(ask(&at, 1).await, ANSWER_BYTES, "a fetch is not meant");
    let cut = ask(&at, 0).await;
    assert!(cut > 0 && cut < ANSWER_BYTES, "{cut}");
    assert_eq!(ask(&at, 0).await, ANSWER_BYTES, "one was asked for");
    assert_eq!(plan.counts.of("cut-answer"), 1);
    for _ in 0..4 {
        assert_eq!(hears.recv().await.expect("heard").len(), 1000, "requests came whole");
    }
}

#[tokio::test]
async fn an_answer_is_lost_whole_and_its_request_was_passed_on() {
    let (plan, at, mut hears) = kafka_proxy().await;
    plan.obey(&["lose-answer", "produce", "1"]).expect("known");
    assert_eq!(ask(&at, 0).await, 0);
    assert_eq!(hears.recv().await.expect("heard").len(), 1000);
    assert_eq!(plan.counts.of("lose-answer"), 1);
}

#[tokio::test]
async fn a_request_is_cut_in_its_middle() {
    let (plan, at, mut hears) = kafka_proxy().await;
    plan.obey(&["cut-request", "fetch", "1"]).expect("known");
    // The upstream of this test answers whatever comes; a broker would wait for the rest.
    ask(&at, 1).await;
    let heard = hears.recv().await.expect("heard").len();
    assert!(heard > 6 && heard < 1000, "{heard}");
    assert_eq!(plan.counts.of("cut-request"), 1);
    assert!(plan.obey(&["cut-request", "metadata", "1"]).is_err());
}

async fn http_proxy(answer: &str) -> (http::Plan, String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (address, hears) = upstream(answer.into()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let plan = http::Plan::default();
    tokio::spawn(http::serve(listener, address, plan.clone()));
    (plan, at, hears)
}

/// One GET on a connection of its own that is closed for writing after it: all that comes back.
async fn get(at: &str) -> String {
    let mut client = TcpStream::connect(at).await.expect("a connection");
    client.write_all(b"GET /key HTTP/1.1\r\nHost: store\r\n\r\n").await.expect("sent");
    client.shutdown().await.expect("closed");
    let mut got = String::new();
    client.read_to_string(&mut got).await.expect("an end");
    got
}

#[tokio::test]
async fn a_store_is_passed_through_slowed_refused_or_its_answer_lost() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let (plan, at, mut hears) = http_proxy(ANSWER).await;
    assert_eq!(get(&at).await, ANSWER);
    plan.obey(&["slow", "1"]).expect("known");
    assert_eq!(get(&at).await, ANSWER);
    plan.obey(&["refuse"]).expect("known");
    assert!(get(&at).await.starts_with("HTTP/1.1 503 "), "in the store's place");
    plan.obey(&["lose", "2"]).expect("known");
    assert_eq!(get(&at).await, ANSWER, "the first of two");
    assert_eq!(get(&at).await, "", "the second");
    plan.obey(&["pass"]).expect("known");
    assert_eq!(get(&at).await, ANSWER);
    let counted = ["requests", "slowed", "refused", "lost", "unsupported"].map(|name| plan.counts.of(name));
    assert_eq!(counted, [6, 1, 1, 1, 0]);
    for _ in 0..5 {
        hears.recv().await.expect("all but the refused one were carried out");
    }
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn a_chunked_answer_passes_whole() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (_, at, _hears) = http_proxy(ANSWER).await;
    assert_eq!(get(&at).await, ANSWER);
}
