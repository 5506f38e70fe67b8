//! Apache Kafka's message definitions, as `kafka-clients-*.jar` carries them (`common/message/*.json`).
//!
//! Owns: reading the jar and the parts of a definition that decide about bytes.
//! Never: part of the product; the generator and the test of the committed table use it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// One request definition of the broker listener.
pub struct Definition {
    pub key: i16,
    /// Without the suffix `Request`.
    pub name: String,
    pub min: i16,
    /// Without the latest version when that is marked unstable.
    pub max: i16,
    pub flexible_from: Option<i16>,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: String,
    pub versions: (i16, i16),
    pub nullable: Option<(i16, i16)>,
    pub tag: Option<u32>,
    pub kind: Kind,
}

pub enum Kind {
    /// A number, bool or UUID of that many bytes.
    Fixed(u8),
    Text,
    Blob,
    Struct(Vec<Field>),
    Array(Box<Kind>, Element),
}

/// What the decoder's `Vec` holds.
pub enum Element {
    Primitive(&'static str),
    /// The struct's name in the definition.
    Struct(String),
}

/// The request definitions of the jar that the broker listener serves and that have a stable version, by key.
pub fn read(jar: &Path) -> Result<Vec<Definition>, String> {
    let bytes = std::fs::read(jar).map_err(|e| format!("{}: {e}", jar.display()))?;
    let mut found = BTreeMap::new();
    for (name, text) in entries(&bytes, "common/message/", "Request.json")? {
        let definition = parse(&text).map_err(|e| format!("{name}: {e}"))?;
        if let Some(definition) = definition {
            found.insert(definition.key, definition);
        }
    }
    if found.is_empty() {
        Err("no request definitions in the jar".into())
    } else {
        Ok(found.into_values().collect())
    }
}

fn parse(text: &str) -> Result<Option<Definition>, String> {
    let bare: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
    let json: Value = serde_json::from_str(&bare).map_err(|e| e.to_string())?;
    let on_broker = json["listeners"].as_array().is_some_and(|l| l.iter().any(|v| v == "broker"));
    if !on_broker {
        return Ok(None);
    }
    let (min, latest) = versions(string(&json, "validVersions")?)?.ok_or("no valid version")?;
    let max = if json["latestVersionUnstable"] == true { latest - 1 } else { latest };
    if max < min {
        return Ok(None);
    }
    let key = json["apiKey"].as_i64().and_then(|k| i16::try_from(k).ok()).ok_or("no apiKey")?;
    let name = string(&json, "name")?.strip_suffix("Request").ok_or("not a request")?.to_owned();
    let common = json["commonStructs"].as_array().cloned().unwrap_or_default();
    let flexible_from = versions(string(&json, "flexibleVersions")?)?.map(|(from, _)| from);
    let fields = fields(&json["fields"], &common, max)?;
    Ok(Some(Definition { key, name, min, max, flexible_from, fields }))
}

fn fields(list: &Value, common: &[Value], max: i16) -> Result<Vec<Field>, String> {
    let list = list.as_array().ok_or("no fields")?;
    let mut out = Vec::new();
    for json in list {
        let name = string(json, "name")?.to_owned();
        let versions_of = versions(string(json, "versions")?)?.ok_or("a field without versions")?;
        if versions_of.0 > max {
            continue;
        }
        if json.get("flexibleVersions").is_some() {
            return Err(format!("{name}: a field with its own flexible versions is not supported"));
        }
        let nullable = match json["nullableVersions"].as_str() {
            Some(text) => versions(text)?,
            // As in Kafka's generator, a struct that defaults to null is nullable in all versions only if it says so.
            None => None,
        };
        let tag = json["tag"].as_u64().map(|t| u32::try_from(t).expect("tags are small"));
        if tag.is_some() && versions(string(json, "taggedVersions")?)? != Some(versions_of) {
            return Err(format!("{name}: tagged in some of its versions only"));
        }
        let kind = kind(string(json, "type")?, json, common, max)?;
        out.push(Field { name, versions: versions_of, nullable, tag, kind });
    }
    Ok(out)
}

fn kind(type_name: &str, json: &Value, common: &[Value], max: i16) -> Result<Kind, String> {
    Ok(match type_name {
        "bool" | "int8" => Kind::Fixed(1),
        "int16" | "uint16" => Kind::Fixed(2),
        "int32" | "uint32" => Kind::Fixed(4),
        "int64" | "float64" => Kind::Fixed(8),
        "uuid" => Kind::Fixed(16),
        "string" => Kind::Text,
        "bytes" | "records" => Kind::Blob,
        _ => match type_name.strip_prefix("[]") {
            Some(inner) => Kind::Array(Box::new(kind(inner, json, common, max)?), element(inner)?),
            None => Kind::Struct(struct_fields(type_name, json, common, max)?),
        },
    })
}

fn element(type_name: &str) -> Result<Element, String> {
    Ok(Element::Primitive(match type_name {
        "bool" => "bool",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "string" => "StrBytes",
        other if other.starts_with(|c: char| c.is_ascii_uppercase()) => {
            return Ok(Element::Struct(other.to_owned()));
        }
        other => return Err(format!("array of {other} is not supported")),
    }))
}

fn struct_fields(name: &str, json: &Value, common: &[Value], max: i16) -> Result<Vec<Field>, String> {
    match json.get("fields") {
        Some(list) => fields(list, common, max),
        None => {
            let shared = common.iter().find(|s| s["name"] == name).ok_or(format!("no struct {name}"))?;
            fields(&shared["fields"], common, max)
        }
    }
}

/// `none`, `3`, `3-5` or `3+`.
fn versions(text: &str) -> Result<Option<(i16, i16)>, String> {
    let number = |t: &str| t.parse::<i16>().map_err(|e| format!("versions {text}: {e}"));
    Ok(match (text, text.strip_suffix('+'), text.split_once('-')) {
        ("none", _, _) => None,
        (_, Some(from), _) => Some((number(from)?, i16::MAX)),
        (_, _, Some((from, to))) => Some((number(from)?, number(to)?)),
        _ => Some((number(text)?, number(text)?)),
    })
}

fn string<'a>(json: &'a Value, name: &str) -> Result<&'a str, String> {
    json[name].as_str().ok_or_else(|| format!("no {name}"))
}

