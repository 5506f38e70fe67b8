//! The sources of settings, as text: a TOML or properties file, the environment, `--set`.
//!
//! Owns: turning each source into (key, value, origin) entries; nothing is judged here but the source's own syntax.
//! Invariants: entries keep the order of their source; a TOML array is Kafka's comma-separated list.
//! Never: looks a key up, save to match environment names, whose underscores stand for dots.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::key::ENV_PREFIX;
use super::machine::Machine;
use super::table;

/// All that a configuration is made from. `of_process` reads this process; tests fill in their own.
#[derive(Clone, Debug)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Environment variables; those without our prefix are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// `key=value` of each `--set`, in order.
    pub sets: Vec<String>,
    pub machine: Machine,
}

impl Sources {
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, sets: Vec<String>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), sets, machine: Machine::read() }
    }
}

/// One setting as its source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

pub(super) fn from_file(path: &Path) -> Result<Vec<Entry>, Vec<ConfigError>> {
    let failed = |problem: String, remedy: &str| {
        vec![ConfigError::Source { place: path.display().to_string(), problem, remedy: remedy.to_owned() }]
    };
    let extension = path.extension().and_then(|extension| extension.to_str());
    if !matches!(extension, Some("toml" | "properties")) {
        let problem = "is neither a .toml nor a .properties file".to_owned();
        return Err(failed(problem, "name it after what it holds"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("cannot be read: {error}"), "give a readable file to --config"))?;
    if extension == Some("toml") { from_toml(path, &text) } else { from_properties(path, &text) }
}

pub(super) fn from_toml(path: &Path, text: &str) -> Result<Vec<Entry>, Vec<ConfigError>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![ConfigError::Source {
            place: format!("{}:{line}", path.display()),
            problem: error.message().replace('\n', " "),
            remedy:
                "correct the TOML; a key that begins with another one is written in quotes where both are set: \
                     \"max.connections.per.ip\" = 10"
                    .to_owned(),
        }]
    })?;
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    flatten(table.get_ref(), "", &TomlPlace { path, text }, &mut entries, &mut errors);
    // The map of a TOML table is sorted by name; the file's own order reads better in messages.
    entries.sort_by(|a: &Entry, b: &Entry| a.origin.cmp(&b.origin));
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

pub(super) fn from_properties(path: &Path, text: &str) -> Result<Vec<Entry>, Vec<ConfigError>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let line = at + 1;
        match property(&logical) {
            Some((key, value)) => {
                entries.push(Entry { key, value, origin: Origin::File { path: path.into(), line } });
            }
            None => errors.push(ConfigError::Source {
                place: format!("{}:{line}", path.display()),
                problem: "has a \\u escape without four hexadecimal digits".to_owned(),
                remedy: "write the character itself, in UTF-8".to_owned(),
            }),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

pub(super) fn from_environment(variables: &[(OsString, OsString)]) -> Result<Vec<Entry>, Vec<ConfigError>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
        let origin = Origin::Environment { name: name.to_owned() };
        let Some(value) = value.to_str() else {
            errors.push(ConfigError::Source {
                place: origin.to_string(),
                problem: "is not UTF-8".to_owned(),
                remedy: "set it to UTF-8 text".to_owned(),
            });
            continue;
        };
        // Dots became underscores, so the key is found by its environment name; an unknown one keeps its best guess.
        let known = table::all().iter().find(|key| key.env_name() == name).map(|key| key.name.to_owned());
        let key = known.unwrap_or_else(|| name[ENV_PREFIX.len()..].to_lowercase().replace('_', "."));
        entries.push(Entry { key, value: value.to_owned(), origin });
    }
    entries.sort_by(|a, b| a.origin.cmp(&b.origin));
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

pub(super) fn from_sets(sets: &[String]) -> Result<Vec<Entry>, Vec<ConfigError>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for set in sets {
        match set.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => entries.push(Entry {
                key: key.trim().to_owned(),
                value: value.to_owned(),
                origin: Origin::Set,
            }),
            _ => errors.push(ConfigError::Source {
                place: format!("--set {set}"),
                problem: "is not key=value".to_owned(),
                remedy: "write for example --set num.partitions=3".to_owned(),
            }),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

struct TomlPlace<'a> {
    path: &'a Path,
    text: &'a str,
}

impl TomlPlace<'_> {
    fn origin(&self, at: usize) -> Origin {
        Origin::File { path: self.path.into(), line: line_of(self.text, at) }
    }
}

fn flatten(
    table: &DeTable<'_>,
    prefix: &str,
    place: &TomlPlace<'_>,
    entries: &mut Vec<Entry>,
    errors: &mut Vec<ConfigError>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            flatten(inner, &key, place, entries, errors);
            continue;
        }
        let origin = place.origin(value.span().start);
        match scalar(value.get_ref()) {
            Some(value) => entries.push(Entry { key, value, origin }),
            None => errors.push(ConfigError::Source {
                place: origin.to_string(),
                problem: format!("{key} is neither a text, a number, a boolean nor a list of these"),
                remedy: "write the value in quotes, as Kafka writes it".to_owned(),
            }),
        }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Array(values) => {
            let parts: Option<Vec<String>> = values
                .iter()
                .map(|value| match value.get_ref() {
                    DeValue::Array(_) => None,
                    value => scalar(value),
                })
                .collect();
            parts?.join(",")
        }
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// An odd number of backslashes at the end joins the next line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// A logical line as `java.util.Properties` splits it: at the first unescaped `=`, `:` or blank. None: a broken
/// \u escape.
fn property(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let splits = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        splits
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    Some((unescaped(key)?, unescaped(value)?))
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?;
                out.push(char::from_u32(code)?);
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Some(out)
}
