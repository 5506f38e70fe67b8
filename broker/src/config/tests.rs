//! Configurations as stories: what is set where, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::key::{Class, Default, ENV_PREFIX};
use super::*;

/// A configuration that is made of a file, environment variables and `--set`s.
#[derive(std::default::Default)]
struct Given<'a> {
    file: Option<(&'a str, &'a str)>,
    environment: &'a [(&'a str, &'a str)],
    sets: &'a [&'a str],
}

impl Given<'_> {
    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = self.file.map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("write");
            path
        });
        let loaded = load(&Sources {
            file,
            environment: self.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            sets: self.sets.iter().map(|set| (*set).to_owned()).collect(),
            machine: Machine { memory_bytes: 8 << 30, hostname: "host-7".to_owned() },
        });
        // So that messages can be compared: the file's directory differs from run to run.
        let prefix = format!("{}/", dir.path().display());
        loaded.map_err(|errors| {
            ConfigErrors(errors.0.into_iter().map(|error| without_directory(error, &prefix)).collect())
        })
    }

    fn refusal(&self) -> String {
        self.load().map(|loaded| loaded.config).expect_err("refused").to_string()
    }

    fn loaded(&self) -> Loaded {
        self.load().expect("accepted")
    }
}

fn without_directory(error: ConfigError, prefix: &str) -> ConfigError {
    let shorter = |origin| match origin {
        Origin::File { path, line } => {
            Origin::File { path: path.file_name().map(PathBuf::from).unwrap_or_default(), line }
        }
        other => other,
    };
    match error {
        ConfigError::UnknownKey { key, origin, remedy } => {
            ConfigError::UnknownKey { key, origin: shorter(origin), remedy }
        }
        ConfigError::Value { key, value, origin, problem, remedy } => {
            ConfigError::Value { key, value, origin: shorter(origin), problem, remedy }
        }
        ConfigError::Source { place, problem, remedy } => {
            ConfigError::Source { place: place.replace(prefix, ""), problem, remedy }
        }
    }
}

fn set(pairs: &[&str]) -> Result<Config, String> {
    let pairs: Vec<(&str, &str)> =
        pairs.iter().map(|pair| pair.split_once('=').expect("key=value")).collect();
    Config::from_pairs(pairs).map_err(|errors| errors.to_string())
}

#[test]
fn without_any_setting_a_cluster_runs_on_this_machine_alone() {
    let config = set(&[]).expect("the defaults hold");
    assert_eq!(config.node_id.0, 1);
    let here = HostPort { host: "127.0.0.1".to_owned(), port: 9092 };
    let listener = Listener { name: "PLAINTEXT".to_owned(), bind: here.clone(), advertised: here };
    assert_eq!(config.listeners, [listener]);
    assert_eq!(
        config.wal,
        WalConfig { medium: WalMedium::File, bytes_max: 8 << 30, segment_bytes: 64 << 20 }
    );
    assert_eq!(config.storage.location, StorageLocation::Directory("./data/bucket".into()));
    assert_eq!(config.storage.object_delete_grace_ms, 600_000);
    assert_eq!(config.memory, MemoryConfig { bytes_max: 1 << 30, block_cache_bytes: (1 << 30) / 100 * 30 });
    assert_eq!(config.admin_listener.as_deref(), Some("127.0.0.1:9644"));
    assert_eq!(config.connections.idle_ms_max, Some(600_000));
    assert_eq!(config.connections.queued_request_bytes_max, None);
    assert!(config.topics.auto_create && config.topics.delete_enabled);
    assert_eq!(config.values.origin("node.id"), Origin::Default);
}

#[test]
fn later_sources_win_and_each_value_remembers_its_own() {
    let given = Given {
        file: Some(("a.properties", "# mine\nnum.partitions=2\nnode.id=5\nbroker.rack=a\n")),
        environment: &[("TIDEGATE_NUM_PARTITIONS", "3"), ("TIDEGATE_NODE_ID", "6"), ("HOME", "/home/a")],
        sets: &["num.partitions=4"],
    };
    let config = given.loaded().config;
    assert_eq!((config.topics.partitions, config.node_id.0, config.rack.as_deref()), (4, 6, Some("a")));
    assert_eq!(config.values.origin("num.partitions"), Origin::Set);
    let environment = Origin::Environment { name: "TIDEGATE_NODE_ID".to_owned() };
    assert_eq!(config.values.origin("node.id"), environment);
    assert!(matches!(config.values.origin("broker.rack"), Origin::File { line: 4, .. }));
}

