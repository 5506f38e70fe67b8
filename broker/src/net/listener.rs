//! Kafka listeners over TCP: the rim where real sockets are made.
//!
//! Owns: binding, accepting, socket options. Invariants: every accepted socket has a pass of the gate; an error of
//! one connection never ends the accept loop. Never: reads a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, Client, End, Limits};
use super::gate::Gate;
use crate::api::Surface;
use crate::broker::Broker;

/// What is the same for all connections of a listener.
#[derive(Clone)]
pub struct Settings {
    pub name: Arc<str>,
    pub limits: Limits,
    pub gate: Arc<Gate>,
    pub send_buffer_bytes: Option<usize>,
    pub receive_buffer_bytes: Option<usize>,
}

/// Binds one address.
///
/// # Errors
/// What the system says, e.g. that the port is in use.
pub fn bind(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // A restart may bind at once, while old connections of the port linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop, then waits for its connections to answer what is in flight.
pub async fn run(
    listener: TcpListener,
    broker: Arc<Broker>,
    settings: Settings,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let connections_stop = stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|s| *s) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let pass = match settings.gate.enter(peer.ip()) {
                    Ok(pass) => pass,
                    Err(shut) => {
                        tracing::warn!(%peer, listener = &*settings.name, "connection refused: {shut}");
                        continue;
                    }
                };
                let (broker, settings, stop) =
                    (Arc::clone(&broker), settings.clone(), connections_stop.clone());
                connections.spawn(async move {
                    serve(stream, peer, broker, settings, stop).await;
                    drop(pass);
                });
            }
            Err(error) => {
                // Out of files or memory: the backlog keeps the client waiting meanwhile.
                tracing::warn!(%error, listener = &*settings.name, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Arc<Broker>,
    settings: Settings,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = tune(&stream, &settings) {
        tracing::debug!(%peer, %error, "socket options were not all taken");
    }
    let metrics = broker.metrics.connections.clone();
    metrics.accepted.inc();
    metrics.open.inc();
    let client = Client { listener: Arc::clone(&settings.name), host: peer.ip() };
    let (read, write) = stream.into_split();
    let end = connection::serve(read, write, Surface { broker, client }, settings.limits, stop).await;
    metrics.open.dec();
    let reason = match end {
        End::Eof => "client",
        End::Idle => "idle",
        End::Shutdown => "shutdown",
        End::Io(_) => "lost",
        End::Frame(_) => "frame",
        End::Refused(_) => "refused",
        End::Unanswered => "unanswered",
    };
    metrics.closed(reason);
    match end {
        End::Eof | End::Idle | End::Shutdown | End::Io(_) => {
            tracing::debug!(%peer, "connection ended: {end}")
        }
        End::Frame(_) | End::Refused(_) | End::Unanswered => {
            tracing::warn!(%peer, "connection closed: {end}")
        }
    }
}

fn tune(stream: &TcpStream, settings: &Settings) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}
