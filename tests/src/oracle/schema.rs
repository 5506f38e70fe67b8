//! Kafka's message definitions, read from the `common/message/*.json` of the clients jar.
//!
//! Owns: the structure of each request and response of the broker listener, and its versions.
//! Invariants: versions that Kafka marks unstable are left out. What this oracle sends and reads is laid out by Kafka's
//! own definitions, not by the library that the broker uses: a fault of that library shows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// Versions, both ends included. Empty when `lo > hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub lo: i16,
    pub hi: i16,
}

impl Versions {
    const NONE: Versions = Versions { lo: 1, hi: 0 };

    pub fn has(self, version: i16) -> bool {
        (self.lo..=self.hi).contains(&version)
    }

    /// `none`, `3`, `3+` or `3-7`.
    pub fn parse(text: &str) -> Result<Versions> {
        let number = |s: &str| s.parse::<i16>().with_context(|| format!("versions '{text}'"));
        Ok(match text {
            "none" => Versions::NONE,
            _ => match (text.strip_suffix('+'), text.split_once('-')) {
                (Some(lo), _) => Versions { lo: number(lo)?, hi: i16::MAX },
                (_, Some((lo, hi))) => Versions { lo: number(lo)?, hi: number(hi)? },
                _ => Versions { lo: number(text)?, hi: number(text)? },
            },
        })
    }
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub versions: Versions,
    pub nullable: Versions,
    /// Number, and the versions in which the field is tagged.
    pub tag: Option<(u32, Versions)>,
    pub default: Option<Value>,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Uint32,
    Int32,
    Int64,
    Float64,
    Uuid,
    Text,
    Bytes,
    Records,
    Struct(Arc<Vec<Field>>),
    Array(Box<Kind>),
}

/// A request with its response.
#[derive(Debug)]
pub struct Api {
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    pub flexible: Versions,
    pub request: Vec<Field>,
    pub response: Vec<Field>,
}

const API_VERSIONS: i16 = 18;

impl Api {
    pub fn request_header(&self, version: i16) -> i16 {
        if self.flexible.has(version) { 2 } else { 1 }
    }

    /// ApiVersions keeps the old header: its answer is read before versions are known.
    pub fn response_header(&self, version: i16) -> i16 {
        i16::from(self.key != API_VERSIONS && self.flexible.has(version))
    }
}

/// The requests that the broker listener takes, by key.
pub struct Schema(BTreeMap<i16, Api>);

impl Schema {
    pub fn read(dir: &Path) -> Result<Schema> {
        let mut requests = BTreeMap::new();
        let mut responses = BTreeMap::new();
        for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let message =
                parse(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
            let into = match message["type"].as_str() {
                Some("request") => &mut requests,
                Some("response") => &mut responses,
                _ => continue,
            };
            into.insert(i16::try_from(int(&message, "apiKey")?)?, message);
        }
        let mut apis = BTreeMap::new();
        for (key, request) in requests {
            let on_broker = request["listeners"].as_array().is_some_and(|l| l.iter().any(|l| l == "broker"));
            let versions = stable(&request)?;
            if on_broker && versions.lo <= versions.hi {
                let response = responses.get(&key).with_context(|| format!("key {key} has no response"))?;
                let api = api(key, versions, &request, response).with_context(|| format!("key {key}"))?;
                apis.insert(key, api);
            }
        }
        ensure!(apis.len() > 60, "{}: only {} requests of the broker", dir.display(), apis.len());
        Ok(Schema(apis))
    }

    /// # Panics
    /// When there is no such key: cases name keys of Kafka only.
    pub fn api(&self, key: i16) -> &Api {
        self.0.get(&key).unwrap_or_else(|| panic!("key {key} is not of the broker listener"))
    }

    pub fn find(&self, key: i16) -> Option<&Api> {
        self.0.get(&key)
    }
}

fn api(key: i16, versions: Versions, request: &Value, response: &Value) -> Result<Api> {
    let text = |v: &Value, name: &str| Ok::<_, anyhow::Error>(string(v, name)?.to_owned());
    Ok(Api {
        key,
        name: text(request, "name")?.trim_end_matches("Request").to_owned(),
        versions,
        flexible: Versions::parse(string(request, "flexibleVersions")?)?,
        request: fields(&request["fields"], &commons(request)?)?,
        response: fields(&response["fields"], &commons(response)?)?,
    })
}

fn stable(request: &Value) -> Result<Versions> {
    let mut versions = Versions::parse(string(request, "validVersions")?)?;
    if request["latestVersionUnstable"] == Value::Bool(true) {
        versions.hi -= 1;
    }
    Ok(versions)
}

/// Structs that several fields share, unresolved.
fn commons(message: &Value) -> Result<BTreeMap<String, Value>> {
    let list = message["commonStructs"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|s| Ok((string(s, "name")?.to_owned(), s["fields"].clone()))).collect()
}

fn fields(list: &Value, commons: &BTreeMap<String, Value>) -> Result<Vec<Field>> {
    let list = list.as_array().context("no fields")?;
    list.iter().map(|f| field(f, commons).with_context(|| f["name"].to_string())).collect()
}

fn field(f: &Value, commons: &BTreeMap<String, Value>) -> Result<Field> {
    let versions = |name: &str| Versions::parse(f[name].as_str().unwrap_or("none"));
    let tag = match f["tag"].as_u64() {
        Some(tag) => Some((u32::try_from(tag)?, versions("taggedVersions")?)),
        None => None,
    };
    Ok(Field {
        name: capital(string(f, "name")?),
        versions: versions("versions")?,
        nullable: versions("nullableVersions")?,
        tag,
        default: f.get("default").cloned(),
        kind: kind(string(f, "type")?, f, commons)?,
    })
}

fn kind(name: &str, f: &Value, commons: &BTreeMap<String, Value>) -> Result<Kind> {
    Ok(match name {
        "bool" => Kind::Bool,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "uint16" => Kind::Uint16,
        "uint32" => Kind::Uint32,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float64" => Kind::Float64,
        "uuid" => Kind::Uuid,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "records" => Kind::Records,
        _ => match name.strip_prefix("[]") {
            Some(element) => Kind::Array(Box::new(kind(element, f, commons)?)),
            None => {
                let own = if f["fields"].is_array() { Some(&f["fields"]) } else { commons.get(name) };
                let Some(own) = own else { bail!("unknown type {name}") };
                Kind::Struct(Arc::new(fields(own, commons)?))
            }
        },
    })
}

/// The definitions carry whole lines of `//` comments, which JSON does not know.
fn parse(text: &str) -> Result<Value> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    Ok(serde_json::from_str(&lines.join("\n"))?)
}

/// Some definitions begin a name with a small letter; here all begin with a capital.
fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}

fn string<'a>(v: &'a Value, name: &str) -> Result<&'a str> {
    v[name].as_str().ok_or_else(|| anyhow!("no {name}"))
}

fn int(v: &Value, name: &str) -> Result<i64> {
    v[name].as_i64().ok_or_else(|| anyhow!("no {name}"))
}