#[test]
fn toml_tables_dotted_keys_quoted_keys_and_lists_name_the_same_keys() {
    let text = "node.id = 7\nlisteners = [\n  'A://127.0.0.1:1',\n  'B://127.0.0.1:2',\n]\n\
                listener.security.protocol.map = 'A:PLAINTEXT,B:PLAINTEXT'\n\
                \"max.connections\" = 10\n\"max.connections.per.ip\" = 2\n\n\
                [wal]\nmedium = 'memory'\nbytes.max = 2147483648\n\n[storage.upload]\nbytes = '1MiB'\nage.ms = '2s'\n";
    let config = Given { file: Some(("t.toml", text)), ..Given::default() }.loaded().config;
    assert_eq!(config.node_id.0, 7);
    let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["A", "B"]);
    assert_eq!((config.connections.connections_max, config.connections.connections_per_ip_max), (10, 2));
    assert_eq!((config.wal.medium, config.wal.bytes_max), (WalMedium::Memory, 2 << 30));
    assert_eq!((config.storage.upload_bytes, config.storage.upload_age_ms), (1 << 20, 2_000));
    assert!(matches!(config.values.origin("wal.medium"), Origin::File { line: 11, .. }));
}

#[test]
fn a_broken_toml_file_names_its_line() {
    let refusal = |text| Given { file: Some(("t.toml", text)), ..Given::default() }.refusal();
    assert!(refusal("node.id = 1\nnum.partitions = \n").starts_with("t.toml:2: "));
    let prefix = refusal("max.connections = 1\nmax.connections.per.ip = 2\n");
    assert!(prefix.starts_with("t.toml:2: ") && prefix.contains("in quotes"), "{prefix}");
    let date = refusal("node.id = 1979-05-27\n");
    assert!(date.starts_with("t.toml:1: node.id is neither"), "{date}");
}

#[test]
fn properties_are_split_as_java_splits_them() {
    let text = "! a comment\n  node.id : 3\nnum.partitions 4\nbroker.rack=a\\u0062\\\n   c\\=d\n\nfetch.max.bytes = 2048 \n";
    let config = Given { file: Some(("s.properties", text)), ..Given::default() }.loaded().config;
    assert_eq!((config.node_id.0, config.topics.partitions), (3, 4));
    assert_eq!(config.rack.as_deref(), Some("abc=d"));
    assert_eq!(config.fetch.bytes_max, 2048);
    let broken = Given { file: Some(("s.properties", "node.id=1\nbroker.rack=\\u12")), ..Given::default() };
    assert!(broken.refusal().starts_with("s.properties:2: has a \\u escape"), "{}", broken.refusal());
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
    let file = |text| Given { file: Some(("s.properties", text)), ..Given::default() }.refusal();
    assert_eq!(
        file("\nnum.partition=3"),
        "s.properties:2: unknown key num.partition; did you mean num.partitions?"
    );
    assert_eq!(
        file("colour=3"),
        "s.properties:1: unknown key colour; remove it; tidegate config explain lists the keys"
    );
    let environment = |name| Given { environment: &[(name, "x")], ..Given::default() }.refusal();
    assert_eq!(
        environment("TIDEGATE_WAL_BYTE_MAX"),
        "environment variable TIDEGATE_WAL_BYTE_MAX: unknown key wal.byte.max; did you mean TIDEGATE_WAL_BYTES_MAX?"
    );
    assert!(environment("TIDEGATE_HOME_SWEET_HOME").contains("unset it"));
    assert_eq!(
        set(&["storage.sse=kms"]).expect_err("refused"),
        "--set: unknown key storage.sse; did you mean storage.sse.type?"
    );
    assert_eq!(
        set(&["wal.bytes.maximum=1"]).expect_err("refused"),
        "--set: unknown key wal.bytes.maximum; did you mean wal.bytes.max?"
    );
}

