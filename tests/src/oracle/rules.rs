//! The two lists that the comparison goes by: what is volatile, and what differs.
//!
//! Owns: `volatile.toml` and `differences.toml`, their patterns, and the count of what each entry met.
//! Invariants: an entry has a reason; an entry that meets nothing is stale.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema::Versions;

/// What becomes of a value that two brokers, or two runs, need not share.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum As {
    /// Left out.
    Dropped,
    /// Text: null, empty, or `<text>`. An id: zero or `<id>`.
    Presence,
    /// Text: each id in it (as `uuid` writes them) becomes `<id>`, the rest stays.
    Ids,
    /// Numbers: negative ones stay, the others become `<0 or more>`.
    Sign,
    /// Numbers: those above zero become `<positive>`, the others stay.
    Nonzero,
    /// Arrays whose order says nothing: sorted.
    Sorted,
    /// Arrays of structs that one field names: an object by that field, so that each element is compared with its like.
    By(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volatile {
    /// `Api.Field.Field`, `*` for anything.
    path: String,
    #[serde(rename = "as")]
    becomes: As,
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// `scenario/label`, `*` for anything.
    pub case: String,
    /// As in Kafka's definitions: `3`, `3+`, `3-7`. All when missing.
    versions: Option<String>,
    /// `Api.Field[0].Field`, `*` for anything.
    pub path: String,
    /// The values as JSON, `*` for anything; `absent` for a field or element that is not there.
    pub kafka: String,
    pub tidegate: String,
    pub state: State,
    pub reason: String,
    #[serde(skip)]
    pub met: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Deliberate,
    NotYet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VolatileFile {
    volatile: Vec<Volatile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DifferenceFile {
    #[serde(default)]
    difference: Vec<Difference>,
}

/// What two answers say differently at one place.
#[derive(Clone, Debug)]
pub struct Finding {
    pub case: String,
    pub version: i16,
    pub path: String,
    pub kafka: String,
    pub tidegate: String,
}

pub const ABSENT: &str = "absent";

pub fn volatile(text: &str) -> Result<Vec<Volatile>> {
    let file: VolatileFile = toml::from_str(text).context("volatile.toml")?;
    for entry in &file.volatile {
        ensure!(!entry.reason.is_empty(), "volatile.toml: {} has no reason", entry.path);
    }
    Ok(file.volatile)
}

pub fn differences(text: &str) -> Result<Vec<Difference>> {
    let file: DifferenceFile = toml::from_str(text).context("differences.toml")?;
    for entry in &file.difference {
        ensure!(!entry.reason.is_empty(), "differences.toml: {} {} has no reason", entry.case, entry.path);
        entry.versions().with_context(|| format!("differences.toml: {}", entry.case))?;
    }
    Ok(file.difference)
}

impl Difference {
    fn versions(&self) -> Result<Versions> {
        self.versions.as_deref().map_or(Ok(Versions { lo: 0, hi: i16::MAX }), Versions::parse)
    }

    pub fn covers(&self, finding: &Finding) -> bool {
        matches(&self.case, &finding.case)
            && self.versions().is_ok_and(|v| v.has(finding.version))
            && matches(&self.path, &finding.path)
            && matches(&self.kafka, &finding.kafka)
            && matches(&self.tidegate, &finding.tidegate)
    }
}

/// Glob with `*` alone.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|n| tail.is_char_boundary(n) && matches(rest, &tail[n..]))
        }),
    }
}

/// The value with what is volatile replaced. `path` is that of the value itself.
pub fn normalise(rules: &[Volatile], path: &str, value: &Value) -> Value {
    let inner = match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let path = format!("{path}.{name}");
                let dropped = rules.iter().any(|r| r.becomes == As::Dropped && matches(&r.path, &path));
                (!dropped).then(|| (name.clone(), normalise(rules, &path, value)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(|v| normalise(rules, path, v)).collect()),
        other => other.clone(),
    };
    // A rule of an array's elements has the path of the array: it is met once, by the array itself.
    rules.iter().filter(|r| matches(&r.path, path)).fold(inner, |value, rule| apply(&rule.becomes, value))
}

