//! What a configuration key is: name, type, unit, default, bounds, meaning, and what setting it does.
//!
//! Owns: the vocabulary of the key tables (`table`, `kafka_keys`, and `topic_config::table`).
//! Invariants: a key's default passes its own check.
//! Never: reads a source.

/// Kafka's `ConfigDef.Type`, with the codes that DescribeConfigs uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// `DescribeConfigsResponse.ConfigType`.
    #[must_use]
    pub fn kafka_code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::String => "string",
            Kind::Int => "int",
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Double => "double",
            Kind::List => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }
}

/// What a number counts. Bytes and milliseconds may be written with a suffix (`64MiB`, `10s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Bytes,
    Milliseconds,
    Minutes,
    Hours,
    Percent,
}

impl Unit {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Bytes => "bytes",
            Unit::Milliseconds => "ms",
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
            Unit::Percent => "percent",
        }
    }
}

/// Which values are possible, beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// A range, or one number outside it that means "choose for me".
    BetweenOr(i64, i64, i64),
    Fraction(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfAnyCase(&'static [&'static str]),
    /// Every element of a list.
    EachOf(&'static [&'static str]),
    NonEmpty,
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bounds::Any => Ok(()),
            Bounds::AtLeast(low) => write!(f, "at least {low}"),
            Bounds::Between(low, high) => write!(f, "{low} to {high}"),
            Bounds::BetweenOr(low, high, or) => write!(f, "{low} to {high}, or {or}"),
            Bounds::Fraction(low, high) => write!(f, "{low} to {high}"),
            Bounds::OneOf(names) | Bounds::OneOfAnyCase(names) => write!(f, "one of {}", names.join(", ")),
            Bounds::EachOf(names) => write!(f, "a list of {}", names.join(", ")),
            Bounds::NonEmpty => write!(f, "non-empty"),
            Bounds::ThrottledReplicas => write!(f, "* or partition:broker,…"),
        }
    }
}

/// The value of a key that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// Kafka's `null`: nothing is set, and the key is not reported.
    Unset,
    Value(&'static str),
    /// Computed when the configuration is built; the text says how.
    Computed(&'static str),
}

/// What setting a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Effective,
    /// Accepted with one warning that gives this reason.
    NoEffect {
        why: &'static str,
    },
    /// Any value other than the default is refused until it is served, since ignoring it would break a
    /// promise that the operator relies on.
    Refused {
        why: &'static str,
        remedy: &'static str,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub default: Default,
    pub bounds: Bounds,
    pub class: Class,
    pub meaning: &'static str,
}

impl Key {
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// The environment variable that sets this key.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_uppercase().replace('.', "_"))
    }
}

pub const ENV_PREFIX: &str = "TIDEGATE_";