#[test]
fn an_impossible_value_is_refused_even_where_a_later_source_overrides_it() {
    let given = Given {
        file: Some(("s.properties", "num.partitions=none\n")),
        environment: &[("TIDEGATE_NODE_ID", "-4")],
        sets: &["num.partitions=3", "node.id=1"],
    };
    assert_eq!(
        given.refusal(),
        "s.properties:1: num.partitions=none: must be a number of type int; correct it, or leave it out for the default, 1\n\
         environment variable TIDEGATE_NODE_ID: node.id=-4: must be at least 0; correct it, or leave it out for the default, 1"
    );
}

#[test]
fn each_type_and_bound_refuses_what_it_cannot_be() {
    for (pair, problem) in [
        ("delete.topic.enable=yes", "must be true or false"),
        ("num.partitions=0", "must be at least 1"),
        ("num.partitions=2147483648", "does not fit the type int"),
        ("memory.block.cache.percent=81", "must be 0 to 80"),
        ("wal.medium=tape", "must be one of file, memory"),
        ("num.io.threads=many", "must be a number of type int"),
        ("log.cleaner.min.cleanable.ratio=1.5", "must be 0 to 1"),
        ("compression.gzip.level=10", "must be 1 to 9, or -1"),
        ("data.dir=", "must be non-empty"),
        ("wal.bytes.max=9999999TiB", "is larger than any number here"),
        ("log.level=loud", "loud is not a level"),
        ("log.level=info,tidegate=louder", "error parsing level filter"),
        ("log.retention.hours=0", "must be 1 or more, or -1"),
        ("process.roles=broker,observer", "a list of broker, controller"),
    ] {
        let refusal = set(&[pair]).expect_err(pair);
        assert!(refusal.contains(problem), "{pair}: {refusal}");
        assert!(!refusal.contains('\n'), "{pair}: one line: {refusal}");
    }
}

#[test]
fn a_known_key_without_effect_warns_once_from_the_source_that_wins() {
    let given = Given {
        file: Some(("s.properties", "num.io.threads=8\nnum.io.threads=9\n")),
        environment: &[("TIDEGATE_NUM_IO_THREADS", "10")],
        sets: &[],
    };
    let warnings = given.loaded().warnings;
    let lines: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        lines,
        [
            "environment variable TIDEGATE_NUM_IO_THREADS: num.io.threads has no effect: the runtime sizes its own threads"
        ]
    );
}

#[test]
fn the_keys_of_kafkas_own_combined_mode_file_start_a_broker() {
    let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
        advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
        controller.listener.names=CONTROLLER\n\
        listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
        num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\n\
        socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\n\
        num.recovery.threads.per.data.dir=1\noffsets.topic.replication.factor=1\n\
        share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
        transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\nlog.retention.hours=168\n\
        log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n";
    let loaded = Given { file: Some(("server.properties", text)), ..Given::default() }.loaded();
    let listener = Listener {
        name: "PLAINTEXT".to_owned(),
        bind: HostPort { host: String::new(), port: 9092 },
        advertised: HostPort { host: "localhost".to_owned(), port: 9092 },
    };
    assert_eq!(loaded.config.listeners, [listener]);
    let keys: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    let unique: BTreeSet<&str> = keys.iter().copied().collect();
    assert_eq!(unique.len(), keys.len(), "one warning per key");
    assert_eq!(
        keys,
        [
            "controller.quorum.bootstrap.servers",
            "inter.broker.listener.name",
            "controller.listener.names",
            "num.network.threads",
            "num.io.threads",
            "log.dirs",
            "num.recovery.threads.per.data.dir",
            "share.coordinator.state.topic.replication.factor",
            "share.coordinator.state.topic.min.isr",
            "transaction.state.log.replication.factor",
            "transaction.state.log.min.isr",
            "log.segment.bytes",
        ]
    );
}

