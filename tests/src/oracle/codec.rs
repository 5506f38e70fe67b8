//! Requests from JSON to bytes, answers from bytes to JSON, by Kafka's definitions.
//!
//! Invariants: an answer is decoded to its last byte or it is an error; a name that the definition does not know is an
//! error. Byte fields are hexadecimal text; records are decoded batch by batch.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use serde_json::{Map, Value, json};
use tidegate_common::Batch;

use super::schema::{Field, Kind, Versions};

/// What is encoded: its version, and whether lengths are compact.
#[derive(Clone, Copy)]
pub struct Layout {
    pub version: i16,
    pub flexible: bool,
}

impl Layout {
    pub fn new(version: i16, flexible: Versions) -> Layout {
        Layout { version, flexible: flexible.has(version) }
    }
}

/// Fields that `value` does not name get Kafka's default; those that the version does not have are left out.
pub fn encode(fields: &[Field], layout: Layout, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let empty = Map::new();
    let object = match value {
        Value::Null => &empty,
        Value::Object(object) => object,
        other => bail!("{other} is no object"),
    };
    for name in object.keys() {
        ensure!(fields.iter().any(|f| f.name == *name), "there is no field {name}");
    }
    let mut tagged = Vec::new();
    for field in fields.iter().filter(|f| f.versions.has(layout.version)) {
        let given = object.get(&field.name);
        let default = default_of(field);
        // Null in a field that cannot be null: a value that an earlier answer did not give.
        let value = match given {
            Some(Value::Null) if !field.nullable.has(layout.version) => &default,
            Some(value) => value,
            None => &default,
        };
        match field.tag {
            Some((tag, versions)) if versions.has(layout.version) => {
                if *value != default {
                    let mut bytes = Vec::new();
                    put(field, layout, value, &mut bytes).with_context(|| field.name.clone())?;
                    tagged.push((tag, bytes));
                }
            }
            _ => put(field, layout, value, out).with_context(|| field.name.clone())?,
        }
    }
    if layout.flexible {
        tagged.sort();
        put_varint(out, tagged.len() as u32);
        for (tag, bytes) in tagged {
            put_varint(out, tag);
            put_varint(out, bytes.len() as u32);
            out.extend_from_slice(&bytes);
        }
    }
    Ok(())
}

fn default_of(field: &Field) -> Value {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse::<i64>().ok(),
    };
    match &field.default {
        Some(Value::String(text)) => match field.kind {
            _ if text == "null" => Value::Null,
            Kind::Bool => Value::Bool(text == "true"),
            Kind::Text => Value::String(text.clone()),
            Kind::Float64 => text.parse::<f64>().map_or(Value::Null, |f| json!(f)),
            _ => number(text).map_or(Value::Null, |n| json!(n)),
        },
        Some(value) => value.clone(),
        None => match field.kind {
            Kind::Bool => json!(false),
            Kind::Text | Kind::Bytes | Kind::Records => json!(""),
            Kind::Uuid => json!(uuid::Uuid::nil().to_string()),
            Kind::Array(_) => json!([]),
            Kind::Struct(_) => json!({}),
            _ => json!(0),
        },
    }
}

fn put(field: &Field, layout: Layout, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    ensure!(!value.is_null() || field.nullable.has(layout.version), "cannot be null");
    put_kind(&field.kind, field.nullable.has(layout.version), layout, value, out)
}

