//! What a run found, as text and as one line of JSON.
//!
//! Owns: the figures and their units. MB are 10^6 bytes, GiB 2^30; bytes are those of record batches, heads included,
//! without the requests around them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// Below this share of the offered rate a run tells about throughput, not about latency.
pub const SATURATED_BELOW: f64 = 0.99;
/// Above this share of a core the generator may have been the limit.
const GENERATOR_BUSY: f64 = 0.9;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub workload: String,
    pub name: String,
    pub label: String,
    pub api_version: i16,
    pub partitions: u32,
    pub connections: u32,
    pub in_flight: u32,
    pub batch_bytes: u32,
    /// Requests per second that were offered; none in a closed loop.
    pub offered: Option<f64>,
    pub warmup_s: u64,
    pub measured_s: f64,
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    pub empty_answers: u64,
    pub unsent: u64,
    pub latency_us: Quantiles,
    /// How late the generator itself was; part of every latency.
    pub lateness_us: Quantiles,
    pub broker: Option<BrokerUse>,
    pub generator_cpu_s: f64,
    /// Cores used by processes that are neither the broker nor the generator; without the broker's pid it is among them.
    pub foreign_cores: f64,
    pub interrupt_cores: f64,
    /// Of the machine's CPU time.
    pub steal_share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerUse {
    pub cpu_s: f64,
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    pub fn of(histogram: &Histogram) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |share| us(histogram.quantile(share));
        Self {
            count: histogram.count(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: us(histogram.max()),
        }
    }
}

