//! The admin listener: /metrics, /healthz, /readyz over HTTP.
//!
//! Owns: the HTTP face of `Probe` and `Metrics`.
//! Invariants: never waits for a client's data path: probes answer from memory, at once.
//! Never: serves anything that changes the broker, or speaks to Kafka clients.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the broker says of itself. Asked on each request, so it answers without waiting.
pub trait Probe: Send + Sync + 'static {
    fn health(&self) -> Health;
    fn readiness(&self) -> Readiness;
}

/// Whether this process should go on living.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Alive,
    /// The WAL is poisoned, or the like: only a restart helps.
    Failed {
        why: String,
    },
}

/// Whether clients should be sent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Readiness {
    Serving,
    /// `step` names what runs: "wal", "metadata", "partitions", ….
    Recovering {
        step: &'static str,
        done: u64,
        total: u64,
        unit: &'static str,
    },
    Stopping,
    Failed {
        why: String,
    },
}

/// The admin server, bound and not yet answering.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds `host:port`.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` completes; then what is in flight is answered, and this returns.
    pub async fn serve(
        self,
        probe: Arc<dyn Probe>,
        metrics: Metrics,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        axum::serve(self.listener, router(probe, metrics)).with_graceful_shutdown(stop).await
    }
}

#[derive(Clone)]
struct Shared {
    probe: Arc<dyn Probe>,
    metrics: Metrics,
}

fn router(probe: Arc<dyn Probe>, metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shared { probe, metrics })
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn scrape(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shared.metrics.encode()).into_response()
}

async fn healthz(State(shared): State<Shared>) -> Response {
    match shared.probe.health() {
        Health::Alive => (StatusCode::OK, "ok\n").into_response(),
        Health::Failed { why } => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = shared.probe.readiness();
    let status = match readiness {
        Readiness::Serving => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(readiness)).into_response()
}

#[cfg(test)]
mod tests;
