//! `fault-proxy`: passes connections on, and does the harm that its control port is told (see `tidegate_tests::proxy`).

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use tidegate_tests::proxy::{control, http, kafka};
use tokio::net::TcpListener;

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Kafka,
    Http,
}

/// A proxy that does harm on demand
#[derive(Parser)]
struct Args {
    /// What passes through
    #[arg(value_enum)]
    kind: Kind,
    /// Where clients connect to
    #[arg(long)]
    listen: SocketAddr,
    /// Where their connections go
    #[arg(long)]
    upstream: String,
    /// Where commands are taken: one line for each connection
    #[arg(long)]
    control: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("listen on {}", args.listen))?;
    let orders =
        TcpListener::bind(args.control).await.with_context(|| format!("control on {}", args.control))?;
    match args.kind {
        Kind::Kafka => {
            let plan = kafka::Plan::default();
            tokio::try_join!(
                kafka::serve(listener, args.upstream, plan.clone()),
                control::serve(orders, |words| plan.obey(words))
            )?;
        }
        Kind::Http => {
            let plan = http::Plan::default();
            tokio::try_join!(
                http::serve(listener, args.upstream, plan.clone()),
                control::serve(orders, |words| plan.obey(words))
            )?;
        }
    }
    Ok(())
}
