//! The table for readers: `tidegate config explain` and `docs/config.md`.
//!
//! Invariants: both come from `table::all()`; `docs/config.md` is compared with `docs()` by a test.

use std::fmt::Write as _;

use super::error::ConfigError;
use super::key::{Bounds, Class, Default, Key};
use super::table;
use crate::broker_config::{Scope, scope};

/// One key in full, or all keys in a line each.
pub fn explain(key: Option<&str>) -> Result<String, Box<ConfigError>> {
    let Some(name) = key else {
        let mut out = String::new();
        for key in table::all() {
            let _ = writeln!(out, "{:48} {:28} {}", key.name, shown_default(key), summary(key));
        }
        return Ok(out);
    };
    let unknown = || ConfigError::Source {
        place: "config explain".to_owned(),
        problem: format!("unknown key {name}"),
        remedy: table::nearest(name).map_or_else(
            || "tidegate config explain lists the keys".to_owned(),
            |near| format!("did you mean {near}?"),
        ),
    };
    table::find(name).map(in_full).ok_or_else(|| Box::new(unknown()))
}

/// `docs/config.md`.
#[must_use]
pub fn docs() -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n## Keys with effect\n\n*Dynamic*: clients may change it while brokers run, for one broker or for all (KIP-226).\n\n");
    out.push_str(
        "| key | type | unit | default | bounds | dynamic | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for key in of_class(|class| matches!(class, Class::Effective)) {
        let dynamic = if scope(key.name) == Scope::ClusterWide { "yes" } else { "" };
        let (default, bounds) = (shown_default(key), key.bounds.to_string());
        let cells = [key.kind.name(), key.unit.name(), &default, &bounds, dynamic, key.meaning];
        let _ = writeln!(out, "| `{}` | {} |", key.name, cells.map(cell).join(" | "));
    }
    out.push_str("\n## Keys that are refused until they are served\n\nTheir default is accepted.\n\n");
    out.push_str("| key | default | meaning | why refused | instead |\n|---|---|---|---|---|\n");
    for key in of_class(|class| matches!(class, Class::Refused { .. })) {
        let Class::Refused { why, remedy } = key.class else { continue };
        let cells = [&shown_default(key), key.meaning, why, remedy];
        let _ = writeln!(out, "| `{}` | {} |", key.name, cells.map(cell).join(" | "));
    }
    out.push_str("\n## Kafka's keys without effect here\n\nEach is accepted with one warning.\n\n");
    out.push_str("| key | type | Kafka's default | why |\n|---|---|---|---|\n");
    for key in of_class(|class| matches!(class, Class::NoEffect { .. })) {
        let Class::NoEffect { why } = key.class else { continue };
        let cells = [key.kind.name(), &shown_default(key), why];
        let _ = writeln!(out, "| `{}` | {} |", key.name, cells.map(cell).join(" | "));
    }
    out
}

const HEAD: &str = "<!-- Generated from the key table in broker/src/config; a test compares. -->

# Configuration

`tidegate [--config FILE] [--set key=value]…`

A value is taken from the last of these that sets it:

1. the default
2. the file: `.toml` (tables and dotted keys are the dots of a key) or Kafka's `.properties`
3. the environment: `TIDEGATE_` and the key in upper case with dots as underscores, as in `TIDEGATE_NUM_PARTITIONS`
4. `--set key=value`

Keys that Kafka has keep Kafka's name and meaning. Bytes may be written as `64MiB` (KiB, MiB, GiB, TiB) and milliseconds as
`10s` (ms, s, m, h, d). An unknown key or an impossible value is refused, in every source, also where a later one
overrides it. `tidegate config explain KEY` prints one key.

In TOML a key that begins with another key, as `max.connections.per.ip` begins with `max.connections`, has to be written
in quotes where both are set: `\"max.connections.per.ip\" = 10`. No key of Tidegate's own needs that.

`listener.name.{name}.*` is accepted with a warning: no listener has TLS, SASL or limits of its own yet.
";

fn of_class(wanted: impl Fn(Class) -> bool) -> impl Iterator<Item = &'static Key> {
    table::all().iter().filter(move |key| wanted(key.class))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn shown_default(key: &Key) -> String {
    match key.default {
        Default::Unset => "(unset)".to_owned(),
        Default::Value("") => "(empty)".to_owned(),
        Default::Value(value) => value.to_owned(),
        Default::Computed(how) => how.to_owned(),
    }
}

fn summary(key: &Key) -> String {
    match key.class {
        Class::Effective => key.meaning.to_owned(),
        Class::NoEffect { why } => format!("No effect: {why}."),
        Class::Refused { why, .. } => format!("Other values are refused: {why}."),
    }
}

fn in_full(key: &Key) -> String {
    let mut out = format!("{}\n  {}\n", key.name, key.meaning);
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {name:12} {text}");
        }
    };
    line("type", key.kind.name());
    line("unit", key.unit.name());
    line("default", &shown_default(key));
    if key.bounds != Bounds::Any {
        line("bounds", &key.bounds.to_string());
    }
    line("environment", &key.env_name());
    match key.class {
        Class::Effective => line("effect", "yes"),
        Class::NoEffect { why } => line("effect", &format!("none: {why}")),
        Class::Refused { why, remedy } => {
            line("effect", &format!("other values are refused: {why}; {remedy}"))
        }
    }
    out
}
