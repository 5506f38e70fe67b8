//! Which connection serves which partitions.
//!
//! Owns: the assignment, a pure function of the leaders. Invariants: a connection goes to one broker and serves
//! partitions led there; every broker that leads any has a connection.

use std::collections::BTreeMap;

use thiserror::Error;

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{brokers} brokers lead the partitions, and {connections} connections cannot reach them all")]
pub struct TooFewConnections {
    brokers: usize,
    connections: usize,
}

/// One connection's broker and partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: i32,
    /// All partitions led there, rotated so that the connections to one broker begin at different ones.
    pub partitions: Vec<i32>,
}

/// `leaders[p]` leads partition p. `stride` is how many partitions a connection works on at a time.
pub fn place(
    leaders: &[i32],
    connections: usize,
    stride: usize,
) -> Result<Vec<Placement>, TooFewConnections> {
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (partition, &node) in leaders.iter().enumerate() {
        led.entry(node).or_default().push(i32::try_from(partition).expect("fewer than 2^31 partitions"));
    }
    let led: Vec<(i32, Vec<i32>)> = led.into_iter().collect();
    if led.len() > connections {
        return Err(TooFewConnections { brokers: led.len(), connections });
    }
    Ok((0..connections)
        .map(|connection| {
            let (node, mut partitions) = led[connection % led.len()].clone();
            let rank = connection / led.len();
            let first = rank * stride % partitions.len();
            partitions.rotate_left(first);
            Placement { node, partitions }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_to_one_broker_begin_at_different_partitions() {
        let placed = place(&[1, 1, 1, 1], 3, 2).expect("one broker");
        let firsts: Vec<i32> = placed.iter().map(|p| p.partitions[0]).collect();
        assert_eq!(firsts, [0, 2, 0]);
        assert!(placed.iter().all(|p| p.node == 1 && p.partitions.len() == 4));
    }

    #[test]
    fn each_broker_gets_the_partitions_that_it_leads() {
        let placed = place(&[7, 3, 7, 3, 7], 4, 1).expect("two brokers");
        let expected = [(3, vec![1, 3]), (7, vec![0, 2, 4]), (3, vec![3, 1]), (7, vec![2, 4, 0])];
        for (placement, (node, partitions)) in placed.into_iter().zip(expected) {
            assert_eq!(placement, Placement { node, partitions });
        }
    }

    #[test]
    fn a_broker_that_no_connection_would_reach_is_refused() {
        assert_eq!(place(&[1, 2, 3], 2, 1), Err(TooFewConnections { brokers: 3, connections: 2 }));
    }
}
