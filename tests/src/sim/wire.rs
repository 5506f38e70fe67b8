//! A minimal Kafka client over simulated sockets: it speaks the bytes that real clients speak.
//!
//! Owns: framing, headers, one request at a time or several in flight. Every wait has a deadline.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_wire::versions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use super::{BROKER, PORT};

const DEADLINE: Duration = Duration::from_secs(8);
/// Far above what the simulation's answers take.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub struct Conn {
    stream: TcpStream,
    correlation: i32,
    in_flight: VecDeque<(i16, i16, i32)>,
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what.to_owned())
}

impl Conn {
    pub async fn open() -> io::Result<Self> {
        let stream =
            timeout(DEADLINE, TcpStream::connect((BROKER, PORT))).await.map_err(|_| late("connect"))??;
        Ok(Self { stream, correlation: 0, in_flight: VecDeque::new() })
    }

    pub async fn send<T: Encodable>(&mut self, key: i16, version: i16, request: &T) -> io::Result<()> {
        self.correlation += 1;
        let frame = Self::frame_of(key, version, self.correlation, request)?;
        self.in_flight.push_back((key, version, self.correlation));
        self.raw(&frame).await
    }

    /// The bytes of a request.
    pub fn frame_of<T: Encodable>(
        key: i16,
        version: i16,
        correlation: i32,
        request: &T,
    ) -> io::Result<Bytes> {
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("sim")));
        let header_version = versions::request_header_version(key, version).expect("a known key");
        let mut body = BytesMut::new();
        header.encode(&mut body, header_version).map_err(io::Error::other)?;
        request.encode(&mut body, version).map_err(io::Error::other)?;
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).expect("small"));
        frame.extend_from_slice(&body);
        Ok(frame.freeze())
    }

    /// Any bytes.
    pub async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(DEADLINE, self.stream.write_all(bytes)).await.map_err(|_| late("write"))?
    }

    /// Takes up to so many bytes of an answer, and looks away.
    pub async fn swallow(&mut self, bytes: usize) -> io::Result<usize> {
        let mut buffer = vec![0; bytes];
        timeout(DEADLINE, self.stream.read(&mut buffer)).await.map_err(|_| late("read"))?
    }

    pub async fn receive<T: Decodable>(&mut self) -> io::Result<T> {
        let (key, version, correlation) = self.in_flight.pop_front().expect("something is in flight");
        let mut frame = timeout(DEADLINE, self.frame()).await.map_err(|_| late("read"))??;
        if frame.len() < 4 || frame.get_i32() != correlation {
            return Err(io::Error::other("an answer out of order"));
        }
        if versions::response_header_version(key, version) == Some(1) {
            frame.advance(1);
        }
        T::decode(&mut frame, version).map_err(io::Error::other)
    }

    pub async fn call<Q: Encodable, A: Decodable>(
        &mut self,
        key: i16,
        version: i16,
        request: &Q,
    ) -> io::Result<A> {
        self.send(key, version, request).await?;
        self.receive().await
    }

    async fn frame(&mut self) -> io::Result<Bytes> {
        let len = self.stream.read_i32().await?;
        let len = usize::try_from(len).ok().filter(|n| *n <= ANSWER_BYTES_MAX);
        let mut bytes = vec![0; len.ok_or_else(|| io::Error::other("an answer of an impossible length"))?];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes.into())
    }
}
