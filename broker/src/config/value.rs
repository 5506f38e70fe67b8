//! Values as text: Kafka's parsing rules for each type, and the bounds.
//!
//! Owns: `check`, which every value passes, whatever its source; it yields the canonical text that the typed
//! readers and DescribeConfigs use.
//! Never: knows which keys exist.

use super::key::{Bounds, Kind, Unit};

/// The canonical form of `raw`, or why it is impossible (a phrase that follows "…: ").
pub fn check(kind: Kind, bounds: Bounds, raw: &str) -> Result<String, String> {
    let text = raw.trim();
    match kind {
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            word @ ("true" | "false") => Ok(word.to_owned()),
            _ => Err("must be true or false".to_owned()),
        },
        Kind::Int => number(text, i32::MIN.into(), i32::MAX.into(), kind, bounds),
        Kind::Short => number(text, i16::MIN.into(), i16::MAX.into(), kind, bounds),
        Kind::Long => number(text, i64::MIN, i64::MAX, kind, bounds),
        Kind::Double => fraction(text, bounds),
        Kind::List => {
            let parts = list(text);
            elements(&parts, bounds)?;
            Ok(parts.join(","))
        }
        // A secret is kept as it is written, blanks included.
        Kind::Password if bounds == Bounds::NonEmpty && raw.is_empty() => Err(format!("must be {bounds}")),
        Kind::Password => Ok(raw.to_owned()),
        Kind::String | Kind::Class => word(text, bounds),
    }
}

/// As `check`, and a number of bytes or milliseconds may carry a suffix.
pub fn check_with_unit(kind: Kind, unit: Unit, bounds: Bounds, raw: &str) -> Result<String, String> {
    match without_suffix(kind, unit, raw.trim())? {
        Some(number) => check(kind, bounds, &number),
        None => check(kind, bounds, raw),
    }
}

/// A list as Kafka splits it: commas, blanks around them dropped, the empty text is the empty list.
pub fn list(text: &str) -> Vec<&str> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

/// What a value that `check` refused is refused with by Kafka (`ConfigDef`).
pub fn in_kafkas_words(name: &str, kind: Kind, bounds: Bounds, raw: &str) -> String {
    let text = raw.trim();
    let is_number = match kind {
        Kind::Boolean => return "Expected value to be either true or false".to_owned(),
        Kind::Int => text.parse::<i32>().is_ok(),
        Kind::Short => text.parse::<i16>().is_ok(),
        Kind::Long => text.parse::<i64>().is_ok(),
        Kind::Double => text.parse::<f64>().is_ok(),
        Kind::String | Kind::List | Kind::Class | Kind::Password => true,
    };
    if !is_number {
        return format!("Not a number of type {}", kind.name().to_uppercase());
    }
    let below = |low: i64| text.parse::<i64>().is_ok_and(|value| value < low);
    match bounds {
        Bounds::AtLeast(low) => format!("Value must be at least {low}"),
        Bounds::Between(low, _) if below(low) => format!("Value must be at least {low}"),
        Bounds::Between(_, high) => format!("Value must be no more than {high}"),
        Bounds::BetweenOr(low, high, or) => {
            format!("Value must be between {low} and {high} or equal to {or}")
        }
        Bounds::Fraction(low, _) if text.parse::<f64>().is_ok_and(|value| value < low) => {
            format!("Value must be at least {}", java_double(low))
        }
        Bounds::Fraction(_, high) => format!("Value must be no more than {}", java_double(high)),
        Bounds::OneOf(names) | Bounds::EachOf(names) => {
            format!("String must be one of: {}", names.join(", "))
        }
        Bounds::OneOfAnyCase(names) => {
            format!("String must be one of (case insensitive): {}", names.join(", "))
        }
        Bounds::NonEmpty => "String must be non-empty".to_owned(),
        Bounds::ThrottledReplicas => format!(
            "{name} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        ),
        Bounds::Any => format!("must be a {}", kind.name()),
    }
}

/// A list with what is not in it yet (append), or without what is (subtract).
pub fn changed_list(current: &str, append: bool, named: &str) -> String {
    let mut parts = list(current);
    for part in list(named) {
        match (append, parts.iter().position(|other| *other == part)) {
            (true, None) => parts.push(part),
            (false, Some(at)) => {
                parts.remove(at);
            }
            _ => {}
        }
    }
    parts.join(",")
}

/// A double as Java prints it, which is what DescribeConfigs shows.
pub fn java_double(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-3..1e7).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').expect("the e format has an exponent");
        let point = if mantissa.contains('.') { "" } else { ".0" };
        return format!("{mantissa}{point}E{exponent}");
    }
    format!("{value:?}")
}