impl Outcome {
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.measured_s
    }

    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.measured_s
    }

    pub fn saturated(&self) -> bool {
        self.offered.is_some_and(|offered| self.requests_per_second() < SATURATED_BELOW * offered)
    }

    /// None without a pid or without bytes.
    pub fn broker_cpu_s_per_gib(&self) -> Option<f64> {
        self.per_gib(self.broker?.cpu_s)
    }

    pub fn broker_cpu_us_per_request(&self) -> Option<f64> {
        let broker = self.broker?;
        (self.requests > 0).then(|| broker.cpu_s * 1e6 / self.requests as f64)
    }

    fn per_gib(&self, seconds: f64) -> Option<f64> {
        (self.bytes > 0).then(|| seconds / (self.bytes as f64 / f64::from(1 << 30)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} v{}: {} partitions, {} connections x {} in flight, {} B, {:.1} s measured after {} s",
            self.workload,
            self.api_version,
            self.partitions,
            self.connections,
            self.in_flight,
            self.batch_bytes,
            self.measured_s,
            self.warmup_s
        )?;
        let rate = self.requests_per_second();
        write!(
            f,
            "  rate      {rate:.1} requests/s, {:.1} records/s, ",
            self.records as f64 / self.measured_s
        )?;
        writeln!(f, "{:.2} MB/s", self.mb_per_second())?;
        match self.offered {
            None => writeln!(f, "  offered   as fast as it goes (closed loop)")?,
            Some(offered) => {
                let share = 100.0 * rate / offered;
                writeln!(f, "  offered   {offered:.1} requests/s, {share:.2} % answered in time")?;
            }
        }
        if self.saturated() {
            let unsent = self.unsent;
            writeln!(f, "  SATURATED {unsent} requests were never sent; the latencies are lower bounds")?;
        }
        if self.empty_answers > 0 {
            writeln!(f, "  empty     {} of {} answers held no record", self.empty_answers, self.requests)?;
        }
        writeln!(f, "  latency   {}", self.latency_us)?;
        writeln!(f, "  lateness  {} (the generator's own)", self.lateness_us)?;
        if let Some(broker) = &self.broker {
            write!(f, "  broker    {:.2} cores", broker.cpu_s / self.measured_s)?;
            if let (Some(gib), Some(request)) =
                (self.broker_cpu_s_per_gib(), self.broker_cpu_us_per_request())
            {
                write!(f, ", {gib:.3} CPU-s/GiB, {request:.1} CPU-us/request")?;
            }
            let mib = |bytes: u64| bytes >> 20;
            writeln!(
                f,
                ", RSS {} MiB (peak {})",
                mib(broker.resident_bytes),
                mib(broker.peak_resident_bytes)
            )?;
        }
        let cores = self.generator_cpu_s / self.measured_s;
        write!(f, "  generator {cores:.2} cores")?;
        if let Some(gib) = self.per_gib(self.generator_cpu_s) {
            write!(f, ", {gib:.3} CPU-s/GiB")?;
        }
        if cores > GENERATOR_BUSY {
            write!(f, " (BUSY: it may have been the limit)")?;
        }
        writeln!(f)?;
        write!(
            f,
            "  machine   {:.2} cores in other processes, {:.2} in interrupts, {:.1} % steal",
            self.foreign_cores,
            self.interrupt_cores,
            100.0 * self.steal_share
        )
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: f64| us / 1e3;
        write!(
            f,
            "p50 {:.3} p90 {:.3} p95 {:.3} p99 {:.3} p99.9 {:.3} max {:.3} ms of {} requests",
            ms(self.p50),
            ms(self.p90),
            ms(self.p95),
            ms(self.p99),
            ms(self.p999),
            ms(self.max),
            self.count
        )
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// 1 GiB in 10 s, 1,024 requests of 1 MiB.
    pub fn outcome(name: &str, label: &str) -> Outcome {
        let quantiles = Quantiles {
            count: 1024,
            mean: 1.0,
            p50: 1000.0,
            p90: 2.0,
            p95: 3.0,
            p99: 4000.0,
            p999: 5.0,
            max: 6.0,
        };
        Outcome {
            workload: "produce".into(),
            name: name.into(),
            label: label.into(),
            api_version: 9,
            partitions: 1,
            connections: 1,
            in_flight: 1,
            batch_bytes: 1 << 20,
            offered: None,
            warmup_s: 0,
            measured_s: 10.0,
            requests: 1024,
            records: 1024,
            bytes: 1 << 30,
            empty_answers: 0,
            unsent: 0,
            latency_us: quantiles,
            lateness_us: quantiles,
            broker: Some(BrokerUse { cpu_s: 0.5, resident_bytes: 0, peak_resident_bytes: 0 }),
            generator_cpu_s: 1.0,
            foreign_cores: 0.0,
            interrupt_cores: 0.0,
            steal_share: 0.0,
        }
    }

    #[test]
    fn derived_figures_have_their_units() {
        let outcome = outcome("p", "a");
        assert_eq!(outcome.requests_per_second(), 102.4);
        assert!((outcome.mb_per_second() - 107.374_182_4).abs() < 1e-9);
        assert_eq!(outcome.broker_cpu_s_per_gib(), Some(0.5));
        assert_eq!(outcome.broker_cpu_us_per_request(), Some(488.281_25));
        let idle = Outcome { requests: 0, bytes: 0, ..outcome };
        assert_eq!((idle.broker_cpu_s_per_gib(), idle.broker_cpu_us_per_request()), (None, None));
    }

    #[test]
    fn a_run_below_99_percent_of_its_rate_is_saturated_and_says_so() {
        let at = |offered| Outcome { offered: Some(offered), unsent: 7, ..outcome("p", "a") };
        assert!(!at(103.0).saturated());
        assert!(at(104.0).saturated());
        assert!(at(104.0).to_string().contains("SATURATED 7 requests"));
        assert!(!outcome("p", "a").saturated(), "a closed loop has no rate to fall short of");
    }

    #[test]
    fn json_gives_the_same_outcome_back() {
        let outcome = Outcome { offered: Some(12.5), ..outcome("p", "a") };
        let line = serde_json::to_string(&outcome).expect("serializes");
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Outcome>(&line).expect("parses"), outcome);
    }
}
