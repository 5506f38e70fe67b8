//! DescribeGroups and ListGroups.

use super::Shard;
use crate::Name;
use crate::api::{DescribedGroup, DescribedMember, GroupState, ListedGroup};
use crate::error::GroupError;

/// The first version of DescribeGroups that says of an absent group that it is absent (KIP-1043).
const SAYS_ABSENT: i16 = 6;
/// The type of the groups here, as ListGroups from version 5 states it.
const TYPE: &str = "classic";

impl Shard {
    /// DescribeGroups for one group.
    #[must_use]
    pub fn describe(&self, version: i16, group: &str) -> DescribedGroup {
        let Some(found) = self.groups.get(group) else {
            let says = version >= SAYS_ABSENT;
            return DescribedGroup {
                error: says.then_some(GroupError::GroupIdNotFound),
                error_message: says.then(|| format!("Group {group} not found.")),
                state: GroupState::Dead,
                protocol_type: Name::from(""),
                protocol: Name::from(""),
                members: Vec::new(),
            };
        };
        let stable = found.state == GroupState::Stable;
        let protocol = found.protocol.clone().filter(|_| stable).unwrap_or_else(|| Name::from(""));
        let members = found.members.values().map(|m| DescribedMember {
            member: m.id.clone(),
            instance: m.instance.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            metadata: m.metadata(&protocol),
            assignment: m.assignment.clone(),
        });
        DescribedGroup {
            error: None,
            error_message: None,
            state: found.state,
            protocol_type: found.protocol_type.clone().unwrap_or_else(|| Name::from("")),
            members: members.collect(),
            protocol,
        }
    }

    /// ListGroups. An empty filter lets everything through; states and types are compared without regard to case.
    #[must_use]
    pub fn list(&self, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
        if !types.is_empty() && !types.iter().any(|t| t.trim().eq_ignore_ascii_case(TYPE)) {
            return Vec::new();
        }
        let wanted = |state: GroupState| {
            states.is_empty() || states.iter().any(|s| s.trim().eq_ignore_ascii_case(state.as_str()))
        };
        self.groups
            .values()
            .filter(|g| wanted(g.state))
            .map(|g| ListedGroup {
                group: g.id.clone(),
                protocol_type: g.protocol_type.clone().unwrap_or_else(|| Name::from("")),
                state: g.state,
            })
            .collect()
    }
}