fn number(text: &str, min: i64, max: i64, kind: Kind, bounds: Bounds) -> Result<String, String> {
    let value: i64 = text.parse().map_err(|_| format!("must be a number of type {}", kind.name()))?;
    if value < min || value > max {
        return Err(format!("does not fit the type {} ({min} to {max})", kind.name()));
    }
    let inside = match bounds {
        Bounds::AtLeast(low) => value >= low,
        Bounds::Between(low, high) => (low..=high).contains(&value),
        Bounds::BetweenOr(low, high, or) => (low..=high).contains(&value) || value == or,
        _ => true,
    };
    if inside { Ok(value.to_string()) } else { Err(format!("must be {bounds}")) }
}

fn fraction(text: &str, bounds: Bounds) -> Result<String, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number of type double".to_owned())?;
    let inside = match bounds {
        Bounds::Fraction(low, high) => (low..=high).contains(&value),
        _ => !value.is_nan(),
    };
    if inside { Ok(java_double(value)) } else { Err(format!("must be {bounds}")) }
}

fn word(text: &str, bounds: Bounds) -> Result<String, String> {
    let possible = match bounds {
        Bounds::OneOf(names) => names.contains(&text),
        Bounds::OneOfAnyCase(names) => names.iter().any(|name| name.eq_ignore_ascii_case(text)),
        Bounds::NonEmpty => !text.is_empty(),
        _ => true,
    };
    if possible { Ok(text.to_owned()) } else { Err(format!("must be {bounds}")) }
}

fn elements(parts: &[&str], bounds: Bounds) -> Result<(), String> {
    let possible = match bounds {
        Bounds::EachOf(names) => parts.iter().all(|part| names.contains(part)),
        Bounds::NonEmpty => !parts.is_empty(),
        Bounds::ThrottledReplicas => parts == ["*"] || parts.iter().all(|part| is_replica(part)),
        _ => true,
    };
    if possible { Ok(()) } else { Err(format!("must be {bounds}")) }
}

fn is_replica(part: &str) -> bool {
    let is_id = |text: &str| text.parse::<u32>().is_ok() && !text.starts_with('+');
    part.split_once(':').is_some_and(|(partition, broker)| is_id(partition) && is_id(broker))
}

const BYTE_SUFFIXES: &[(&str, i64)] =
    &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const MS_SUFFIXES: &[(&str, i64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn without_suffix(kind: Kind, unit: Unit, text: &str) -> Result<Option<String>, String> {
    let suffixes = match (kind, unit) {
        (Kind::Int | Kind::Long, Unit::Bytes) => BYTE_SUFFIXES,
        (Kind::Int | Kind::Long, Unit::Milliseconds) => MS_SUFFIXES,
        _ => return Ok(None),
    };
    for (suffix, scale) in suffixes {
        let Some(digits) = text.strip_suffix(suffix) else { continue };
        let Ok(count) = digits.trim_end().parse::<i64>() else { continue };
        let number = count.checked_mul(*scale).ok_or_else(|| "is larger than any number here".to_owned())?;
        return Ok(Some(number.to_string()));
    }
    Ok(None)
}
