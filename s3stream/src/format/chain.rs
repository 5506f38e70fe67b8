//! The content chain of one stream: `H' = BLAKE3(H ‖ base ‖ last ‖ leader epoch ‖ length ‖ batch CRC)`.
//!
//! Layout of the input: `H 32 bytes, base i64, last i64, leader epoch i32, batch length i32, batch CRC u32`,
//! big-endian. The chain of an empty stream is 32 zero bytes.
//! Invariants: equal chains mean equal heads in these fields, in order, from the start of the stream; the batch
//! CRC covers the rest of each batch. Never: reads a body.

use tidegate_common::BatchHead;

#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// Before the first batch of a stream.
    pub const START: Chain = Chain([0; 32]);

    #[must_use]
    pub fn next(&self, head: &BatchHead) -> Chain {
        let mut input = [0; 60];
        input[..32].copy_from_slice(&self.0);
        input[32..40].copy_from_slice(&head.base_offset().0.to_be_bytes());
        input[40..48].copy_from_slice(&head.last_offset().0.to_be_bytes());
        input[48..52].copy_from_slice(&head.leader_epoch().0.to_be_bytes());
        input[52..56].copy_from_slice(&head.batch_length().to_be_bytes());
        input[56..60].copy_from_slice(&head.crc().to_be_bytes());
        Chain(*blake3::hash(&input).as_bytes())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain(")?;
        self.0.iter().take(6).try_for_each(|b| write!(f, "{b:02x}"))?;
        write!(f, "..)")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_common::batch::build;
    use tidegate_common::{LeaderEpoch, Offset};

    use super::*;

    #[test]
    fn each_field_moves_the_chain() {
        let batch = build(Offset(5), 3, 1, 2, Bytes::from_static(b"body"));
        let chain = Chain::START.next(&batch.head);
        let mut base = batch.clone();
        base.head.set_base_offset(Offset(6));
        let mut epoch = batch.clone();
        epoch.head.set_leader_epoch(LeaderEpoch(9));
        let others = [
            base.head,
            epoch.head,
            build(Offset(5), 4, 1, 2, Bytes::from_static(b"body")).head,
            build(Offset(5), 3, 1, 2, Bytes::from_static(b"bodies")).head,
            build(Offset(5), 3, 1, 2, Bytes::from_static(b"bodx")).head,
        ];
        for (i, head) in others.iter().enumerate() {
            assert_ne!(chain, Chain::START.next(head), "change {i}");
        }
        assert_ne!(chain, chain.next(&batch.head));
    }

    /// The formula is part of the format: a change here breaks every stored chain.
    #[test]
    fn the_formula_is_fixed() {
        let batch = build(Offset(1), 2, 3, 4, Bytes::from_static(b"x"));
        let mut input = vec![0; 32];
        input.extend(1i64.to_be_bytes());
        input.extend(2i64.to_be_bytes());
        input.extend((-1i32).to_be_bytes());
        input.extend(50i32.to_be_bytes());
        input.extend(batch.head.crc().to_be_bytes());
        assert_eq!(Chain::START.next(&batch.head).0, *blake3::hash(&input).as_bytes());
    }
}