fn apply(becomes: &As, value: Value) -> Value {
    match (becomes, value) {
        (As::Presence, Value::String(text)) if text.is_empty() => Value::String(text),
        (As::Presence, Value::String(text)) if text == uuid::Uuid::nil().to_string() => json!("<zero id>"),
        (As::Presence, Value::String(_)) => json!("<some>"),
        (As::Ids, Value::String(text)) => Value::String(without_ids(&text)),
        (As::Sign, Value::Number(n)) if n.as_i64().is_some_and(|n| n >= 0) => json!("<0 or more>"),
        (As::Nonzero, Value::Number(n)) if n.as_i64().is_some_and(|n| n > 0) => json!("<positive>"),
        (As::Sorted, Value::Array(mut list)) => {
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        (As::By(field), Value::Array(list)) => by_field(field, list),
        (_, value) => value,
    }
}

fn without_ids(text: &str) -> String {
    const LEN: usize = 36;
    let mut rest = text;
    let mut out = String::new();
    while let Some(first) = rest.chars().next() {
        match rest.get(..LEN).filter(|id| uuid::Uuid::try_parse(id).is_ok()) {
            Some(_) => {
                out.push_str("<id>");
                rest = &rest[LEN..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

fn by_field(field: &str, list: Vec<Value>) -> Value {
    let mut object = Map::new();
    for element in list {
        let mut name = match &element[field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        while object.contains_key(&name) {
            name.push_str(" again");
        }
        object.insert(name, element);
    }
    Value::Object(object)
}

/// Where two trees differ, with paths.
pub fn diff(path: &str, kafka: &Value, tidegate: &Value, found: &mut impl FnMut(String, String, String)) {
    match (kafka, tidegate) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let path = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => diff(&path, a, b, found),
                    (Some(a), None) => found(path, a.to_string(), ABSENT.to_owned()),
                    (None, Some(b)) => found(path, ABSENT.to_owned(), b.to_string()),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                let path = format!("{path}[{n}]");
                match (a.get(n), b.get(n)) {
                    (Some(a), Some(b)) => diff(&path, a, b, found),
                    (Some(a), None) => found(path, a.to_string(), ABSENT.to_owned()),
                    (None, Some(b)) => found(path, ABSENT.to_owned(), b.to_string()),
                    (None, None) => {}
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => found(path.to_owned(), a.to_string(), b.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: Value, b: Value) -> Vec<String> {
        let mut all = Vec::new();
        diff("A", &a, &b, &mut |path, a, b| all.push(format!("{path}: {a} {b}")));
        all
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*.Name", "Metadata.Topics.Name", true),
            ("Metadata.Name", "Metadata.Topics.Name", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn differences_have_the_place_and_both_values() {
        let (a, b) = (json!({"x": 1, "l": [{"y": 1}, 2]}), json!({"x": 1, "l": [{"y": 2}], "z": null}));
        assert_eq!(found(a.clone(), a.clone()), Vec::<String>::new());
        assert_eq!(found(a, b), ["A.l[0].y: 1 2", "A.l[1]: 2 absent", "A.z: absent null"]);
    }

    #[test]
    fn what_is_volatile_is_replaced_and_the_rest_stays() {
        let rules = volatile(
            r#"
            volatile = [
                { path = "*.Id", as = "presence", reason = "r" },
                { path = "A.Time", as = "sign", reason = "r" },
                { path = "A.Gone", as = "dropped", reason = "r" },
                { path = "A.Set", as = "sorted", reason = "r" },
                { path = "A.Named", as = { by = "Name" }, reason = "r" },
            ]"#,
        )
        .expect("parses");
        let value = json!({
            "Id": "x", "Time": 5, "Gone": 1, "Set": [3, 1], "Kept": [3, 1],
            "Named": [{"Name": "n", "Id": null}, {"Name": "m", "Id": ""}],
        });
        let wanted = json!({
            "Id": "<some>", "Time": "<0 or more>", "Set": [1, 3], "Kept": [3, 1],
            "Named": {"n": {"Name": "n", "Id": null}, "m": {"Name": "m", "Id": ""}},
        });
        assert_eq!(normalise(&rules, "A", &value), wanted);
        assert_eq!(normalise(&rules, "A", &json!({"Time": -1})), json!({"Time": -1}));
    }
}
