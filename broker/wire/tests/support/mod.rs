//! Requests of every kind and version, made from the schema: valid ones by chance, and ones with a single lie.

#![allow(dead_code, reason = "each test target uses its part")]

use std::fmt::Debug;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::{HeaderVersion, Message};
use tidegate_wire::schema::{Field, Kind, REQUESTS, Request};

/// What a test does with each request type.
pub trait Visitor {
    fn visit<T>(&mut self)
    where
        T: kafka_protocol::protocol::Request + Message + HeaderVersion + PartialEq + Debug + Default;
}

macro_rules! requests {
    ($($key:literal $type:ident),* $(,)?) => {
        pub const KEYS: &[i16] = &[$($key),*];

        /// Calls the visitor with the type of that key.
        pub fn visit(key: i16, visitor: &mut impl Visitor) {
            match key {
                $($key => visitor.visit::<$type>(),)*
                _ => panic!("no type for key {key}"),
            }
        }
    };
}

#[rustfmt::skip]
requests! {
    0 ProduceRequest, 1 FetchRequest, 2 ListOffsetsRequest, 3 MetadataRequest, 8 OffsetCommitRequest,
    9 OffsetFetchRequest, 10 FindCoordinatorRequest, 11 JoinGroupRequest, 12 HeartbeatRequest,
    13 LeaveGroupRequest, 14 SyncGroupRequest, 15 DescribeGroupsRequest, 16 ListGroupsRequest,
    17 SaslHandshakeRequest, 18 ApiVersionsRequest, 19 CreateTopicsRequest, 20 DeleteTopicsRequest,
    21 DeleteRecordsRequest, 22 InitProducerIdRequest, 23 OffsetForLeaderEpochRequest,
    24 AddPartitionsToTxnRequest, 25 AddOffsetsToTxnRequest, 26 EndTxnRequest, 27 WriteTxnMarkersRequest,
    28 TxnOffsetCommitRequest, 29 DescribeAclsRequest, 30 CreateAclsRequest, 31 DeleteAclsRequest,
    32 DescribeConfigsRequest, 33 AlterConfigsRequest, 34 AlterReplicaLogDirsRequest,
    35 DescribeLogDirsRequest, 36 SaslAuthenticateRequest, 37 CreatePartitionsRequest,
    38 CreateDelegationTokenRequest, 39 RenewDelegationTokenRequest, 40 ExpireDelegationTokenRequest,
    41 DescribeDelegationTokenRequest, 42 DeleteGroupsRequest, 43 ElectLeadersRequest,
    44 IncrementalAlterConfigsRequest, 45 AlterPartitionReassignmentsRequest,
    46 ListPartitionReassignmentsRequest, 47 OffsetDeleteRequest, 48 DescribeClientQuotasRequest,
    49 AlterClientQuotasRequest, 50 DescribeUserScramCredentialsRequest, 51 AlterUserScramCredentialsRequest,
    55 DescribeQuorumRequest, 57 UpdateFeaturesRequest, 60 DescribeClusterRequest,
    61 DescribeProducersRequest, 64 UnregisterBrokerRequest, 65 DescribeTransactionsRequest,
    66 ListTransactionsRequest, 68 ConsumerGroupHeartbeatRequest, 69 ConsumerGroupDescribeRequest,
    71 GetTelemetrySubscriptionsRequest, 72 PushTelemetryRequest, 74 ListConfigResourcesRequest,
    75 DescribeTopicPartitionsRequest, 76 ShareGroupHeartbeatRequest, 77 ShareGroupDescribeRequest,
    78 ShareFetchRequest, 79 ShareAcknowledgeRequest, 80 AddRaftVoterRequest, 81 RemoveRaftVoterRequest,
    83 InitializeShareGroupStateRequest, 84 ReadShareGroupStateRequest, 85 WriteShareGroupStateRequest,
    86 DeleteShareGroupStateRequest, 87 ReadShareGroupStateSummaryRequest,
    90 DescribeShareGroupOffsetsRequest, 91 AlterShareGroupOffsetsRequest, 92 DeleteShareGroupOffsetsRequest,
}

