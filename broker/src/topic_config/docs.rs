//! `docs/topic-config.md`, from the table; a test compares.

use std::fmt::Write as _;

use super::table::{Class, Served, TABLE, TopicKey};

/// The page.
#[must_use]
pub fn docs() -> String {
    let mut out = String::from(HEAD);
    section(&mut out, "Effective", |key| matches!(key.class, Class::Effective));
    section(&mut out, "Met by design", |key| matches!(key.class, Class::MetByDesign { .. }));
    section(&mut out, "Not yet", |key| matches!(key.class, Class::NotYet { .. }));
    out
}

const HEAD: &str = "<!-- Generated from the table in broker/src/topic_config; a test compares. -->

# Topic configs

Every topic config of Kafka 4.1 is validated, stored and reported by DescribeConfigs with Kafka's default, type and synonyms.

- *Effective*: it does what it does in Kafka.
- *Met by design*: what it asks for holds in any case, or does not arise; it has no effect.
- *Not yet*: it has no effect so far. Refused with INVALID_CONFIG are only values that, if ignored, would change which
  records a client can read or lose.

`message.format.version`, `message.downconversion.enable` and `message.timestamp.difference.max.ms` are refused: Kafka 4.0
removed them.
";

fn section(out: &mut String, title: &str, wanted: impl Fn(&TopicKey) -> bool) {
    let _ = write!(
        out,
        "\n## {title}\n\n| config | type | default | bounds | broker's default | meaning | here |\n"
    );
    out.push_str("|---|---|---|---|---|---|---|\n");
    for key in TABLE.iter().filter(|key| wanted(key)) {
        let synonyms: Vec<String> =
            key.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        let here = match key.class {
            Class::Effective => "as in Kafka".to_owned(),
            Class::MetByDesign { why } | Class::NotYet { why, served: Served::Any } => why.to_owned(),
            Class::NotYet { why, served: Served::Only(served) } => {
                let served: Vec<String> = served
                    .iter()
                    .filter(|value| !value.is_empty())
                    .map(|value| format!("`{value}`"))
                    .collect();
                format!("only {}: {why}", served.join(", "))
            }
        };
        let default = if key.default.is_empty() { "(empty)" } else { key.default };
        let (name, kind, bounds) = (key.name, key.kind.name(), key.bounds.to_string());
        let synonyms = synonyms.join(", ");
        let _ =
            writeln!(out, "| `{name}` | {kind} | {default} | {bounds} | {synonyms} | {} | {here} |", key.doc);
    }
}
