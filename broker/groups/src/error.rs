//! Why a request about a group is refused, with Kafka's error codes.

use thiserror::Error;

#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum GroupError {
    #[error("the server met an unexpected error")]
    UnknownServerError,
    #[error("this topic or partition does not exist")]
    UnknownTopicOrPartition,
    #[error("the metadata of a committed offset is too large")]
    OffsetMetadataTooLarge,
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    #[error("the member's protocols do not fit those of the group")]
    InconsistentGroupProtocol,
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the coordinator does not know this member")]
    UnknownMemberId,
    #[error(
        "the session timeout is not within group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the request is not valid")]
    InvalidRequest,
    #[error("the group is not empty")]
    NonEmptyGroup,
    #[error("the group does not exist")]
    GroupIdNotFound,
    #[error("the member is to join again with the id it was given")]
    MemberIdRequired,
    #[error("the group has as many members as group.max.size allows")]
    GroupMaxSizeReached,
    #[error("another member has taken this group.instance.id")]
    FencedInstanceId,
    #[error("the group is subscribed to this topic")]
    GroupSubscribedToTopic,
}

impl GroupError {
    /// Kafka's error code.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            GroupError::UnknownServerError => -1,
            GroupError::UnknownTopicOrPartition => 3,
            GroupError::OffsetMetadataTooLarge => 12,
            GroupError::IllegalGeneration => 22,
            GroupError::InconsistentGroupProtocol => 23,
            GroupError::InvalidGroupId => 24,
            GroupError::UnknownMemberId => 25,
            GroupError::InvalidSessionTimeout => 26,
            GroupError::RebalanceInProgress => 27,
            GroupError::InvalidRequest => 42,
            GroupError::NonEmptyGroup => 68,
            GroupError::GroupIdNotFound => 69,
            GroupError::MemberIdRequired => 79,
            GroupError::GroupMaxSizeReached => 81,
            GroupError::FencedInstanceId => 82,
            GroupError::GroupSubscribedToTopic => 86,
        }
    }
}
