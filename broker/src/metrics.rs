//! The metrics of one broker.
//!
//! Owns: every metric's name, unit, labels and meaning, and the handles that the parts keep.
//! Invariants: no globals, so that several brokers live in one process; a handle costs an atomic operation; no series
//! is labelled by topic or partition, so their number does not grow with the data.
//! Never: computes; whoever owns a number sets it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use tidegate_groups::{Answer as GroupAnswer, GroupState};

/// A number that is set, ≥ 0.
pub type Level = Gauge<u64, AtomicU64>;
/// A share, an age: a number that is set, with a fraction.
pub type Ratio = Gauge<f64, AtomicU64>;

/// All handles. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub apis: ApiFamilies,
    pub connections: ConnectionMetrics,
    pub records: RecordMetrics,
    pub wal: WalMetrics,
    pub memory: MemoryMetrics,
    pub uploads: UploadMetrics,
    pub store: StoreMetrics,
    pub block_cache: BlockCacheMetrics,
    pub partitions_open: Level,
    pub raft: RaftMetrics,
    pub groups: GroupMetrics,
    registry: Arc<Registry>,
    docs: Arc<Vec<MetricDoc>>,
}

#[derive(Clone, Debug)]
pub struct ApiFamilies {
    requests: Family<ApiLabel, Counter>,
    errors: Family<ErrorLabel, Counter>,
    seconds: Family<ApiLabel, Histogram, fn() -> Histogram>,
    request_bytes: Family<ApiLabel, Counter>,
    response_bytes: Family<ApiLabel, Counter>,
}

/// The handles of one API: taken once per API, kept in the dispatch table.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    api: &'static str,
    pub requests: Counter,
    pub seconds: Histogram,
    pub request_bytes: Counter,
    pub response_bytes: Counter,
    errors: Family<ErrorLabel, Counter>,
}

#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    pub open: Level,
    pub accepted: Counter,
    closed: Family<ReasonLabel, Counter>,
}

#[derive(Clone, Debug)]
pub struct RecordMetrics {
    pub produce_bytes: Counter,
    pub produce_batches: Counter,
    pub produce_records: Counter,
    pub fetch_bytes: Counter,
    pub fetch_batches: Counter,
}

#[derive(Clone, Debug)]
pub struct WalMetrics {
    pub durable_position: Level,
    pub bytes: Level,
    pub bytes_max: Level,
    pub sync_seconds: Histogram,
    /// 0 or 1.
    pub poisoned: Level,
}

#[derive(Clone, Debug)]
pub struct MemoryMetrics {
    pub bytes: Level,
    pub bytes_max: Level,
    pub log_cache_bytes: Level,
}

#[derive(Clone, Debug)]
pub struct UploadMetrics {
    pub rounds: Counter,
    pub bytes: Counter,
    pub failures: Counter,
    pub backlog_bytes: Level,
    pub backlog_age_seconds: Ratio,
}

#[derive(Clone, Debug)]
pub struct StoreMetrics {
    requests: Family<OpLabel, Counter>,
    pub retries: Counter,
    pub unavailable: Counter,
    pub damaged: Counter,
}

#[derive(Clone, Debug)]
pub struct BlockCacheMetrics {
    pub hits: Counter,
    pub misses: Counter,
    pub bytes: Level,
}

#[derive(Clone, Debug)]
pub struct RaftMetrics {
    pub applied_index: Level,
    /// 0 or 1.
    pub is_leader: Level,
}