#[test]
fn listeners_are_advertised_as_clients_can_reach_them() {
    let listeners = |pairs: &[&str]| -> Result<Vec<String>, String> {
        let sets: Vec<&str> = pairs.to_vec();
        let loaded = Given { sets: &sets, ..Given::default() }.load().map_err(|errors| errors.to_string())?;
        let shown = |l: &Listener| format!("{} {} {}", l.name, l.bind, l.advertised);
        Ok(loaded.config.listeners.iter().map(shown).collect())
    };
    let ok = |pairs: &[&str]| listeners(pairs).expect("accepted");
    assert_eq!(ok(&["listeners=PLAINTEXT://:9092"]), ["PLAINTEXT :9092 host-7:9092"]);
    assert_eq!(ok(&["listeners=PLAINTEXT://[::1]:0"]), ["PLAINTEXT [::1]:0 [::1]:0"]);
    assert_eq!(
        ok(&[
            "listeners=in://0.0.0.0:9092,OUT://:9093",
            "advertised.listeners=IN://10.0.0.1:9092,OUT://kafka.example.com:443",
            "listener.security.protocol.map=in:plaintext,out:plaintext",
        ]),
        ["IN 0.0.0.0:9092 10.0.0.1:9092", "OUT :9093 kafka.example.com:443"]
    );
    for (pairs, problem) in [
        (&["listeners=PLAINTEXT://0.0.0.0:9092"][..], "clients cannot connect to 0.0.0.0"),
        (&["listeners=PLAINTEXT://[::]:9092"], "clients cannot connect to ::"),
        (&["advertised.listeners=PLAINTEXT://0.0.0.0:9092"], "clients cannot connect to 0.0.0.0"),
        (&["advertised.listeners=OTHER://a:1"], "OTHER is not in listeners"),
        (
            &["listeners=SSL://127.0.0.1:1"],
            "listener SSL has the protocol SSL, and TLS and SASL are not served yet",
        ),
        (&["listeners=SASL_PLAINTEXT://127.0.0.1:1"], "has the protocol SASL_PLAINTEXT"),
        (&["listeners=X://127.0.0.1:1"], "listener X has no protocol in listener.security.protocol.map"),
        (&["listeners=PLAINTEXT://127.0.0.1"], "is not NAME://host:port"),
        (&["listeners=PLAINTEXT://127.0.0.1:65536"], "is not NAME://host:port"),
        (&["listeners=PLAINTEXT://a:1,plaintext://b:2"], "the listener PLAINTEXT is there twice"),
        (&["listeners=PLAINTEXT://a:1,SSL://a:1"], "a:1 is there twice"),
        (&["listeners="], "no listener is left for clients"),
        (&["listeners=C://a:1", "controller.listener.names=C"], "no listener is left for clients"),
        (&["listener.security.protocol.map=A:TCP"], "A:TCP names no protocol"),
        (&["controller.quorum.voters=1@a:1,2@b:1"], "a quorum of several nodes is not served yet"),
    ] {
        let refusal = listeners(pairs).expect_err("refused");
        assert!(refusal.contains(problem), "{pairs:?}: {refusal}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused_with_the_one_to_change() {
    for (pairs, start, remedy) in [
        (
            &["message.max.bytes=2000", "socket.request.max.bytes=1000"][..],
            "--set: message.max.bytes=2000: is above",
            "raise socket.request.max.bytes to 2000",
        ),
        (
            &["message.max.bytes=1048576", "wal.segment.bytes=1MiB"],
            "--set: message.max.bytes=1048576: does not fit half a WAL segment",
            "raise wal.segment.bytes to 2359296",
        ),
        (
            &["wal.segment.bytes=64MiB", "wal.bytes.max=255MiB"],
            "--set: wal.bytes.max=267386880: is below four segments",
            "raise it to 268435456",
        ),
        (
            &["wal.segment.bytes=4MiB", "wal.bytes.max=100MiB"],
            "--set: wal.bytes.max=104857600: is below two upload rounds",
            "lower storage.upload.bytes",
        ),
        (
            &["memory.bytes.max=128MiB", "socket.request.max.bytes=10MiB"],
            "--set: memory.bytes.max=134217728: less its block cache holds no two upload rounds",
            "lower storage.upload.bytes",
        ),
        (
            &["memory.bytes.max=100MiB", "storage.upload.bytes=1MiB"],
            "--set: memory.bytes.max=104857600: less its block cache is below",
            "lower socket.request.max.bytes",
        ),
        (
            &["queued.max.request.bytes=1000"],
            "--set: queued.max.request.bytes=1000: is below socket.request.max.bytes",
            "or set -1",
        ),
        (
            &["storage.access.key.id=a"],
            "--set: storage.access.key.id=a: is set without storage.access.key.secret",
            "or neither",
        ),
        (&["storage.sse.type=kms"], "--set: storage.sse.type=kms: needs a key", "set storage.sse.kms.key.id"),
        (
            &["storage.sse.kms.key.id=k"],
            "--set: storage.sse.kms.key.id=k: is set while storage.sse.type is not kms",
            "set storage.sse.type=kms",
        ),
        (
            &["broker.id=3", "node.id=4"],
            "--set: broker.id=3: differs from node.id (4)",
            "leave broker.id out",
        ),
        (
            &["storage.url=gs://bucket"],
            "--set: storage.url=gs://bucket: is neither file:// nor s3://",
            "s3://bucket/prefix",
        ),
        (&["storage.url=s3://B/x"], "--set: storage.url=s3://B/x: names no bucket", "s3://bucket/prefix"),
        (
            &["storage.url=s3://bucket/a/../b"],
            "--set: storage.url=s3://bucket/a/../b: has an empty",
            "s3://bucket/prefix",
        ),
        (
            &["storage.endpoint=localhost:9000"],
            "--set: storage.endpoint=localhost:9000: is not an http",
            "http://127.0.0.1:9000",
        ),
        (
            &["admin.listener=9644"],
            "--set: admin.listener=9644: is neither host:port nor none",
            "127.0.0.1:9644",
        ),
    ] {
        let refusal = set(pairs).expect_err(&pairs.join(" "));
        assert!(refusal.starts_with(start) && refusal.contains(remedy), "{pairs:?}: {refusal}");
        assert!(!refusal.contains('\n'), "{pairs:?}: one reason: {refusal}");
    }
}

#[test]
fn what_would_break_a_promise_is_refused_and_its_default_is_not() {
    for pair in [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "log.cleanup.policy=compact",
        "log.cleanup.policy=compact,delete",
        "compression.type=zstd",
        "create.topic.policy.class.name=com.example.Policy",
        "config.providers=file",
    ] {
        let refusal = set(&[pair]).expect_err(pair);
        assert!(refusal.starts_with(&format!("--set: {pair}: ")), "{refusal}");
    }
    set(&["authorizer.class.name=", "log.cleanup.policy=delete", "compression.type=producer"])
        .expect("defaults");
}

#[test]
fn a_bucket_is_described_by_its_keys_and_secrets_stay_hidden() {
    let config = set(&[
        "storage.url=s3://bucket/some/prefix/",
        "storage.endpoint=http://127.0.0.1:9000",
        "storage.region=us-east-1",
        "storage.access.key.id=id",
        "storage.access.key.secret=s3cr3t",
        "storage.sse.type=kms",
        "storage.sse.kms.key.id=key-1",
    ])
    .expect("accepted");
    let storage = &config.storage;
    let location = StorageLocation::S3 { bucket: "bucket".to_owned(), prefix: "some/prefix".to_owned() };
    assert_eq!(storage.location, location);
    assert!(storage.path_style, "an endpoint of one's own rarely has a name per bucket");
    assert_eq!(storage.sse, StorageEncryption::Kms("key-1".to_owned()));
    let credentials = storage.credentials.as_ref().expect("given");
    assert_eq!(
        (credentials.access_key_id.as_str(), credentials.access_key_secret.as_str()),
        ("id", "s3cr3t")
    );
    assert!(!format!("{:?}", config.storage).contains("s3cr3t"));
    assert!(!format!("{config:?}").contains("s3cr3t"), "also not in the values");

    let alone = set(&["storage.access.key.secret=s3cr3t"]).expect_err("refused");
    assert!(set(&["storage.access.key.id=a", "storage.access.key.secret="]).is_err(), "no empty secret");
    assert!(alone.contains("storage.access.key.secret=[hidden]") && !alone.contains("s3cr3t"), "{alone}");
}

#[test]
fn files_that_cannot_be_read_and_sets_that_are_none_are_one_line() {
    let missing = load(&Sources {
        file: Some("no/such/file.toml".into()),
        environment: Vec::new(),
        sets: vec!["novalue".to_owned()],
        machine: Machine::fixed(),
    });
    let lines = missing.map(|loaded| loaded.config).expect_err("refused").to_string();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with("no/such/file.toml: cannot be read: "), "{lines:?}");
    assert_eq!(lines[1], "--set novalue: is not key=value; write for example --set num.partitions=3");
    let yaml = Given { file: Some(("a.yaml", "")), ..Given::default() }.refusal();
    assert_eq!(yaml, "a.yaml: is neither a .toml nor a .properties file; name it after what it holds");
}

#[test]
fn keys_of_one_listener_are_accepted_by_pattern() {
    let given = Given { sets: &["listener.name.plaintext.ssl.keystore.location=/k"], ..Given::default() };
    let warnings = given.loaded().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("listener.name.plaintext.ssl.keystore.location has no effect"));
}