fn put_kind(kind: &Kind, nullable: bool, layout: Layout, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let number = || value.as_i64().with_context(|| format!("{value} is no number"));
    let text = || value.as_str().with_context(|| format!("{value} is no text"));
    match kind {
        Kind::Bool => out.put_u8(u8::from(value.as_bool().with_context(|| format!("{value} is no bool"))?)),
        Kind::Int8 => out.put_i8(number()?.try_into()?),
        Kind::Int16 => out.put_i16(number()?.try_into()?),
        Kind::Uint16 => out.put_u16(number()?.try_into()?),
        Kind::Uint32 => out.put_u32(number()?.try_into()?),
        Kind::Int32 => out.put_i32(number()?.try_into()?),
        Kind::Int64 => out.put_i64(number()?),
        Kind::Float64 => out.put_f64(value.as_f64().with_context(|| format!("{value} is no number"))?),
        Kind::Uuid => out.extend_from_slice(uuid::Uuid::parse_str(text()?)?.as_bytes()),
        Kind::Text => {
            let bytes = if value.is_null() { None } else { Some(text()?.as_bytes()) };
            put_length(bytes.map(<[u8]>::len), 2, layout, out)?;
            out.extend_from_slice(bytes.unwrap_or_default());
        }
        Kind::Bytes | Kind::Records => {
            let bytes = if value.is_null() { None } else { Some(unhex(text()?)?) };
            put_length(bytes.as_ref().map(Vec::len), 4, layout, out)?;
            out.extend_from_slice(&bytes.unwrap_or_default());
        }
        Kind::Struct(fields) => {
            if nullable {
                out.put_i8(if value.is_null() { -1 } else { 1 });
                if value.is_null() {
                    return Ok(());
                }
            }
            encode(fields, layout, value, out)?;
        }
        Kind::Array(element) => {
            let list = value.as_array();
            ensure!(list.is_some() || value.is_null(), "{value} is no array");
            put_length(list.map(Vec::len), 4, layout, out)?;
            for (n, value) in list.into_iter().flatten().enumerate() {
                put_kind(element, false, layout, value, out).with_context(|| format!("element {n}"))?;
            }
        }
    }
    Ok(())
}