#[derive(Clone, Debug)]
pub struct GroupMetrics {
    groups: Family<StateLabel, Level>,
    pub members: Level,
    pub member_bytes: Level,
    pub offsets: Level,
    pub live_bytes: Level,
    pub log_bytes: Level,
    pub loading: Level,
    pub load_seconds: Histogram,
    pub load_failures: Counter,
    pub rebalances: Counter,
    pub shortened: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    api: &'static str,
    code: i16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpLabel {
    op: &'static str,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut r = Registrar { registry: Registry::with_prefix("tidegate"), docs: Vec::new() };
        Self {
            apis: ApiFamilies::register(&mut r),
            connections: ConnectionMetrics {
                open: r.gauge("connections", None, "", "Client connections that are open."),
                accepted: r.counter("connections_accepted", None, "", "Client connections accepted."),
                closed: r.counter(
                    "connections_closed",
                    None,
                    "reason",
                    "Client connections closed, by reason.",
                ),
            },
            records: RecordMetrics {
                produce_bytes: r.counter(
                    "produce",
                    Some(Unit::Bytes),
                    "",
                    "Bytes of record batches admitted.",
                ),
                produce_batches: r.counter("produce_batches", None, "", "Record batches admitted."),
                produce_records: r.counter(
                    "produce_records",
                    None,
                    "",
                    "Records in the batches admitted, by their heads.",
                ),
                fetch_bytes: r.counter(
                    "fetch",
                    Some(Unit::Bytes),
                    "",
                    "Bytes of record batches answered to fetches.",
                ),
                fetch_batches: r.counter("fetch_batches", None, "", "Record batches answered to fetches."),
            },
            wal: WalMetrics {
                durable_position: r.gauge(
                    "wal_durable_position",
                    None,
                    "",
                    "Newest WAL position that is durable.",
                ),
                bytes: r.gauge("wal", Some(Unit::Bytes), "", "Bytes of the WAL that are not trimmed."),
                bytes_max: r.gauge("wal_limit", Some(Unit::Bytes), "", "Bound of the WAL (wal.bytes.max)."),
                sync_seconds: r.histogram("wal_sync", "Time of one group commit's sync."),
                poisoned: r.gauge(
                    "wal_poisoned",
                    None,
                    "",
                    "1 once a write or sync failed: nothing is acknowledged any more.",
                ),
            },
            memory: MemoryMetrics {
                bytes: r.gauge("memory", Some(Unit::Bytes), "", "Bytes taken from the memory budget."),
                bytes_max: r.gauge(
                    "memory_limit",
                    Some(Unit::Bytes),
                    "",
                    "The memory budget (memory.bytes.max).",
                ),
                log_cache_bytes: r.gauge("log_cache", Some(Unit::Bytes), "", "Bytes in the log cache."),
            },
            uploads: UploadMetrics {
                rounds: r.counter("upload_rounds", None, "", "Upload rounds that were committed."),
                bytes: r.counter("upload", Some(Unit::Bytes), "", "Bytes uploaded in committed rounds."),
                failures: r.counter(
                    "upload_failures",
                    None,
                    "",
                    "Upload attempts that failed and were tried again.",
                ),
                backlog_bytes: r.gauge(
                    "upload_backlog",
                    Some(Unit::Bytes),
                    "",
                    "Bytes that are durable and not uploaded.",
                ),
                backlog_age_seconds: r.gauge(
                    "upload_backlog_age",
                    Some(Unit::Seconds),
                    "",
                    "Age of the oldest record that is not uploaded.",
                ),
            },
            store: StoreMetrics {
                requests: r.counter(
                    "store_requests",
                    None,
                    "op",
                    "Requests sent to the object store, retries included, by operation; for delete, keys.",
                ),
                retries: r.counter(
                    "store_retries",
                    None,
                    "",
                    "Requests to the object store that were sent again.",
                ),
                unavailable: r.counter(
                    "store_unavailable",
                    None,
                    "",
                    "Operations on the object store that were given up for the time being.",
                ),
                damaged: r.counter(
                    "store_damaged",
                    None,
                    "",
                    "Reads whose bytes failed their check twice: stored data is damaged.",
                ),
            },
            block_cache: BlockCacheMetrics {
                hits: r.counter("block_cache_hits", None, "", "Blocks found in the block cache."),
                misses: r.counter("block_cache_misses", None, "", "Blocks read from the bucket."),
                bytes: r.gauge("block_cache", Some(Unit::Bytes), "", "Bytes in the block cache."),
            },
            partitions_open: r.gauge(
                "partitions_open",
                None,
                "",
                "Partitions that this broker owns and has open.",
            ),
            raft: RaftMetrics {
                applied_index: r.gauge("raft_applied_index", None, "", "Newest metadata entry applied here."),
                is_leader: r.gauge(
                    "raft_is_leader",
                    None,
                    "",
                    "1 if this process leads the metadata quorum.",
                ),
            },
            groups: GroupMetrics::register(&mut r),
            registry: Arc::new(r.registry),
            docs: Arc::new(r.docs),
        }
    }

