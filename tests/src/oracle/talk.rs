//! Talks to one broker over TCP and writes down what it answers.
//!
//! Owns: connections, framing, the log of observations. Invariants: every recorded request has a label of its own, and
//! every wait a deadline. Never: judges an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Buf, Bytes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::codec::{self, Layout};
use super::schema::{Api, Schema};

/// Longer than any wait that a case asks for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How often a state that settles later (metadata, a coordinator) is looked at.
const LOOK_EACH: Duration = Duration::from_millis(20);
const LOOKS: usize = 500;
const FRAME_MAX: i32 = 64 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(Value),
    /// The broker closed the connection.
    Closed,
    /// Nothing within the deadline.
    Silent,
    /// Bytes that are no answer of this version.
    Undecodable(String),
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Observation {
    /// `scenario/label`
    pub case: String,
    pub key: i16,
    pub version: i16,
    pub outcome: Outcome,
}

pub struct Conn {
    /// `None` once the broker has closed it.
    stream: Option<TcpStream>,
    correlation: i32,
    /// Requests whose answers are to come: label (`None`: not recorded), key, version, correlation.
    waiting: Vec<(Option<String>, i16, i16, i32)>,
}

pub struct Talk {
    pub address: String,
    pub schema: Arc<Schema>,
    /// Key to the range that ApiVersions gives.
    pub served: BTreeMap<i16, (i16, i16)>,
    pub log: Vec<Observation>,
    pub client_id: Option<String>,
    /// How long each scenario took.
    pub took: Vec<(&'static str, Duration)>,
    scenario: &'static str,
    main: Conn,
}

impl Talk {
    pub async fn new(address: String, schema: Arc<Schema>) -> Result<Talk> {
        let main = connect(&address).await?;
        let (served, log) = (BTreeMap::new(), Vec::new());
        let client_id = Some("oracle".to_owned());
        let mut talk = Talk { address, schema, served, log, client_id, took: Vec::new(), scenario: "", main };
        let answer = talk.quiet(18, 0, json!({})).await?;
        for key in answer["ApiKeys"].as_array().context("no keys")? {
            let number = |name: &str| i16::try_from(key[name].as_i64().unwrap_or(-1)).unwrap_or(-1);
            talk.served.insert(number("ApiKey"), (number("MinVersion"), number("MaxVersion")));
        }
        Ok(talk)
    }

    pub fn begin(&mut self, scenario: &'static str) {
        self.scenario = scenario;
        self.client_id = Some("oracle".to_owned());
    }

    pub async fn connect(&self) -> Result<Conn> {
        connect(&self.address).await
    }

    /// The versions of a key that Kafka serves.
    pub fn versions(&self, key: i16) -> std::ops::RangeInclusive<i16> {
        let versions = self.schema.api(key).versions;
        versions.lo..=versions.hi
    }

    /// Asks on the scenario's first connection, and records. `Null` when there is no answer.
    pub async fn ask(&mut self, label: &str, key: i16, version: i16, request: Value) -> Result<Value> {
        let mut main = self.main_conn().await?;
        let answer = self.ask_on(&mut main, label, key, version, request).await;
        self.main = main;
        answer
    }

    pub async fn ask_on(
        &mut self,
        conn: &mut Conn,
        label: &str,
        key: i16,
        version: i16,
        request: Value,
    ) -> Result<Value> {
        self.send(conn, label, key, version, request).await?;
        self.receive(conn).await
    }

    /// Sends a request whose answer [`receive`](Self::receive) takes later.
    pub async fn send(
        &mut self,
        conn: &mut Conn,
        label: &str,
        key: i16,
        version: i16,
        request: Value,
    ) -> Result<()> {
        let body = self.body(key, version, &request).with_context(|| format!("{label} v{version}"))?;
        self.post(conn, Some(label.to_owned()), key, version, &body).await
    }

    /// The next answer on this connection.
    pub async fn receive(&mut self, conn: &mut Conn) -> Result<Value> {
        let (label, key, version, correlation) = conn.waiting.remove(0);
        let api = self.schema.find(key);
        let outcome = match conn.frame().await {
            Err(outcome) => outcome,
            Ok(frame) => match open(api, version, correlation, frame) {
                Ok(value) => Outcome::Answer(value),
                Err(why) => Outcome::Undecodable(format!("{why:#}")),
            },
        };
        let value = if let Outcome::Answer(value) = &outcome { value.clone() } else { Value::Null };
        match label {
            Some(label) => self.record(&label, key, version, outcome)?,
            None => ensure!(matches!(outcome, Outcome::Answer(_)), "key {key} v{version}: {outcome:?}"),
        }
        Ok(value)
    }

    /// Asks without recording; anything but an answer is an error.
    pub async fn quiet(&mut self, key: i16, version: i16, request: Value) -> Result<Value> {
        let body = self.body(key, version, &request).with_context(|| format!("key {key} v{version}"))?;
        let mut main = self.main_conn().await?;
        self.post(&mut main, None, key, version, &body).await?;
        let answer = self.receive(&mut main).await;
        self.main = main;
        answer
    }

