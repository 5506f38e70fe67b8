//! A member of a group, and its parked requests.

use bytes::Bytes;

use crate::Name;
use crate::api::{Protocol, Token};
use crate::records::group::MemberValue;

#[derive(Debug)]
pub(crate) struct Member {
    pub id: Name,
    pub instance: Option<Name>,
    pub client_id: Name,
    pub client_host: Name,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the order of preference, each name once.
    pub protocols: Vec<(Name, Bytes)>,
    pub assignment: Bytes,
    pub awaiting_join: Option<Token>,
    pub awaiting_sync: Option<Token>,
    /// Since it was added to the group no join of its was answered: its session does not run on behind the parked join.
    pub is_new: bool,
    /// `None` while a parked request stands for heartbeats.
    pub session_deadline_ms: Option<i64>,
}

impl Member {
    pub(crate) fn from_record(value: MemberValue, protocol: &Name) -> Self {
        Self {
            id: value.member,
            instance: value.instance,
            client_id: value.client_id,
            client_host: value.client_host,
            rebalance_timeout_ms: if value.rebalance_timeout_ms == -1 {
                value.session_timeout_ms
            } else {
                value.rebalance_timeout_ms
            },
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![(protocol.clone(), value.subscription)],
            assignment: value.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            session_deadline_ms: None,
        }
    }

    /// What the member gave with a protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| &**name == protocol)
            .map_or_else(Bytes::new, |(_, m)| m.clone())
    }

    pub(crate) fn matches(&self, protocols: &[(Name, Bytes)]) -> bool {
        self.protocols == protocols
    }

    pub(crate) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    /// A parked request counts as a heartbeat, except the first join of a new member.
    pub(crate) fn is_heard(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// Copies protocols out of a request; of a name that is there twice the first counts.
pub(crate) fn own_protocols(protocols: &[Protocol<'_>]) -> Vec<(Name, Bytes)> {
    let mut seen = std::collections::BTreeSet::new();
    protocols
        .iter()
        .filter(|p| seen.insert(p.name))
        .map(|p| (Name::from(p.name), Bytes::copy_from_slice(p.metadata)))
        .collect()
}
