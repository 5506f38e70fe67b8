//! Listeners: where clients connect, and what they are told.
//!
//! Owns: the syntax and the rules of `listeners`, `advertised.listeners` and `listener.security.protocol.map`.
//! Invariants: at least one listener; names are unique and upper-case, as Kafka normalises them; every listener has
//! an advertised host that is not a wildcard; only PLAINTEXT is served.
//! Never: resolves a name or opens a socket.

use std::collections::BTreeMap;
use std::fmt;

use super::checks::Problem;
use super::values::Values;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    /// Where to listen. An empty host is every interface; port 0 is a free one.
    pub bind: HostPort,
    /// What clients are told. Port 0 is the port that `bind` got.
    pub advertised: HostPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The listeners of clients, and the controller listeners that were left out.
pub(super) struct Resolved {
    pub listeners: Vec<Listener>,
    pub skipped: Vec<String>,
}

pub(super) fn resolve(values: &Values, hostname: &str) -> Result<Resolved, Problem> {
    let text = |key| values.text(key).unwrap_or_default();
    let binds = endpoints("listeners", text("listeners"))?;
    let advertised = endpoints("advertised.listeners", text("advertised.listeners"))?;
    let protocols = protocols(text("listener.security.protocol.map"))?;
    let controllers: Vec<String> = super::value::list(text("controller.listener.names"))
        .iter()
        .map(|name| name.to_uppercase())
        .collect();

    if let Some((name, _)) = advertised.iter().find(|(name, _)| !binds.iter().any(|(bound, _)| bound == name))
    {
        return Err(Problem::new(
            "advertised.listeners",
            format!("{name} is not in listeners"),
            "name every advertised listener in listeners too",
        ));
    }
    let (skipped, served): (Vec<_>, Vec<_>) =
        binds.into_iter().partition(|(name, _)| controllers.contains(name));
    if served.is_empty() {
        return Err(Problem::new(
            "listeners",
            "no listener is left for clients".to_owned(),
            "add one, such as PLAINTEXT://127.0.0.1:9092, that controller.listener.names does not name",
        ));
    }
    let mut listeners = Vec::new();
    for (name, bind) in served {
        served_protocol(&name, &protocols)?;
        let explicit =
            advertised.iter().find(|(other, _)| *other == name).map(|(_, address)| address.clone());
        listeners.push(Listener { advertised: advertise(&name, explicit, &bind, hostname)?, name, bind });
    }
    Ok(Resolved { listeners, skipped: skipped.into_iter().map(|(name, _)| name).collect() })
}

fn advertise(
    name: &str,
    explicit: Option<HostPort>,
    bind: &HostPort,
    hostname: &str,
) -> Result<HostPort, Problem> {
    let key = if explicit.is_some() { "advertised.listeners" } else { "listeners" };
    let address = explicit.unwrap_or_else(|| bind.clone());
    if is_wildcard(&address.host) {
        return Err(Problem::new(
            key,
            format!("clients cannot connect to {}, which {name} would advertise", address.host),
            "give advertised.listeners a host that clients reach",
        ));
    }
    let host = if address.host.is_empty() { hostname.to_owned() } else { address.host };
    Ok(HostPort { host, port: address.port })
}

fn is_wildcard(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}

fn served_protocol(name: &str, protocols: &BTreeMap<String, String>) -> Result<(), Problem> {
    match protocols.get(name).map(String::as_str) {
        Some("PLAINTEXT") => Ok(()),
        Some(protocol) => Err(Problem::new(
            "listeners",
            format!("listener {name} has the protocol {protocol}, and TLS and SASL are not served yet"),
            "use a PLAINTEXT listener on a network that only trusted clients reach",
        )),
        None => Err(Problem::new(
            "listeners",
            format!("listener {name} has no protocol in listener.security.protocol.map"),
            "add NAME:PLAINTEXT for it there",
        )),
    }
}

fn protocols(map: &str) -> Result<BTreeMap<String, String>, Problem> {
    const KEY: &str = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    for pair in super::value::list(map) {
        let (name, protocol) = pair.split_once(':').unwrap_or((pair, ""));
        let (name, protocol) = (name.trim().to_uppercase(), protocol.trim().to_uppercase());
        if !matches!(protocol.as_str(), "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") {
            return Err(Problem::new(
                KEY,
                format!("{pair} names no protocol of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
                "write NAME:PROTOCOL,NAME:PROTOCOL",
            ));
        }
        if protocols.insert(name.clone(), protocol).is_some() {
            return Err(Problem::new(KEY, format!("{name} is there twice"), "keep one"));
        }
    }
    Ok(protocols)
}

fn endpoints(key: &'static str, text: &str) -> Result<Vec<(String, HostPort)>, Problem> {
    let mut endpoints: Vec<(String, HostPort)> = Vec::new();
    for part in super::value::list(text) {
        let (name, address) = endpoint(part).ok_or_else(|| {
            Problem::new(
                key,
                format!("{part} is not NAME://host:port"),
                "write for example PLAINTEXT://127.0.0.1:9092",
            )
        })?;
        if endpoints.iter().any(|(other, _)| *other == name) {
            return Err(Problem::new(
                key,
                format!("the listener {name} is there twice"),
                "give each its own name",
            ));
        }
        let same = |other: &HostPort| other.port != 0 && *other == address;
        if key == "listeners" && endpoints.iter().any(|(_, other)| same(other)) {
            return Err(Problem::new(
                key,
                format!("{address} is there twice"),
                "give each listener its own port",
            ));
        }
        endpoints.push((name, address));
    }
    Ok(endpoints)
}

fn endpoint(text: &str) -> Option<(String, HostPort)> {
    let (name, rest) = text.split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let is_host = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._%".contains(c) || (bracketed.is_some() && c == ':'));
    let port = port.parse().ok().filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()))?;
    (is_name && is_host).then(|| (name.to_uppercase(), HostPort { host: host.to_owned(), port }))
}
