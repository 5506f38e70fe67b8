//! A latency histogram with a bounded relative error.
//!
//! Owns: counts per bucket. A value below 1,024 has a bucket of its own; above, each power of two is cut into 1,024
//! buckets, so that a quantile is at most 1/1,024 above the value that was recorded.
//! Invariants: the count of all buckets equals `count`; `max` is exact; a quantile never exceeds `max`.
//! Never: drops a value: what lies beyond the last bucket is counted there, and `max` tells.

const BITS: u32 = 10;
const PER_OCTAVE: usize = 1 << BITS;
/// 2^40 ns are 18 minutes: longer than any run drains.
const VALUE_BITS: u32 = 40;
const BUCKETS: usize = (VALUE_BITS - BITS + 1) as usize * PER_OCTAVE;

/// Counts of values in nanoseconds.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0, max: 0 }
    }

    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The smallest recorded value, up to the bucket's width, that `share` of the values do not exceed; 0 if empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS) - 1);
    let octave = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    // In octave n a value has n + 11 bits, so that shifted by n it lies in 1024..2048.
    octave as usize * PER_OCTAVE + (value >> octave) as usize
}

fn highest_of(bucket: usize) -> u64 {
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    let mantissa = (bucket - octave * PER_OCTAVE) as u64;
    ((mantissa + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_common::random::{Random, SeededRandom};

    #[test]
    fn buckets_tile_the_values_without_gap_or_overlap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(next), bucket, "the first value of bucket {bucket}");
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(highest), bucket, "the last value of bucket {bucket}");
            assert!(highest - next <= next / 1024, "bucket {bucket} is too wide");
            next = highest + 1;
        }
        assert_eq!(next, 1 << VALUE_BITS);
    }

    #[test]
    fn quantiles_lie_within_a_thousandth_of_the_sorted_values() {
        let random = SeededRandom::new(7);
        let mut histogram = Histogram::new();
        // Spread over the octaves, as latencies are.
        let mut values: Vec<u64> =
            (0..50_000).map(|_| random.next_u64() >> (24 + random.below(36))).collect();
        for &value in &values {
            histogram.record(value);
        }
        values.sort_unstable();
        for share in [0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let exact = values[((values.len() as f64 * share).ceil() as usize).max(1) - 1];
            let got = histogram.quantile(share);
            assert!(got >= exact && got - exact <= exact / 1024, "p{share}: {got} for {exact}");
        }
        let mean = values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64;
        assert!((histogram.mean() - mean).abs() < mean / 1e9);
    }

    #[test]
    fn a_value_beyond_the_range_is_counted_and_the_maximum_stays_exact() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.max(), histogram.count()), (0, 0, 0));
        histogram.record(3);
        histogram.record(u64::MAX);
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.max(), u64::MAX);
        assert_eq!(histogram.quantile(0.5), 3);
        assert_eq!(histogram.quantile(1.0), (1 << VALUE_BITS) - 1);
    }
}