/// `width`: bytes of the length where it is not compact.
fn put_length(len: Option<usize>, width: usize, layout: Layout, out: &mut Vec<u8>) -> Result<()> {
    match (len, layout.flexible, width) {
        (None, true, _) => put_varint(out, 0),
        (Some(len), true, _) => put_varint(out, u32::try_from(len)? + 1),
        (None, false, 2) => out.put_i16(-1),
        (None, false, _) => out.put_i32(-1),
        (Some(len), false, 2) => out.put_i16(len.try_into()?),
        (Some(len), false, _) => out.put_i32(len.try_into()?),
    }
    Ok(())
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Decodes a message and the tagged fields behind it. Tags that the definition does not know are kept.
pub fn decode(fields: &[Field], layout: Layout, bytes: &mut Bytes) -> Result<Value> {
    let mut object = Map::new();
    let is_tagged =
        |f: &Field| f.tag.is_some_and(|(_, v)| v.has(layout.version)) && f.versions.has(layout.version);
    for field in fields.iter().filter(|f| f.versions.has(layout.version) && !is_tagged(f)) {
        let value = take(field, layout, bytes).with_context(|| field.name.clone())?;
        object.insert(field.name.clone(), value);
    }
    if layout.flexible {
        for _ in 0..take_varint(bytes)? {
            let tag = take_varint(bytes)?;
            let len = take_varint(bytes)? as usize;
            ensure!(len <= bytes.len(), "tag {tag}: {len} of {} bytes", bytes.len());
            let mut own = bytes.split_to(len);
            match fields.iter().find(|f| is_tagged(f) && f.tag.is_some_and(|(t, _)| t == tag)) {
                Some(field) => {
                    let value = take(field, layout, &mut own).with_context(|| field.name.clone())?;
                    ensure!(own.is_empty(), "{}: {} bytes are left", field.name, own.len());
                    object.insert(field.name.clone(), value);
                }
                None => {
                    object.insert(format!("tag {tag}"), json!(hex(&own)));
                }
            }
        }
        for field in fields.iter().filter(|f| is_tagged(f)) {
            object.entry(field.name.clone()).or_insert_with(|| default_of(field));
        }
    }
    Ok(Value::Object(object))
}

fn take(field: &Field, layout: Layout, bytes: &mut Bytes) -> Result<Value> {
    let value = take_kind(&field.kind, field.nullable.has(layout.version), layout, bytes)?;
    ensure!(!value.is_null() || field.nullable.has(layout.version), "null where it cannot be");
    Ok(value)
}

fn take_kind(kind: &Kind, nullable: bool, layout: Layout, bytes: &mut Bytes) -> Result<Value> {
    Ok(match kind {
        Kind::Bool => match bytes.try_get_u8()? {
            0 => json!(false),
            1 => json!(true),
            other => bail!("{other} for a bool"),
        },
        Kind::Int8 => json!(bytes.try_get_i8()?),
        Kind::Int16 => json!(bytes.try_get_i16()?),
        Kind::Uint16 => json!(bytes.try_get_u16()?),
        Kind::Uint32 => json!(bytes.try_get_u32()?),
        Kind::Int32 => json!(bytes.try_get_i32()?),
        Kind::Int64 => json!(bytes.try_get_i64()?),
        Kind::Float64 => json!(bytes.try_get_f64()?),
        Kind::Uuid => json!(uuid::Uuid::from_u128(bytes.try_get_u128()?).to_string()),
        Kind::Text => match take_bytes(2, layout, bytes)? {
            None => Value::Null,
            Some(own) => json!(std::str::from_utf8(&own)?),
        },
        Kind::Bytes => take_bytes(4, layout, bytes)?.map_or(Value::Null, |own| json!(hex(&own))),
        Kind::Records => match take_bytes(4, layout, bytes)? {
            None => Value::Null,
            Some(own) => batches(own)?,
        },
        Kind::Struct(fields) => {
            if nullable && bytes.try_get_i8()? < 0 {
                return Ok(Value::Null);
            }
            decode(fields, layout, bytes)?
        }
        Kind::Array(element) => match take_length(4, layout, bytes)? {
            None => Value::Null,
            Some(count) => {
                ensure!(count <= bytes.len(), "{count} elements in {} bytes", bytes.len());
                let elements = (0..count).map(|n| {
                    take_kind(element, false, layout, bytes).with_context(|| format!("element {n}"))
                });
                Value::Array(elements.collect::<Result<_>>()?)
            }
        },
    })
}

fn take_bytes(width: usize, layout: Layout, bytes: &mut Bytes) -> Result<Option<Bytes>> {
    let Some(len) = take_length(width, layout, bytes)? else { return Ok(None) };
    ensure!(len <= bytes.len(), "{len} of {} bytes", bytes.len());
    Ok(Some(bytes.split_to(len)))
}

fn take_length(width: usize, layout: Layout, bytes: &mut Bytes) -> Result<Option<usize>> {
    let len = match (layout.flexible, width) {
        (true, _) => i64::from(take_varint(bytes)?) - 1,
        (false, 2) => i64::from(bytes.try_get_i16()?),
        (false, _) => i64::from(bytes.try_get_i32()?),
    };
    ensure!(len >= -1, "length {len}");
    Ok(usize::try_from(len).ok())
}

pub fn take_varint(bytes: &mut Bytes) -> Result<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(u32::try_from(value)?);
        }
    }
    bail!("a varint of more than five bytes")
}

/// Batches as far as they are whole; a fetch may end within one.
fn batches(mut bytes: Bytes) -> Result<Value> {
    let mut list = Vec::new();
    while !bytes.is_empty() {
        let Ok(batch) = Batch::parse(&mut bytes) else {
            list.push(json!("a cut batch"));
            break;
        };
        let head = &batch.head;
        list.push(json!({
            "BaseOffset": head.base_offset().0,
            "LeaderEpoch": head.leader_epoch().0,
            "Magic": head.magic(),
            "CrcIsRight": batch.check_crc().is_ok(),
            "Attributes": head.attributes(),
            "LastOffsetDelta": head.last_offset_delta(),
            "BaseTimestamp": head.base_timestamp(),
            "MaxTimestamp": head.max_timestamp(),
            "ProducerId": head.producer_id(),
            "ProducerEpoch": head.producer_epoch(),
            "BaseSequence": head.base_sequence(),
            "Count": head.records_count(),
            "Body": hex(&batch.body),
        }));
    }
    Ok(Value::Array(list))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2), "an odd number of hexadecimal digits");
    (0..text.len()).step_by(2).map(|n| Ok(u8::from_str_radix(&text[n..n + 2], 16)?)).collect()
}
