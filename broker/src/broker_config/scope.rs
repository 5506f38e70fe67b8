//! Which broker configs may be changed at run time, as in Kafka 4.1 (`DynamicBrokerConfig`).
//!
//! Invariants: lists are sorted; a key in neither is read-only, as all keys of ours are.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Takes effect at a start only.
    ReadOnly,
    /// Of one broker only: its listeners and their security.
    PerBroker,
    /// Of one broker, or of all by default.
    ClusterWide,
}

#[must_use]
pub fn scope(name: &str) -> Scope {
    if CLUSTER_WIDE.binary_search(&name).is_ok() {
        Scope::ClusterWide
    } else if PER_BROKER.binary_search(&name).is_ok() {
        Scope::PerBroker
    } else {
        Scope::ReadOnly
    }
}

/// Kafka changes these through the prefix of a listener only.
pub(super) fn is_of_a_listener_only(name: &str) -> bool {
    matches!(
        name,
        "ssl.key.password"
            | "ssl.keystore.certificate.chain"
            | "ssl.keystore.key"
            | "ssl.keystore.location"
            | "ssl.keystore.password"
            | "ssl.keystore.type"
            | "ssl.truststore.certificates"
            | "ssl.truststore.location"
            | "ssl.truststore.password"
            | "ssl.truststore.type"
    )
}

/// Kafka lets the number of these threads at most double, or halve, at once.
pub(super) fn is_a_pool(name: &str) -> bool {
    matches!(
        name,
        "background.threads"
            | "num.io.threads"
            | "num.network.threads"
            | "num.recovery.threads.per.data.dir"
            | "num.replica.fetchers"
    )
}

const CLUSTER_WIDE: &[&str] = &[
    "background.threads",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.cleaner.threads",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.local.retention.bytes",
    "log.local.retention.ms",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type",
    "log.preallocate",
    "log.retention.bytes",
    "log.retention.ms",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "log.segment.bytes",
    "log.segment.delete.delay.ms",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "message.max.bytes",
    "metric.reporters",
    "min.insync.replicas",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "producer.id.expiration.ms",
    "remote.fetch.max.wait.ms",
    "remote.list.offsets.request.timeout.ms",
    "remote.log.index.file.cache.total.size.bytes",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.copy.max.bytes.per.second",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.fetch.max.bytes.per.second",
    "remote.log.reader.threads",
    "transaction.partition.verification.enable",
    "unclean.leader.election.enable",
];

const PER_BROKER: &[&str] = &[
    "listener.security.protocol.map",
    "listeners",
    "principal.builder.class",
    "sasl.enabled.mechanisms",
    "sasl.jaas.config",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal.to.local.rules",
    "sasl.kerberos.service.name",
    "sasl.kerberos.ticket.renew.jitter",
    "sasl.kerberos.ticket.renew.window.factor",
    "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds",
    "sasl.login.refresh.window.factor",
    "sasl.login.refresh.window.jitter",
    "sasl.mechanism.inter.broker.protocol",
    "ssl.cipher.suites",
    "ssl.client.auth",
    "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.factory.class",
    "ssl.key.password",
    "ssl.keymanager.algorithm",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

#[cfg(test)]
pub(super) fn lists() -> [&'static [&'static str]; 2] {
    [CLUSTER_WIDE, PER_BROKER]
}
