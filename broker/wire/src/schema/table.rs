//! Requests of the broker listener in Kafka 4.1: versions and structure. Generated from the message definitions of
//! kafka-clients 4.1.2 by `cargo run -p tidegate-wire --example generate -- JAR`; do not edit.

use super::{BLOB, INT8, INT16, INT32, INT64, MAX, Request, TEXT, UUID, array, field, structure};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

#[rustfmt::skip]
pub static REQUESTS: &[Request] = &[
Request { key: 0, name: "Produce", min: 3, max: 13, flexible_from: Some(9), fields: &[
  field("TransactionalId", TEXT).versions(3, MAX).nullable(3, MAX),
  field("Acks", INT16),
  field("TimeoutMs", INT32),
  field("TopicData", array(&structure(&[
    field("Name", TEXT).versions(0, 12),
    field("TopicId", UUID).versions(13, MAX),
    field("PartitionData", array(&structure(&[
      field("Index", INT32),
      field("Records", BLOB).nullable(0, MAX),
    ]), size_of::<produce_request::PartitionProduceData>())),
  ]), size_of::<produce_request::TopicProduceData>())),
] },
Request { key: 1, name: "Fetch", min: 4, max: 18, flexible_from: Some(12), fields: &[
  field("ClusterId", TEXT).versions(12, MAX).nullable(12, MAX).tagged(0),
  field("ReplicaId", INT32).versions(0, 14),
  field("ReplicaState", structure(&[
    field("ReplicaId", INT32).versions(15, MAX),
    field("ReplicaEpoch", INT64).versions(15, MAX),
  ])).versions(15, MAX).tagged(1),
  field("MaxWaitMs", INT32),
  field("MinBytes", INT32),
  field("MaxBytes", INT32).versions(3, MAX),
  field("IsolationLevel", INT8).versions(4, MAX),
  field("SessionId", INT32).versions(7, MAX),
  field("SessionEpoch", INT32).versions(7, MAX),
  field("Topics", array(&structure(&[
    field("Topic", TEXT).versions(0, 12),
    field("TopicId", UUID).versions(13, MAX),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("CurrentLeaderEpoch", INT32).versions(9, MAX),
      field("FetchOffset", INT64),
      field("LastFetchedEpoch", INT32).versions(12, MAX),
      field("LogStartOffset", INT64).versions(5, MAX),
      field("PartitionMaxBytes", INT32),
      field("ReplicaDirectoryId", UUID).versions(17, MAX).tagged(0),
      field("HighWatermark", INT64).versions(18, MAX).tagged(1),
    ]), size_of::<fetch_request::FetchPartition>())),
  ]), size_of::<fetch_request::FetchTopic>())),
  field("ForgottenTopicsData", array(&structure(&[
    field("Topic", TEXT).versions(7, 12),
    field("TopicId", UUID).versions(13, MAX),
    field("Partitions", array(&INT32, size_of::<i32>())).versions(7, MAX),
  ]), size_of::<fetch_request::ForgottenTopic>())).versions(7, MAX),
  field("RackId", TEXT).versions(11, MAX),
] },
Request { key: 2, name: "ListOffsets", min: 1, max: 10, flexible_from: Some(6), fields: &[
  field("ReplicaId", INT32),
  field("IsolationLevel", INT8).versions(2, MAX),
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("CurrentLeaderEpoch", INT32).versions(4, MAX),
      field("Timestamp", INT64),
    ]), size_of::<list_offsets_request::ListOffsetsPartition>())),
  ]), size_of::<list_offsets_request::ListOffsetsTopic>())),
  field("TimeoutMs", INT32).versions(10, MAX),
] },
Request { key: 3, name: "Metadata", min: 0, max: 13, flexible_from: Some(9), fields: &[
  field("Topics", array(&structure(&[
    field("TopicId", UUID).versions(10, MAX),
    field("Name", TEXT).nullable(10, MAX),
  ]), size_of::<metadata_request::MetadataRequestTopic>())).nullable(1, MAX),
  field("AllowAutoTopicCreation", INT8).versions(4, MAX),
  field("IncludeClusterAuthorizedOperations", INT8).versions(8, 10),
  field("IncludeTopicAuthorizedOperations", INT8).versions(8, MAX),
] },
Request { key: 8, name: "OffsetCommit", min: 2, max: 9, flexible_from: Some(8), fields: &[
  field("GroupId", TEXT),
  field("GenerationIdOrMemberEpoch", INT32).versions(1, MAX),
  field("MemberId", TEXT).versions(1, MAX),
  field("GroupInstanceId", TEXT).versions(7, MAX).nullable(7, MAX),
  field("RetentionTimeMs", INT64).versions(2, 4),
  field("Topics", array(&structure(&[
    field("Name", TEXT).versions(0, MAX),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("CommittedOffset", INT64),
      field("CommittedLeaderEpoch", INT32).versions(6, MAX),
      field("CommittedMetadata", TEXT).nullable(0, MAX),
    ]), size_of::<offset_commit_request::OffsetCommitRequestPartition>())),
  ]), size_of::<offset_commit_request::OffsetCommitRequestTopic>())),
] },
Request { key: 9, name: "OffsetFetch", min: 1, max: 9, flexible_from: Some(6), fields: &[
  field("GroupId", TEXT).versions(0, 7),
  field("Topics", array(&structure(&[
    field("Name", TEXT).versions(0, 7),
    field("PartitionIndexes", array(&INT32, size_of::<i32>())).versions(0, 7),
  ]), size_of::<offset_fetch_request::OffsetFetchRequestTopic>())).versions(0, 7).nullable(2, 7),
  field("Groups", array(&structure(&[
    field("GroupId", TEXT).versions(8, MAX),
    field("MemberId", TEXT).versions(9, MAX).nullable(9, MAX),
    field("MemberEpoch", INT32).versions(9, MAX),
    field("Topics", array(&structure(&[
      field("Name", TEXT).versions(8, MAX),
      field("PartitionIndexes", array(&INT32, size_of::<i32>())).versions(8, MAX),
    ]), size_of::<offset_fetch_request::OffsetFetchRequestTopics>())).versions(8, MAX).nullable(8, MAX),
  ]), size_of::<offset_fetch_request::OffsetFetchRequestGroup>())).versions(8, MAX),
  field("RequireStable", INT8).versions(7, MAX),
] },
Request { key: 10, name: "FindCoordinator", min: 0, max: 6, flexible_from: Some(3), fields: &[
  field("Key", TEXT).versions(0, 3),
  field("KeyType", INT8).versions(1, MAX),
  field("CoordinatorKeys", array(&TEXT, size_of::<StrBytes>())).versions(4, MAX),
] },
Request { key: 11, name: "JoinGroup", min: 0, max: 9, flexible_from: Some(6), fields: &[
  field("GroupId", TEXT),
  field("SessionTimeoutMs", INT32),
  field("RebalanceTimeoutMs", INT32).versions(1, MAX),
  field("MemberId", TEXT),
  field("GroupInstanceId", TEXT).versions(5, MAX).nullable(5, MAX),
  field("ProtocolType", TEXT),
  field("Protocols", array(&structure(&[
    field("Name", TEXT),
    field("Metadata", BLOB),
  ]), size_of::<join_group_request::JoinGroupRequestProtocol>())),
  field("Reason", TEXT).versions(8, MAX).nullable(8, MAX),
] },
Request { key: 12, name: "Heartbeat", min: 0, max: 4, flexible_from: Some(4), fields: &[
  field("GroupId", TEXT),
  field("GenerationId", INT32),
  field("MemberId", TEXT),
  field("GroupInstanceId", TEXT).versions(3, MAX).nullable(3, MAX),
] },
Request { key: 13, name: "LeaveGroup", min: 0, max: 5, flexible_from: Some(4), fields: &[
  field("GroupId", TEXT),
  field("MemberId", TEXT).versions(0, 2),
  field("Members", array(&structure(&[
    field("MemberId", TEXT).versions(3, MAX),
    field("GroupInstanceId", TEXT).versions(3, MAX).nullable(3, MAX),
    field("Reason", TEXT).versions(5, MAX).nullable(5, MAX),
  ]), size_of::<leave_group_request::MemberIdentity>())).versions(3, MAX),
] },
Request { key: 14, name: "SyncGroup", min: 0, max: 5, flexible_from: Some(4), fields: &[
  field("GroupId", TEXT),
  field("GenerationId", INT32),
  field("MemberId", TEXT),
  field("GroupInstanceId", TEXT).versions(3, MAX).nullable(3, MAX),
  field("ProtocolType", TEXT).versions(5, MAX).nullable(5, MAX),
  field("ProtocolName", TEXT).versions(5, MAX).nullable(5, MAX),
  field("Assignments", array(&structure(&[
    field("MemberId", TEXT),
    field("Assignment", BLOB),
  ]), size_of::<sync_group_request::SyncGroupRequestAssignment>())),
] },
Request { key: 15, name: "DescribeGroups", min: 0, max: 6, flexible_from: Some(5), fields: &[
  field("Groups", array(&TEXT, size_of::<StrBytes>())),
  field("IncludeAuthorizedOperations", INT8).versions(3, MAX),
] },
Request { key: 16, name: "ListGroups", min: 0, max: 5, flexible_from: Some(3), fields: &[
  field("StatesFilter", array(&TEXT, size_of::<StrBytes>())).versions(4, MAX),
  field("TypesFilter", array(&TEXT, size_of::<StrBytes>())).versions(5, MAX),
] },
Request { key: 17, name: "SaslHandshake", min: 0, max: 1, flexible_from: None, fields: &[
  field("Mechanism", TEXT),
] },
Request { key: 18, name: "ApiVersions", min: 0, max: 4, flexible_from: Some(3), fields: &[
  field("ClientSoftwareName", TEXT).versions(3, MAX),
  field("ClientSoftwareVersion", TEXT).versions(3, MAX),
] },
Request { key: 19, name: "CreateTopics", min: 2, max: 7, flexible_from: Some(5), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("NumPartitions", INT32),
    field("ReplicationFactor", INT16),
    field("Assignments", array(&structure(&[
      field("PartitionIndex", INT32),
      field("BrokerIds", array(&INT32, size_of::<i32>())),
    ]), size_of::<create_topics_request::CreatableReplicaAssignment>())),
    field("Configs", array(&structure(&[
      field("Name", TEXT),
      field("Value", TEXT).nullable(0, MAX),
    ]), size_of::<create_topics_request::CreatableTopicConfig>())),
  ]), size_of::<create_topics_request::CreatableTopic>())),
  field("timeoutMs", INT32),
  field("validateOnly", INT8).versions(1, MAX),
] },
Request { key: 20, name: "DeleteTopics", min: 1, max: 6, flexible_from: Some(4), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT).versions(6, MAX).nullable(6, MAX),
    field("TopicId", UUID).versions(6, MAX),
  ]), size_of::<delete_topics_request::DeleteTopicState>())).versions(6, MAX),
  field("TopicNames", array(&TEXT, size_of::<StrBytes>())).versions(0, 5),
  field("TimeoutMs", INT32),
] },
Request { key: 21, name: "DeleteRecords", min: 0, max: 2, flexible_from: Some(2), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("Offset", INT64),
    ]), size_of::<delete_records_request::DeleteRecordsPartition>())),
  ]), size_of::<delete_records_request::DeleteRecordsTopic>())),
  field("TimeoutMs", INT32),
] },
Request { key: 22, name: "InitProducerId", min: 0, max: 5, flexible_from: Some(2), fields: &[
  field("TransactionalId", TEXT).nullable(0, MAX),
  field("TransactionTimeoutMs", INT32),
  field("ProducerId", INT64).versions(3, MAX),
  field("ProducerEpoch", INT16).versions(3, MAX),
] },
Request { key: 23, name: "OffsetForLeaderEpoch", min: 2, max: 4, flexible_from: Some(4), fields: &[
  field("ReplicaId", INT32).versions(3, MAX),
  field("Topics", array(&structure(&[
    field("Topic", TEXT),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("CurrentLeaderEpoch", INT32).versions(2, MAX),
      field("LeaderEpoch", INT32),
    ]), size_of::<offset_for_leader_epoch_request::OffsetForLeaderPartition>())),
  ]), size_of::<offset_for_leader_epoch_request::OffsetForLeaderTopic>())),
] },
Request { key: 24, name: "AddPartitionsToTxn", min: 0, max: 5, flexible_from: Some(3), fields: &[
  field("Transactions", array(&structure(&[
    field("TransactionalId", TEXT).versions(4, MAX),
    field("ProducerId", INT64).versions(4, MAX),
    field("ProducerEpoch", INT16).versions(4, MAX),
    field("VerifyOnly", INT8).versions(4, MAX),
    field("Topics", array(&structure(&[
      field("Name", TEXT),
      field("Partitions", array(&INT32, size_of::<i32>())),
    ]), size_of::<add_partitions_to_txn_request::AddPartitionsToTxnTopic>())).versions(4, MAX),
  ]), size_of::<add_partitions_to_txn_request::AddPartitionsToTxnTransaction>())).versions(4, MAX),
  field("V3AndBelowTransactionalId", TEXT).versions(0, 3),
  field("V3AndBelowProducerId", INT64).versions(0, 3),
  field("V3AndBelowProducerEpoch", INT16).versions(0, 3),
  field("V3AndBelowTopics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&INT32, size_of::<i32>())),
  ]), size_of::<add_partitions_to_txn_request::AddPartitionsToTxnTopic>())).versions(0, 3),
] },
Request { key: 25, name: "AddOffsetsToTxn", min: 0, max: 4, flexible_from: Some(3), fields: &[
  field("TransactionalId", TEXT),
  field("ProducerId", INT64),
  field("ProducerEpoch", INT16),
  field("GroupId", TEXT),
] },
Request { key: 26, name: "EndTxn", min: 0, max: 5, flexible_from: Some(3), fields: &[
  field("TransactionalId", TEXT),
  field("ProducerId", INT64),
  field("ProducerEpoch", INT16),
  field("Committed", INT8),
] },
Request { key: 27, name: "WriteTxnMarkers", min: 1, max: 1, flexible_from: Some(1), fields: &[
  field("Markers", array(&structure(&[
    field("ProducerId", INT64),
    field("ProducerEpoch", INT16),
    field("TransactionResult", INT8),
    field("Topics", array(&structure(&[
      field("Name", TEXT),
      field("PartitionIndexes", array(&INT32, size_of::<i32>())),
    ]), size_of::<write_txn_markers_request::WritableTxnMarkerTopic>())),
    field("CoordinatorEpoch", INT32),
  ]), size_of::<write_txn_markers_request::WritableTxnMarker>())),
] },
Request { key: 28, name: "TxnOffsetCommit", min: 0, max: 5, flexible_from: Some(3), fields: &[
  field("TransactionalId", TEXT),
  field("GroupId", TEXT),
  field("ProducerId", INT64),
  field("ProducerEpoch", INT16),
  field("GenerationId", INT32).versions(3, MAX),
  field("MemberId", TEXT).versions(3, MAX),
  field("GroupInstanceId", TEXT).versions(3, MAX).nullable(3, MAX),
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("CommittedOffset", INT64),
      field("CommittedLeaderEpoch", INT32).versions(2, MAX),
      field("CommittedMetadata", TEXT).nullable(0, MAX),
    ]), size_of::<txn_offset_commit_request::TxnOffsetCommitRequestPartition>())),
  ]), size_of::<txn_offset_commit_request::TxnOffsetCommitRequestTopic>())),
] },
Request { key: 29, name: "DescribeAcls", min: 1, max: 3, flexible_from: Some(2), fields: &[
  field("ResourceTypeFilter", INT8),
  field("ResourceNameFilter", TEXT).nullable(0, MAX),
  field("PatternTypeFilter", INT8).versions(1, MAX),
  field("PrincipalFilter", TEXT).nullable(0, MAX),
  field("HostFilter", TEXT).nullable(0, MAX),
  field("Operation", INT8),
  field("PermissionType", INT8),
] },
Request { key: 30, name: "CreateAcls", min: 1, max: 3, flexible_from: Some(2), fields: &[
  field("Creations", array(&structure(&[
    field("ResourceType", INT8),
    field("ResourceName", TEXT),
    field("ResourcePatternType", INT8).versions(1, MAX),
    field("Principal", TEXT),
    field("Host", TEXT),
    field("Operation", INT8),
    field("PermissionType", INT8),
  ]), size_of::<create_acls_request::AclCreation>())),
] },
Request { key: 31, name: "DeleteAcls", min: 1, max: 3, flexible_from: Some(2), fields: &[
  field("Filters", array(&structure(&[
    field("ResourceTypeFilter", INT8),
    field("ResourceNameFilter", TEXT).nullable(0, MAX),
    field("PatternTypeFilter", INT8).versions(1, MAX),
    field("PrincipalFilter", TEXT).nullable(0, MAX),
    field("HostFilter", TEXT).nullable(0, MAX),
    field("Operation", INT8),
    field("PermissionType", INT8),
  ]), size_of::<delete_acls_request::DeleteAclsFilter>())),
] },
Request { key: 32, name: "DescribeConfigs", min: 1, max: 4, flexible_from: Some(4), fields: &[
  field("Resources", array(&structure(&[
    field("ResourceType", INT8),
    field("ResourceName", TEXT),
    field("ConfigurationKeys", array(&TEXT, size_of::<StrBytes>())).nullable(0, MAX),
  ]), size_of::<describe_configs_request::DescribeConfigsResource>())),
  field("IncludeSynonyms", INT8).versions(1, MAX),
  field("IncludeDocumentation", INT8).versions(3, MAX),
] },
Request { key: 33, name: "AlterConfigs", min: 0, max: 2, flexible_from: Some(2), fields: &[
  field("Resources", array(&structure(&[
    field("ResourceType", INT8),
    field("ResourceName", TEXT),
    field("Configs", array(&structure(&[
      field("Name", TEXT),
      field("Value", TEXT).nullable(0, MAX),
    ]), size_of::<alter_configs_request::AlterableConfig>())),
  ]), size_of::<alter_configs_request::AlterConfigsResource>())),
  field("ValidateOnly", INT8),
] },
Request { key: 34, name: "AlterReplicaLogDirs", min: 1, max: 2, flexible_from: Some(2), fields: &[
  field("Dirs", array(&structure(&[
    field("Path", TEXT),
    field("Topics", array(&structure(&[
      field("Name", TEXT),
      field("Partitions", array(&INT32, size_of::<i32>())),
    ]), size_of::<alter_replica_log_dirs_request::AlterReplicaLogDirTopic>())),
  ]), size_of::<alter_replica_log_dirs_request::AlterReplicaLogDir>())),
] },
Request { key: 35, name: "DescribeLogDirs", min: 1, max: 4, flexible_from: Some(2), fields: &[
  field("Topics", array(&structure(&[
    field("Topic", TEXT),
    field("Partitions", array(&INT32, size_of::<i32>())),
  ]), size_of::<describe_log_dirs_request::DescribableLogDirTopic>())).nullable(0, MAX),
] },
Request { key: 36, name: "SaslAuthenticate", min: 0, max: 2, flexible_from: Some(2), fields: &[
  field("AuthBytes", BLOB),
] },
Request { key: 37, name: "CreatePartitions", min: 0, max: 3, flexible_from: Some(2), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Count", INT32),
    field("Assignments", array(&structure(&[
      field("BrokerIds", array(&INT32, size_of::<i32>())),
    ]), size_of::<create_partitions_request::CreatePartitionsAssignment>())).nullable(0, MAX),
  ]), size_of::<create_partitions_request::CreatePartitionsTopic>())),
  field("TimeoutMs", INT32),
  field("ValidateOnly", INT8),
] },
Request { key: 38, name: "CreateDelegationToken", min: 1, max: 3, flexible_from: Some(2), fields: &[
  field("OwnerPrincipalType", TEXT).versions(3, MAX).nullable(3, MAX),
  field("OwnerPrincipalName", TEXT).versions(3, MAX).nullable(3, MAX),
  field("Renewers", array(&structure(&[
    field("PrincipalType", TEXT),
    field("PrincipalName", TEXT),
  ]), size_of::<create_delegation_token_request::CreatableRenewers>())),
  field("MaxLifetimeMs", INT64),
] },
Request { key: 39, name: "RenewDelegationToken", min: 1, max: 2, flexible_from: Some(2), fields: &[
  field("Hmac", BLOB),
  field("RenewPeriodMs", INT64),
] },
Request { key: 40, name: "ExpireDelegationToken", min: 1, max: 2, flexible_from: Some(2), fields: &[
  field("Hmac", BLOB),
  field("ExpiryTimePeriodMs", INT64),
] },
Request { key: 41, name: "DescribeDelegationToken", min: 1, max: 3, flexible_from: Some(2), fields: &[
  field("Owners", array(&structure(&[
    field("PrincipalType", TEXT),
    field("PrincipalName", TEXT),
  ]), size_of::<describe_delegation_token_request::DescribeDelegationTokenOwner>())).nullable(0, MAX),
] },
Request { key: 42, name: "DeleteGroups", min: 0, max: 2, flexible_from: Some(2), fields: &[
  field("GroupsNames", array(&TEXT, size_of::<StrBytes>())),
] },
Request { key: 43, name: "ElectLeaders", min: 0, max: 2, flexible_from: Some(2), fields: &[
  field("ElectionType", INT8).versions(1, MAX),
  field("TopicPartitions", array(&structure(&[
    field("Topic", TEXT),
    field("Partitions", array(&INT32, size_of::<i32>())),
  ]), size_of::<elect_leaders_request::TopicPartitions>())).nullable(0, MAX),
  field("TimeoutMs", INT32),
] },
Request { key: 44, name: "IncrementalAlterConfigs", min: 0, max: 1, flexible_from: Some(1), fields: &[
  field("Resources", array(&structure(&[
    field("ResourceType", INT8),
    field("ResourceName", TEXT),
    field("Configs", array(&structure(&[
      field("Name", TEXT),
      field("ConfigOperation", INT8),
      field("Value", TEXT).nullable(0, MAX),
    ]), size_of::<incremental_alter_configs_request::AlterableConfig>())),
  ]), size_of::<incremental_alter_configs_request::AlterConfigsResource>())),
  field("ValidateOnly", INT8),
] },
Request { key: 45, name: "AlterPartitionReassignments", min: 0, max: 1, flexible_from: Some(0), fields: &[
  field("TimeoutMs", INT32),
  field("AllowReplicationFactorChange", INT8).versions(1, MAX),
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("Replicas", array(&INT32, size_of::<i32>())).nullable(0, MAX),
    ]), size_of::<alter_partition_reassignments_request::ReassignablePartition>())),
  ]), size_of::<alter_partition_reassignments_request::ReassignableTopic>())),
] },
Request { key: 46, name: "ListPartitionReassignments", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("TimeoutMs", INT32),
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("PartitionIndexes", array(&INT32, size_of::<i32>())),
  ]), size_of::<list_partition_reassignments_request::ListPartitionReassignmentsTopics>())).nullable(0, MAX),
] },
Request { key: 47, name: "OffsetDelete", min: 0, max: 0, flexible_from: None, fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
    ]), size_of::<offset_delete_request::OffsetDeleteRequestPartition>())),
  ]), size_of::<offset_delete_request::OffsetDeleteRequestTopic>())),
] },
Request { key: 48, name: "DescribeClientQuotas", min: 0, max: 1, flexible_from: Some(1), fields: &[
  field("Components", array(&structure(&[
    field("EntityType", TEXT),
    field("MatchType", INT8),
    field("Match", TEXT).nullable(0, MAX),
  ]), size_of::<describe_client_quotas_request::ComponentData>())),
  field("Strict", INT8),
] },
Request { key: 49, name: "AlterClientQuotas", min: 0, max: 1, flexible_from: Some(1), fields: &[
  field("Entries", array(&structure(&[
    field("Entity", array(&structure(&[
      field("EntityType", TEXT),
      field("EntityName", TEXT).nullable(0, MAX),
    ]), size_of::<alter_client_quotas_request::EntityData>())),
    field("Ops", array(&structure(&[
      field("Key", TEXT),
      field("Value", INT64),
      field("Remove", INT8),
    ]), size_of::<alter_client_quotas_request::OpData>())),
  ]), size_of::<alter_client_quotas_request::EntryData>())),
  field("ValidateOnly", INT8),
] },
Request { key: 50, name: "DescribeUserScramCredentials", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("Users", array(&structure(&[
    field("Name", TEXT),
  ]), size_of::<describe_user_scram_credentials_request::UserName>())).nullable(0, MAX),
] },
Request { key: 51, name: "AlterUserScramCredentials", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("Deletions", array(&structure(&[
    field("Name", TEXT),
    field("Mechanism", INT8),
  ]), size_of::<alter_user_scram_credentials_request::ScramCredentialDeletion>())),
  field("Upsertions", array(&structure(&[
    field("Name", TEXT),
    field("Mechanism", INT8),
    field("Iterations", INT32),
    field("Salt", BLOB),
    field("SaltedPassword", BLOB),
  ]), size_of::<alter_user_scram_credentials_request::ScramCredentialUpsertion>())),
] },
Request { key: 55, name: "DescribeQuorum", min: 0, max: 2, flexible_from: Some(0), fields: &[
  field("Topics", array(&structure(&[
    field("TopicName", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
    ]), size_of::<describe_quorum_request::PartitionData>())),
  ]), size_of::<describe_quorum_request::TopicData>())),
] },
Request { key: 57, name: "UpdateFeatures", min: 0, max: 2, flexible_from: Some(0), fields: &[
  field("timeoutMs", INT32),
  field("FeatureUpdates", array(&structure(&[
    field("Feature", TEXT),
    field("MaxVersionLevel", INT16),
    field("AllowDowngrade", INT8).versions(0, 0),
    field("UpgradeType", INT8).versions(1, MAX),
  ]), size_of::<update_features_request::FeatureUpdateKey>())),
  field("ValidateOnly", INT8).versions(1, MAX),
] },
Request { key: 60, name: "DescribeCluster", min: 0, max: 2, flexible_from: Some(0), fields: &[
  field("IncludeClusterAuthorizedOperations", INT8),
  field("EndpointType", INT8).versions(1, MAX),
  field("IncludeFencedBrokers", INT8).versions(2, MAX),
] },
Request { key: 61, name: "DescribeProducers", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT),
    field("PartitionIndexes", array(&INT32, size_of::<i32>())),
  ]), size_of::<describe_producers_request::TopicRequest>())),
] },
Request { key: 64, name: "UnregisterBroker", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("BrokerId", INT32),
] },
Request { key: 65, name: "DescribeTransactions", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("TransactionalIds", array(&TEXT, size_of::<StrBytes>())),
] },
Request { key: 66, name: "ListTransactions", min: 0, max: 2, flexible_from: Some(0), fields: &[
  field("StateFilters", array(&TEXT, size_of::<StrBytes>())),
  field("ProducerIdFilters", array(&INT64, size_of::<i64>())),
  field("DurationFilter", INT64).versions(1, MAX),
  field("TransactionalIdPattern", TEXT).versions(2, MAX).nullable(2, MAX),
] },
Request { key: 68, name: "ConsumerGroupHeartbeat", min: 0, max: 1, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("MemberId", TEXT),
  field("MemberEpoch", INT32),
  field("InstanceId", TEXT).nullable(0, MAX),
  field("RackId", TEXT).nullable(0, MAX),
  field("RebalanceTimeoutMs", INT32),
  field("SubscribedTopicNames", array(&TEXT, size_of::<StrBytes>())).nullable(0, MAX),
  field("SubscribedTopicRegex", TEXT).versions(1, MAX).nullable(1, MAX),
  field("ServerAssignor", TEXT).nullable(0, MAX),
  field("TopicPartitions", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&INT32, size_of::<i32>())),
  ]), size_of::<consumer_group_heartbeat_request::TopicPartitions>())).nullable(0, MAX),
] },
Request { key: 69, name: "ConsumerGroupDescribe", min: 0, max: 1, flexible_from: Some(0), fields: &[
  field("GroupIds", array(&TEXT, size_of::<StrBytes>())),
  field("IncludeAuthorizedOperations", INT8),
] },
Request { key: 71, name: "GetTelemetrySubscriptions", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("ClientInstanceId", UUID),
] },
Request { key: 72, name: "PushTelemetry", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("ClientInstanceId", UUID),
  field("SubscriptionId", INT32),
  field("Terminating", INT8),
  field("CompressionType", INT8),
  field("Metrics", BLOB),
] },
Request { key: 74, name: "ListConfigResources", min: 0, max: 1, flexible_from: Some(0), fields: &[
  field("ResourceTypes", array(&INT8, size_of::<i8>())).versions(1, MAX),
] },
Request { key: 75, name: "DescribeTopicPartitions", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("Topics", array(&structure(&[
    field("Name", TEXT),
  ]), size_of::<describe_topic_partitions_request::TopicRequest>())),
  field("ResponsePartitionLimit", INT32),
  field("Cursor", structure(&[
    field("TopicName", TEXT),
    field("PartitionIndex", INT32),
  ])).nullable(0, MAX),
] },
Request { key: 76, name: "ShareGroupHeartbeat", min: 1, max: 1, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("MemberId", TEXT),
  field("MemberEpoch", INT32),
  field("RackId", TEXT).nullable(0, MAX),
  field("SubscribedTopicNames", array(&TEXT, size_of::<StrBytes>())).nullable(0, MAX),
] },
Request { key: 77, name: "ShareGroupDescribe", min: 1, max: 1, flexible_from: Some(0), fields: &[
  field("GroupIds", array(&TEXT, size_of::<StrBytes>())),
  field("IncludeAuthorizedOperations", INT8),
] },
Request { key: 78, name: "ShareFetch", min: 1, max: 1, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT).nullable(0, MAX),
  field("MemberId", TEXT).nullable(0, MAX),
  field("ShareSessionEpoch", INT32),
  field("MaxWaitMs", INT32),
  field("MinBytes", INT32),
  field("MaxBytes", INT32),
  field("MaxRecords", INT32).versions(1, MAX),
  field("BatchSize", INT32).versions(1, MAX),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("PartitionMaxBytes", INT32).versions(0, 0),
      field("AcknowledgementBatches", array(&structure(&[
        field("FirstOffset", INT64),
        field("LastOffset", INT64),
        field("AcknowledgeTypes", array(&INT8, size_of::<i8>())),
      ]), size_of::<share_fetch_request::AcknowledgementBatch>())),
    ]), size_of::<share_fetch_request::FetchPartition>())),
  ]), size_of::<share_fetch_request::FetchTopic>())),
  field("ForgottenTopicsData", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&INT32, size_of::<i32>())),
  ]), size_of::<share_fetch_request::ForgottenTopic>())),
] },
Request { key: 79, name: "ShareAcknowledge", min: 1, max: 1, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT).nullable(0, MAX),
  field("MemberId", TEXT).nullable(0, MAX),
  field("ShareSessionEpoch", INT32),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("AcknowledgementBatches", array(&structure(&[
        field("FirstOffset", INT64),
        field("LastOffset", INT64),
        field("AcknowledgeTypes", array(&INT8, size_of::<i8>())),
      ]), size_of::<share_acknowledge_request::AcknowledgementBatch>())),
    ]), size_of::<share_acknowledge_request::AcknowledgePartition>())),
  ]), size_of::<share_acknowledge_request::AcknowledgeTopic>())),
] },
Request { key: 80, name: "AddRaftVoter", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("ClusterId", TEXT).nullable(0, MAX),
  field("TimeoutMs", INT32),
  field("VoterId", INT32),
  field("VoterDirectoryId", UUID),
  field("Listeners", array(&structure(&[
    field("Name", TEXT),
    field("Host", TEXT),
    field("Port", INT16),
  ]), size_of::<add_raft_voter_request::Listener>())),
] },
Request { key: 81, name: "RemoveRaftVoter", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("ClusterId", TEXT).nullable(0, MAX),
  field("VoterId", INT32),
  field("VoterDirectoryId", UUID),
] },
Request { key: 83, name: "InitializeShareGroupState", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("StateEpoch", INT32),
      field("StartOffset", INT64),
    ]), size_of::<initialize_share_group_state_request::PartitionData>())),
  ]), size_of::<initialize_share_group_state_request::InitializeStateData>())),
] },
Request { key: 84, name: "ReadShareGroupState", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("LeaderEpoch", INT32),
    ]), size_of::<read_share_group_state_request::PartitionData>())),
  ]), size_of::<read_share_group_state_request::ReadStateData>())),
] },
Request { key: 85, name: "WriteShareGroupState", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("StateEpoch", INT32),
      field("LeaderEpoch", INT32),
      field("StartOffset", INT64),
      field("StateBatches", array(&structure(&[
        field("FirstOffset", INT64),
        field("LastOffset", INT64),
        field("DeliveryState", INT8),
        field("DeliveryCount", INT16),
      ]), size_of::<write_share_group_state_request::StateBatch>())),
    ]), size_of::<write_share_group_state_request::PartitionData>())),
  ]), size_of::<write_share_group_state_request::WriteStateData>())),
] },
Request { key: 86, name: "DeleteShareGroupState", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
    ]), size_of::<delete_share_group_state_request::PartitionData>())),
  ]), size_of::<delete_share_group_state_request::DeleteStateData>())),
] },
Request { key: 87, name: "ReadShareGroupStateSummary", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicId", UUID),
    field("Partitions", array(&structure(&[
      field("Partition", INT32),
      field("LeaderEpoch", INT32),
    ]), size_of::<read_share_group_state_summary_request::PartitionData>())),
  ]), size_of::<read_share_group_state_summary_request::ReadStateSummaryData>())),
] },
Request { key: 90, name: "DescribeShareGroupOffsets", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("Groups", array(&structure(&[
    field("GroupId", TEXT),
    field("Topics", array(&structure(&[
      field("TopicName", TEXT),
      field("Partitions", array(&INT32, size_of::<i32>())),
    ]), size_of::<describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic>())).nullable(0, MAX),
  ]), size_of::<describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup>())),
] },
Request { key: 91, name: "AlterShareGroupOffsets", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicName", TEXT),
    field("Partitions", array(&structure(&[
      field("PartitionIndex", INT32),
      field("StartOffset", INT64),
    ]), size_of::<alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition>())),
  ]), size_of::<alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic>())),
] },
Request { key: 92, name: "DeleteShareGroupOffsets", min: 0, max: 0, flexible_from: Some(0), fields: &[
  field("GroupId", TEXT),
  field("Topics", array(&structure(&[
    field("TopicName", TEXT),
  ]), size_of::<delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic>())),
] },
];
// crc32c bae5bc82
