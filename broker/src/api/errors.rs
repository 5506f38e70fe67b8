//! The one mapping to Kafka error codes.
//!
//! Owns: the codes this surface gives, by Kafka's own names (`Errors.java`).
//! Never: decides which error applies.

use tidegate_metadata::{ProposeError, Refusal};

macro_rules! codes {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// A Kafka error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(i16)]
        pub enum Code { $($name = $code),* }

        impl Code {
            /// The code of this number, if this surface gives it.
            #[must_use]
            pub fn from_i16(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    UnknownServerError = -1,
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    UnknownTopicOrPartition = 3,
    LeaderNotAvailable = 5,
    NotLeaderOrFollower = 6,
    RequestTimedOut = 7,
    MessageTooLarge = 10,
    OffsetMetadataTooLarge = 12,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    InvalidTopicException = 17,
    NotEnoughReplicas = 19,
    InvalidRequiredAcks = 21,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    InvalidCommitOffsetSize = 28,
    InvalidTimestamp = 32,
    UnsupportedVersion = 35,
    TopicAlreadyExists = 36,
    InvalidPartitions = 37,
    InvalidReplicationFactor = 38,
    InvalidReplicaAssignment = 39,
    InvalidConfig = 40,
    InvalidRequest = 42,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    InvalidProducerIdMapping = 49,
    TransactionalIdAuthorizationFailed = 53,
    SecurityDisabled = 54,
    KafkaStorageError = 56,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    ListenerNotFound = 72,
    TopicDeletionDisabled = 73,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    OffsetNotAvailable = 78,
    MemberIdRequired = 79,
    PreferredLeaderNotAvailable = 80,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    EligibleLeadersNotAvailable = 83,
    ElectionNotNeeded = 84,
    GroupSubscribedToTopic = 86,
    InvalidRecord = 87,
    UnknownTopicId = 100,
    InconsistentTopicId = 103,
    FetchSessionTopicIdError = 106,
    MismatchedEndpointType = 114,
    UnsupportedEndpointType = 115,
}

impl From<Code> for i16 {
    fn from(code: Code) -> i16 {
        code as i16
    }
}

/// Why the metadata quorum did not do what was asked.
#[must_use]
pub fn of_proposal(error: &ProposeError) -> Code {
    match error {
        ProposeError::Refused(refusal) => of_refusal(refusal),
        ProposeError::NoSpace(_) => Code::KafkaStorageError,
        ProposeError::TooLarge { .. } => Code::PolicyViolation,
        // Retriable for every client; whether the entry was accepted shows in the next Metadata answer.
        ProposeError::NoLeader | ProposeError::Unknown(_) | ProposeError::Closed => Code::RequestTimedOut,
    }
}

#[must_use]
pub fn of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::InvalidTopicName { .. } | Refusal::TopicNameCollides { .. } => Code::InvalidTopicException,
        Refusal::TopicExists(_) => Code::TopicAlreadyExists,
        Refusal::UnknownTopic(_) | Refusal::UnknownStream(_) => Code::UnknownTopicOrPartition,
        Refusal::InvalidPartitions { .. } => Code::InvalidPartitions,
        Refusal::InvalidReplicationFactor(_) => Code::InvalidReplicationFactor,
        Refusal::InvalidAssignment { .. } | Refusal::BrokerUnavailable(_) => Code::InvalidReplicaAssignment,
        Refusal::NotOwner { .. } | Refusal::Fenced(_) => Code::NotLeaderOrFollower,
        Refusal::TooMany { .. } => Code::PolicyViolation,
        Refusal::Malformed(_) => Code::InvalidRequest,
        // What follows concerns brokers and storage; a client's request never meets it unless there is a bug.
        Refusal::Uninitialized
        | Refusal::OtherCluster { .. }
        | Refusal::UnknownWal(_)
        | Refusal::WalInUse { .. }
        | Refusal::WalNotSealed { .. }
        | Refusal::WalNotTrimmed(_)
        | Refusal::SealBelowTrim { .. }
        | Refusal::TopicIdTaken(_)
        | Refusal::ConfigVersion { .. }
        | Refusal::EpochsExhausted(_)
        | Refusal::NotPrepared(_)
        | Refusal::NotAtCommittedEnd { .. }
        | Refusal::InputGone(_)
        | Refusal::NotCovered { .. }
        | Refusal::Overlap { .. } => Code::UnknownServerError,
    }
}
