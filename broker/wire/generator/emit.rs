//! The text of `src/schema/table.rs`.

use std::fmt::Write;

use super::definitions::{Definition, Element, Field, Kind};

/// The whole file for those definitions. Its last line is the CRC-32C of what stands above, so that a change by hand
/// is found without the jar.
pub fn table(definitions: &[Definition]) -> String {
    let mut out = String::from(HEAD);
    for definition in definitions {
        request(&mut out, definition);
    }
    out.push_str("];\n");
    let digest = crc32c::crc32c(out.as_bytes());
    let _ = writeln!(out, "// crc32c {digest:08x}");
    out
}

const HEAD: &str = "\
//! Requests of the broker listener in Kafka 4.1: versions and structure. Generated from the message definitions of
//! kafka-clients 4.1.2 by `cargo run -p tidegate-wire --example generate -- JAR`; do not edit.

use super::{BLOB, INT8, INT16, INT32, INT64, MAX, Request, TEXT, UUID, array, field, structure};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

#[rustfmt::skip]
pub static REQUESTS: &[Request] = &[
";

fn request(out: &mut String, d: &Definition) {
    let flexible = d.flexible_from.map_or("None".into(), |v| format!("Some({v})"));
    let _ = writeln!(
        out,
        "Request {{ key: {}, name: \"{}\", min: {}, max: {}, flexible_from: {flexible}, fields: &[",
        d.key, d.name, d.min, d.max
    );
    let module = format!("{}_request", snake(&d.name));
    let context = Context { module: &module, max: d.max };
    fields(out, &d.fields, &context, 1);
    out.push_str("] },\n");
}

struct Context<'a> {
    module: &'a str,
    max: i16,
}

fn fields(out: &mut String, list: &[Field], context: &Context<'_>, depth: usize) {
    for f in list {
        let _ = write!(out, "{}field(\"{}\", ", " ".repeat(depth * 2), f.name);
        kind(out, &f.kind, context, depth);
        out.push(')');
        if f.versions != (0, i16::MAX) {
            let _ = write!(out, ".versions({}, {})", f.versions.0, upper(f.versions.1, context));
        }
        if let Some((from, to)) = f.nullable {
            let _ = write!(out, ".nullable({from}, {})", upper(to, context));
        }
        if let Some(tag) = f.tag {
            let _ = write!(out, ".tagged({tag})");
        }
        out.push_str(",\n");
    }
}

fn upper(to: i16, context: &Context<'_>) -> String {
    if to >= context.max { "MAX".into() } else { to.to_string() }
}

fn kind(out: &mut String, kind_of: &Kind, context: &Context<'_>, depth: usize) {
    match kind_of {
        Kind::Fixed(1) => out.push_str("INT8"),
        Kind::Fixed(2) => out.push_str("INT16"),
        Kind::Fixed(4) => out.push_str("INT32"),
        Kind::Fixed(8) => out.push_str("INT64"),
        Kind::Fixed(16) => out.push_str("UUID"),
        Kind::Fixed(n) => unreachable!("no type of {n} bytes"),
        Kind::Text => out.push_str("TEXT"),
        Kind::Blob => out.push_str("BLOB"),
        Kind::Struct(list) => {
            out.push_str("structure(&[\n");
            fields(out, list, context, depth + 1);
            let _ = write!(out, "{}])", " ".repeat(depth * 2));
        }
        Kind::Array(inner, element) => {
            out.push_str("array(&");
            kind(out, inner, context, depth);
            let _ = match element {
                Element::Primitive(name) => write!(out, ", size_of::<{name}>())"),
                Element::Struct(name) => write!(out, ", size_of::<{}::{name}>())", context.module),
            };
        }
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
