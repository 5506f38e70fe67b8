//! The command line.
//!
//! Owns: names, units and bounds of the arguments. Invariants: a value that leaves here is within its bounds.

use clap::{Args, Parser, Subcommand};

use crate::schedule::Rate;

/// Open-loop load generator that speaks Kafka's bytes. See benches/README.md.
#[derive(Parser)]
#[command(name = "raw", version)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Writes batches with acks=-1 and without a producer id
    Produce(ProduceOptions),
    /// Reads from the earliest offset, over and over, or follows the end
    Fetch(FetchOptions),
    /// Deletes a topic
    DeleteTopic {
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
        bootstrap: String,
        #[arg(long)]
        topic: String,
    },
    /// Prints the table of a file of `--json` lines, with ratios against the first label in it
    Report { file: std::path::PathBuf },
    /// Writes to this many bytes of memory and gives them back, so that the host has backed them
    Pretouch {
        #[arg(long)]
        bytes: u64,
    },
}

#[derive(Args)]
pub struct ProduceOptions {
    #[command(flatten)]
    pub load: LoadOptions,
    /// Bytes of a record's value
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=BATCH_BYTES_MAX))]
    pub record_bytes: u32,
}

#[derive(Args)]
pub struct FetchOptions {
    #[command(flatten)]
    pub load: LoadOptions,
    /// Starts at the end and stays there, in place of cycling over what is there
    #[arg(long)]
    pub tail: bool,
    /// Checks the CRC of every batch
    #[arg(long)]
    pub verify: bool,
    /// How long a request may wait for a first byte, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u16))]
    pub max_wait_ms: u16,
}

#[derive(Args)]
pub struct LoadOptions {
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Created if it is missing
    #[arg(long)]
    pub topic: String,
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub partitions: u32,
    /// Config of the topic if it is created here, as in `flush.messages=1`; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub topic_config: Vec<(String, String)>,
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// produce: bytes of a batch, one batch a request; fetch: bytes that one answer may carry
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(128..=BATCH_BYTES_MAX))]
    pub batch_bytes: u32,
    /// Requests that a connection may have unanswered
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub in_flight: u32,
    /// Requests per second over all connections, or `max` for a closed loop
    #[arg(long, value_name = "REQ/S|max", default_value = "max")]
    pub rate: Rate,
    /// Measured seconds
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Seconds of the same load before the measurement
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub warmup: u64,
    /// Process of the broker, for its CPU and memory
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// One line of JSON on stdout, the text on stderr
    #[arg(long)]
    pub json: bool,
    /// Names the load in a report
    #[arg(long, default_value = "")]
    pub name: String,
    /// Names the broker in a report
    #[arg(long, default_value = "")]
    pub label: String,
}

/// Half of the frame that the generator accepts, and Kafka's own `message.max.bytes` is 1 MiB.
const BATCH_BYTES_MAX: i64 = 64 << 20;

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE".to_owned()),
    }
}