    /// Asks quietly until the answer is as wanted: for what Kafka lets settle after it has answered.
    pub async fn until(
        &mut self,
        what: &str,
        key: i16,
        version: i16,
        request: Value,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        for _ in 0..LOOKS {
            last = self.quiet(key, version, request.clone()).await?;
            if wanted(&last) {
                return Ok(last);
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
        bail!("{what}: not within {:?}: {last}", LOOK_EACH * LOOKS as u32)
    }

    /// A request with a body of the case's own making, on a connection of its own.
    pub async fn ask_bytes(&mut self, label: &str, key: i16, version: i16, body: &[u8]) -> Result<Value> {
        let mut conn = self.connect().await?;
        self.post(&mut conn, Some(label.to_owned()), key, version, body).await?;
        self.receive(&mut conn).await
    }

    /// Bytes as they stand on a new connection: whether the broker closes it.
    pub async fn raw(&mut self, label: &str, key: i16, version: i16, bytes: &[u8]) -> Result<()> {
        let mut conn = self.connect().await?;
        if let Some(stream) = &mut conn.stream {
            // The broker may close before it has read all.
            let _ = stream.write_all(bytes).await;
        }
        let outcome = match conn.frame().await {
            Err(outcome) => outcome,
            Ok(frame) => Outcome::Answer(json!(codec::hex(&frame))),
        };
        self.record(label, key, version, outcome)
    }

    pub fn body(&self, key: i16, version: i16, request: &Value) -> Result<Vec<u8>> {
        let api = self.schema.api(key);
        let mut body = Vec::new();
        codec::encode(&api.request, Layout::new(version, api.flexible), request, &mut body)?;
        Ok(body)
    }

    /// Length, header and body.
    pub fn frame(&self, key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
        let header = self.schema.find(key).map_or(1, |api| api.request_header(version));
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&correlation.to_be_bytes());
        match &self.client_id {
            None => frame.extend_from_slice(&(-1i16).to_be_bytes()),
            Some(id) => {
                frame.extend_from_slice(&(id.len() as u16).to_be_bytes());
                frame.extend_from_slice(id.as_bytes());
            }
        }
        if header == 2 {
            frame.push(0);
        }
        frame.extend_from_slice(body);
        let len = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        frame
    }

    async fn post(
        &mut self,
        conn: &mut Conn,
        label: Option<String>,
        key: i16,
        version: i16,
        body: &[u8],
    ) -> Result<()> {
        conn.correlation += 1;
        let frame = self.frame(key, version, conn.correlation, body);
        if let Some(stream) = &mut conn.stream
            && stream.write_all(&frame).await.is_err()
        {
            conn.stream = None;
        }
        conn.waiting.push((label, key, version, conn.correlation));
        Ok(())
    }

    /// Forgets a request that gets no answer, such as Produce with acks 0.
    pub fn expect_none(&mut self, conn: &mut Conn) -> Result<()> {
        let (label, key, version, _) = conn.waiting.remove(0);
        self.record(&label.context("a label")?, key, version, Outcome::Silent)
    }

    fn record(&mut self, label: &str, key: i16, version: i16, outcome: Outcome) -> Result<()> {
        let case = format!("{}/{label}", self.scenario);
        if self.log.iter().any(|o| o.case == case && o.version == version && o.key == key) {
            bail!("{case} v{version} is asked twice");
        }
        self.log.push(Observation { case, key, version, outcome });
        Ok(())
    }

    /// The first connection, anew when a case before had it closed.
    async fn main_conn(&mut self) -> Result<Conn> {
        let fresh = Conn { stream: None, correlation: 0, waiting: Vec::new() };
        let main = std::mem::replace(&mut self.main, fresh);
        if main.stream.is_some() { Ok(main) } else { self.connect().await }
    }
}

async fn connect(address: &str) -> Result<Conn> {
    let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
    stream.set_nodelay(true)?;
    Ok(Conn { stream: Some(stream), correlation: 0, waiting: Vec::new() })
}

impl Conn {
    async fn frame(&mut self) -> Result<Bytes, Outcome> {
        let Some(stream) = &mut self.stream else { return Err(Outcome::Closed) };
        let read = async {
            let len = stream.read_i32().await.ok()?;
            if !(0..=FRAME_MAX).contains(&len) {
                return None;
            }
            let mut frame = vec![0; len as usize];
            stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        match tokio::time::timeout(ANSWER_WITHIN, read).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => {
                self.stream = None;
                Err(Outcome::Closed)
            }
            Err(_) => {
                self.stream = None;
                Err(Outcome::Silent)
            }
        }
    }
}

/// Header and body of an answer, to the last byte.
fn open(api: Option<&Api>, version: i16, correlation: i32, mut frame: Bytes) -> Result<Value> {
    let got = frame.try_get_i32()?;
    ensure!(got == correlation, "an answer to {got} instead of {correlation}");
    let api = api.ok_or_else(|| anyhow!("an answer to a key that Kafka does not know"))?;
    // A version of the future is answered as version 0 (KIP-511).
    let version = if api.versions.has(version) { version } else { 0 };
    if api.response_header(version) == 1 {
        let tags = codec::take_varint(&mut frame)?;
        ensure!(tags == 0, "{tags} tagged fields in the header");
    }
    let value = codec::decode(&api.response, Layout::new(version, api.flexible), &mut frame)?;
    ensure!(frame.is_empty(), "{} bytes are left", frame.len());
    Ok(value)
}