/// The text of the zip's entries with that prefix and suffix. A jar of Maven Central is a plain zip: no zip64, no
/// encryption, stored or deflated entries, and a central directory at the end.
fn entries(zip: &[u8], prefix: &str, suffix: &str) -> Result<Vec<(String, String)>, String> {
    let end = zip.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or("not a zip file")?;
    let mut at = u32_at(zip, end + 16)?;
    let mut out = Vec::new();
    for _ in 0..u16_at(zip, end + 10)? {
        let (packed, name_len) = (u32_at(zip, at + 20)?, u16_at(zip, at + 28)?);
        let name = String::from_utf8_lossy(slice(zip, at + 46, name_len)?).into_owned();
        if name.starts_with(prefix) && name.ends_with(suffix) {
            let local = u32_at(zip, at + 42)?;
            let data = local + 30 + u16_at(zip, local + 26)? + u16_at(zip, local + 28)?;
            let data = slice(zip, data, packed)?;
            let mut text = String::new();
            let read = match u16_at(zip, at + 10)? {
                0 => { data }.read_to_string(&mut text),
                8 => flate2::read::DeflateDecoder::new(data).read_to_string(&mut text),
                method => return Err(format!("{name}: zip method {method}")),
            };
            read.map_err(|e| format!("{name}: {e}"))?;
            out.push((name, text));
        }
        at += 46 + name_len + u16_at(zip, at + 30)? + u16_at(zip, at + 32)?;
    }
    Ok(out)
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], String> {
    at.checked_add(len).and_then(|end| bytes.get(at..end)).ok_or_else(|| "the zip file is cut off".into())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<usize, String> {
    let b = slice(bytes, at, 2)?;
    Ok(usize::from(u16::from_le_bytes([b[0], b[1]])))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<usize, String> {
    let b = slice(bytes, at, 4)?;
    Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
}