    /// The OpenMetrics text of a scrape.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.registry).expect("a String takes any text");
        out
    }

    /// `docs/metrics.md`, from what was registered.
    #[must_use]
    pub fn docs(&self) -> String {
        let mut out = String::from(DOCS_HEAD);
        for doc in self.docs.iter() {
            let MetricDoc { name, kind, labels, help } = doc;
            let _ = writeln!(out, "| `{name}` | {kind} | {labels} | {help} |");
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupMetrics {
    /// Sets how many groups are in each state.
    pub fn states(&self, groups: [usize; 4]) {
        let states = [
            GroupState::Empty,
            GroupState::PreparingRebalance,
            GroupState::CompletingRebalance,
            GroupState::Stable,
        ];
        for (state, count) in states.into_iter().zip(groups) {
            self.groups.get_or_create_owned(&StateLabel { state: state.as_str() }).set(count as u64);
        }
    }

    /// Counts what the answer to a parked request tells.
    pub fn note(&self, answer: &GroupAnswer) {
        // Each generation tells its leader once.
        if let GroupAnswer::Join(join) = answer
            && join.error.is_none()
            && join.leader == join.member
        {
            self.rebalances.inc();
        }
    }

    fn register(r: &mut Registrar) -> Self {
        let bytes = Some(Unit::Bytes);
        Self {
            groups: r.gauge("groups", None, "state", "Consumer groups coordinated here, by state."),
            members: r.gauge("group_members", None, "", "Members of the groups coordinated here."),
            member_bytes: r.gauge(
                "group_member",
                bytes.clone(),
                "",
                "Bytes of subscriptions and assignments of members.",
            ),
            offsets: r.gauge("group_offsets", None, "", "Committed offsets kept here."),
            live_bytes: r.gauge(
                "group_live",
                bytes.clone(),
                "",
                "Bytes of groups and offsets as records: what __consumer_offsets needs to hold.",
            ),
            log_bytes: r.gauge(
                "group_log",
                bytes,
                "",
                "Bytes of the partitions of __consumer_offsets from their log starts on.",
            ),
            loading: r.gauge(
                "group_partitions_loading",
                None,
                "",
                "Partitions of __consumer_offsets that are not loaded: their groups wait.",
            ),
            load_seconds: r.histogram("group_load", "Time to load one partition of __consumer_offsets."),
            load_failures: r.counter(
                "group_load_failures",
                None,
                "",
                "Loads of a partition of __consumer_offsets that failed and were tried again.",
            ),
            rebalances: r.counter("group_rebalances", None, "", "Generations of groups that were formed."),
            shortened: r.counter(
                "group_log_rewrites",
                None,
                "",
                "Rewrites that shortened a partition of __consumer_offsets.",
            ),
        }
    }
}

impl ApiFamilies {
    /// The handles of the API with this name (Kafka's, as in `Produce`).
    #[must_use]
    pub fn of(&self, api: &'static str) -> ApiMetrics {
        let label = ApiLabel { api };
        ApiMetrics {
            api,
            requests: self.requests.get_or_create_owned(&label),
            seconds: self.seconds.get_or_create_owned(&label),
            request_bytes: self.request_bytes.get_or_create_owned(&label),
            response_bytes: self.response_bytes.get_or_create_owned(&label),
            errors: self.errors.clone(),
        }
    }

    fn register(r: &mut Registrar) -> Self {
        Self {
            requests: r.counter("requests", None, "api", "Requests answered, by API."),
            errors: r.counter(
                "request_errors",
                None,
                "api, code",
                "Error codes in answers, by API and Kafka's code; each partition's code counts.",
            ),
            seconds: r.histograms(
                "request",
                "api",
                "Time from a request's last byte read to its answer queued, by API.",
            ),
            request_bytes: r.counter("request", Some(Unit::Bytes), "api", "Bytes of requests, by API."),
            response_bytes: r.counter("response", Some(Unit::Bytes), "api", "Bytes of answers, by API."),
        }
    }
}

impl ApiMetrics {
    /// Counts an error code of an answer. A look-up, so for errors only.
    pub fn error(&self, code: i16) {
        self.errors.get_or_create(&ErrorLabel { api: self.api, code }).inc();
    }
}

impl ConnectionMetrics {
    /// Counts a connection that closed. The reason is one of a few fixed words.
    pub fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }
}

impl StoreMetrics {
    /// Counts requests to the store: `op` as put, get, delete.
    pub fn requests(&self, op: &'static str, n: u64) {
        self.requests.get_or_create(&OpLabel { op }).inc_by(n);
    }
}

#[derive(Debug)]
struct MetricDoc {
    name: String,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
}

const DOCS_HEAD: &str = "<!-- Generated from what broker/src/metrics.rs registers; a test compares. -->

# Metrics

`http://<admin.listener>/metrics`, in the OpenMetrics text format. Histograms have `_bucket`, `_sum` and `_count`. No
series is labelled by topic or partition, so their number does not grow with the data.

| name | type | labels | meaning |
|---|---|---|---|
";

/// Registers each metric together with its line of documentation.
struct Registrar {
    registry: Registry,
    docs: Vec<MetricDoc>,
}

impl Registrar {
    fn counter<M>(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        labels: &'static str,
        help: &'static str,
    ) -> M
    where
        M: Metric + Clone + Default,
    {
        self.add(name, unit, "counter", labels, help, M::default())
    }

    fn gauge<M>(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        labels: &'static str,
        help: &'static str,
    ) -> M
    where
        M: Metric + Clone + Default,
    {
        self.add(name, unit, "gauge", labels, help, M::default())
    }

    fn histogram(&mut self, name: &'static str, help: &'static str) -> Histogram {
        self.add(name, Some(Unit::Seconds), "histogram", "", help, seconds())
    }

    fn histograms<L>(
        &mut self,
        name: &'static str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<L, Histogram, fn() -> Histogram>
    where
        L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    {
        let family = Family::new_with_constructor(seconds as fn() -> Histogram);
        self.add(name, Some(Unit::Seconds), "histogram", labels, help, family)
    }

    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        kind: &'static str,
        labels: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        let suffix = unit.as_ref().map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
        let total = if kind == "counter" { "_total" } else { "" };
        self.docs.push(MetricDoc { name: format!("tidegate_{name}{suffix}{total}"), kind, labels, help });
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }
}

/// From 100 µs to 26 s, doubling.
fn seconds() -> Histogram {
    Histogram::new((0..19).map(|n| 0.0001 * f64::from(1_u32 << n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::new();
        let produce = metrics.apis.of("Produce");
        produce.requests.inc();
        produce.seconds.observe(0.0003);
        produce.request_bytes.inc_by(1000);
        produce.response_bytes.inc_by(50);
        produce.error(6);
        metrics.connections.closed("idle");
        metrics.store.requests("put", 1);
        metrics.groups.states([0, 0, 0, 1]);
        metrics
    }

    #[test]
    fn a_handle_taken_earlier_counts_into_the_scrape() {
        let metrics = used();
        metrics.clone().wal.durable_position.set(7);
        let text = metrics.encode();
        for line in [
            "tidegate_requests_total{api=\"Produce\"} 1",
            "tidegate_request_errors_total{api=\"Produce\",code=\"6\"} 1",
            "tidegate_request_bytes_total{api=\"Produce\"} 1000",
            "tidegate_request_seconds_bucket{le=\"0.0004\",api=\"Produce\"} 1",
            "tidegate_connections_closed_total{reason=\"idle\"} 1",
            "tidegate_store_requests_total{op=\"put\"} 1",
            "tidegate_wal_durable_position 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn two_brokers_in_one_process_count_apart() {
        let (first, second) = (used(), Metrics::new());
        assert_eq!(first.apis.of("Produce").requests.get(), 1);
        assert_eq!(second.apis.of("Produce").requests.get(), 0);
    }

    #[test]
    fn every_documented_metric_is_scraped_and_no_other() {
        let metrics = used();
        let text = metrics.encode();
        let mut scraped: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| {
                let (name, kind) = line.split_once(' ').expect("name and type");
                format!("{name}{} {kind}", if kind == "counter" { "_total" } else { "" })
            })
            .collect();
        let mut documented: Vec<String> =
            metrics.docs.iter().map(|doc| format!("{} {}", doc.name, doc.kind)).collect();
        scraped.sort();
        documented.sort();
        assert_eq!(scraped, documented);
        documented.dedup();
        assert_eq!(documented.len(), metrics.docs.len(), "names are unique");
    }

    #[test]
    fn no_series_is_labelled_by_topic_or_partition() {
        for doc in Metrics::new().docs.iter() {
            assert!(!doc.labels.contains("topic") && !doc.labels.contains("partition"), "{}", doc.name);
        }
    }

    #[test]
    fn the_documentation_is_the_registry() {
        crate::config::docs_test::compare("metrics.md", &Metrics::new().docs());
    }
}