/// Every key and version of the table.
pub fn all() -> impl Iterator<Item = (&'static Request, i16)> {
    REQUESTS.iter().flat_map(|r| (r.min..=r.max).map(move |v| (r, v)))
}

/// A seeded source of numbers (splitmix64): the tests are the same on every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A valid body with random content.
pub fn random_body(request: &'static Request, version: i16, dice: &mut Dice) -> Vec<u8> {
    let flexible = request.is_flexible_in(version);
    let mut writer = Writer { out: Vec::new(), version, flexible, plan: Plan::Random(dice) };
    writer.fields(request.fields);
    writer.out
}

/// A body of least size, but for the array at place `array` (counted in wire order), which has `count` elements, and
/// `tags` unknown tagged fields in its outermost struct. `None` if there are fewer arrays.
pub fn crowded_body(
    request: &'static Request,
    version: i16,
    array: usize,
    count: usize,
    tags: usize,
) -> Option<Vec<u8>> {
    let flexible = request.is_flexible_in(version);
    let plan = Plan::Crowded { arrays: 0, array, count };
    let mut writer = Writer { out: Vec::new(), version, flexible, plan };
    writer.fields(request.fields);
    let found = matches!(writer.plan, Plan::Crowded { arrays, .. } if arrays > array);
    let mut out = writer.out;
    if flexible && tags > 0 {
        assert_eq!(out.pop(), Some(0), "the outermost struct has no tags yet");
        put_varint(&mut out, tags as u32);
        for tag in 0..tags as u32 {
            put_varint(&mut out, 1000 + tag);
            out.push(0);
        }
    }
    found.then_some(out)
}