#[test]
fn the_table_is_sorted_without_doubles_and_its_defaults_pass_their_own_checks() {
    let keys = table::all();
    for pair in keys.windows(2) {
        assert!(pair[0].name < pair[1].name, "{} and {}", pair[0].name, pair[1].name);
    }
    for key in keys {
        if let Default::Value(text) = key.default {
            assert_eq!(value::check(key.kind, key.bounds, text).as_deref(), Ok(text), "{}", key.name);
        }
        assert!(!key.meaning.is_empty(), "{}", key.name);
    }
    let names: BTreeSet<String> = keys.iter().map(key::Key::env_name).collect();
    assert_eq!(names.len(), keys.len(), "environment names are unique");
    assert!(names.iter().all(|name| name.starts_with(ENV_PREFIX)));
}

#[test]
fn every_key_of_ours_can_be_a_plain_dotted_toml_key() {
    let kafka = kafka_keys_of_4_1();
    let ours: Vec<&str> = table::all()
        .iter()
        .filter(|key| key.class == Class::Effective && !kafka.contains_key(key.name))
        .map(|key| key.name)
        .collect();
    assert!(ours.len() > 20);
    for name in &ours {
        let begins = |other: &&&str| other.starts_with(&format!("{name}."));
        assert_eq!(ours.iter().find(begins), None, "{name} is the beginning of another key");
    }
}