/// Calls `each` with bodies that are valid up to one length or count, which lies.
pub fn lying_bodies(request: &'static Request, version: i16, each: &mut dyn FnMut(&[u8])) {
    let flexible = request.is_flexible_in(version);
    let mut writer = Writer { out: Vec::new(), version, flexible, plan: Plan::Lying(each) };
    writer.fields(request.fields);
    let mut whole = writer.out;
    if let Plan::Lying(each) = writer.plan {
        each(&whole);
        whole.push(0);
        each(&whole);
    }
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

enum Plan<'a> {
    Random(&'a mut Dice),
    Crowded { arrays: usize, array: usize, count: usize },
    Lying(&'a mut dyn FnMut(&[u8])),
}

struct Writer<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    plan: Plan<'a>,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &'static [Field]) {
        for field in fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(&field.kind, field.is_nullable_in(self.version));
            }
        }
        if self.flexible {
            self.tags(fields);
        }
    }

    fn value(&mut self, kind: &'static Kind, nullable: bool) {
        if nullable && self.flip(4) {
            return self.null(kind);
        }
        match kind {
            Kind::Fixed(n) => match &mut self.plan {
                Plan::Random(dice) => self.out.extend(dice.bytes(*n)),
                _ => self.out.resize(self.out.len() + n, 0),
            },
            Kind::Text => {
                let n = self.small(12);
                self.length(2, n);
                for _ in 0..n {
                    let letter = b'a' + self.small(26) as u8;
                    self.out.push(letter);
                }
            }
            Kind::Blob => {
                let n = self.small(200);
                self.length(4, n);
                self.out.resize(self.out.len() + n, 7);
            }
            Kind::Struct(fields) => {
                if nullable {
                    self.out.push(1);
                }
                self.fields(fields);
            }
            Kind::Array { element, .. } => {
                let n = self.count();
                self.length(4, n);
                for _ in 0..n {
                    self.value(element, false);
                }
            }
        }
    }

    fn null(&mut self, kind: &'static Kind) {
        match kind {
            Kind::Struct(_) => self.out.push(0xff),
            _ if self.flexible => self.out.push(0),
            Kind::Text => self.out.extend([0xff; 2]),
            _ => self.out.extend([0xff; 4]),
        }
    }

    fn count(&mut self) -> usize {
        match &mut self.plan {
            Plan::Random(dice) => dice.below(4),
            Plan::Lying(_) => 1,
            Plan::Crowded { arrays, array, count } => {
                *arrays += 1;
                match (*arrays - 1).cmp(array) {
                    std::cmp::Ordering::Less => 1,
                    std::cmp::Ordering::Equal => *count,
                    std::cmp::Ordering::Greater => 0,
                }
            }
        }
    }

    fn small(&mut self, below: usize) -> usize {
        match &mut self.plan {
            Plan::Random(dice) => dice.below(below),
            _ => 0,
        }
    }

    fn flip(&mut self, one_in: usize) -> bool {
        match &mut self.plan {
            Plan::Random(dice) => dice.below(one_in) == 0,
            _ => false,
        }
    }

    fn length(&mut self, width: usize, n: usize) {
        if let Plan::Lying(each) = &mut self.plan {
            for lie in lies(self.flexible, width, n) {
                for filler in [&[][..], &[0; 100], &[1; 100], &[0xff; 100]] {
                    each(&[&self.out[..], &lie, filler].concat());
                }
            }
        }
        if self.flexible {
            put_varint(&mut self.out, n as u32 + 1);
        } else if width == 2 {
            self.out.extend((n as u16).to_be_bytes());
        } else {
            self.out.extend((n as u32).to_be_bytes());
        }
    }

    fn tags(&mut self, fields: &'static [Field]) {
        let known: Vec<_> = fields.iter().filter(|f| f.tag.is_some() && f.is_in(self.version)).collect();
        let known: Vec<_> = known.into_iter().filter(|_| self.flip(2)).collect();
        let unknown = if self.flip(8) { self.small(4) } else { 0 };
        if let Plan::Lying(each) = &mut self.plan {
            for lie in [
                &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
                &[0x80; 6],
                &[50],
                &[1, 99, 0xff, 0xff, 0x7f],
                &[2, 9, 0, 9, 0],
            ] {
                for filler in [&[][..], &[0; 100], &[1; 100]] {
                    each(&[&self.out[..], lie, filler].concat());
                }
            }
        }
        put_varint(&mut self.out, (known.len() + unknown) as u32);
        for field in known {
            put_varint(&mut self.out, field.tag.expect("filtered"));
            let outer = std::mem::take(&mut self.out);
            self.value(&field.kind, field.is_nullable_in(self.version));
            let value = std::mem::replace(&mut self.out, outer);
            put_varint(&mut self.out, value.len() as u32);
            self.out.extend(value);
        }
        for tag in 0..unknown {
            let n = self.small(9);
            put_varint(&mut self.out, 1000 + tag as u32);
            put_varint(&mut self.out, n as u32);
            self.out.resize(self.out.len() + n, 3);
        }
    }
}

fn lies(flexible: bool, width: usize, n: usize) -> Vec<Vec<u8>> {
    let values = [i32::MAX, 1 << 24, 100_000, 32_767, 101, -2, i32::MIN, n as i32 + 1];
    let mut out: Vec<Vec<u8>> = values
        .iter()
        .map(|&v| {
            let mut bytes = Vec::new();
            match (flexible, width) {
                (true, _) => put_varint(&mut bytes, v as u32),
                (false, 2) => bytes.extend((v.clamp(-32_768, 32_767) as i16).to_be_bytes()),
                (false, _) => bytes.extend(v.to_be_bytes()),
            }
            bytes
        })
        .collect();
    if flexible {
        out.extend([vec![0xff; 5], vec![0x80; 11], vec![0xff, 0xff, 0xff, 0xff, 0x0f], vec![0]]);
    }
    out
}