/// Name, type and default of each broker config of Kafka 4.1.2, as `KafkaConfig.configDef` gives them.
fn kafka_keys_of_4_1() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    include_str!("testdata/kafka-4.1.2-broker-keys.tsv")
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().expect("three fields");
            (next(), (next(), next()))
        })
        .collect()
}

#[test]
fn every_broker_key_of_kafka_4_1_is_known_with_kafkas_type_and_default() {
    // Ours on purpose: no node needs an id or roles to start, and nothing is reachable from outside by default.
    let differ = ["node.id", "process.roles", "listeners"];
    let kafka = kafka_keys_of_4_1();
    assert_eq!(kafka.len(), 336);
    for (name, (kind, default)) in kafka {
        let key = table::find(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(key.kind.name(), kind, "{name}");
        let ours = match key.default {
            Default::Value(text) => text,
            Default::Unset | Default::Computed(_) => "null",
        };
        assert_eq!(ours == default, !differ.contains(&name), "{name}: {ours}, in Kafka {default}");
    }
}

#[test]
fn explain_prints_all_keys_or_one_or_the_nearest() {
    let all = explain(None).expect("prints");
    assert_eq!(all.lines().count(), table::all().len());
    let one = explain(Some("wal.bytes.max")).expect("prints");
    for text in ["wal.bytes.max\n", "bytes", "8589934592", "at least 4194304", "TIDEGATE_WAL_BYTES_MAX"] {
        assert!(one.contains(text), "{text} in {one}");
    }
    let error = explain(Some("wal.byte.max")).expect_err("unknown").to_string();
    assert!(error.contains("did you mean wal.bytes.max?"), "{error}");
}

#[test]
fn the_documentation_is_the_table() {
    crate::config::docs_test::compare("config.md", &docs());
}

#[test]
fn machines_with_little_and_much_memory_get_a_budget_that_works() {
    for (memory_bytes, budget) in [(512 << 20, 256 << 20), (8 << 30, 2 << 30), (1 << 40, 16 << 30)] {
        let machine = Machine { memory_bytes, hostname: "h".to_owned() };
        let loaded = load(&Sources { file: None, environment: Vec::new(), sets: Vec::new(), machine });
        assert_eq!(loaded.expect("the defaults hold").config.memory.bytes_max, budget);
    }
    assert!(Machine::read().memory_bytes > 0);
}
