//! Sets of offsets as ranges: what a compaction had and what it made of it.
//!
//! Never: knows objects.

use tidegate_common::Offset;

/// Ranges `[from, to)`, in order, none empty, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents(Vec<(Offset, Offset)>);

impl FromIterator<(Offset, Offset)> for Extents {
    fn from_iter<I: IntoIterator<Item = (Offset, Offset)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(from, to)| from < to).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(Offset, Offset)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }
}

impl Extents {
    /// The first offset of `[from, to)` that is not in the set.
    pub fn missing(&self, from: Offset, to: Offset) -> Option<Offset> {
        if from >= to {
            return None;
        }
        let at = self.0.partition_point(|&(_, end)| end <= from);
        match self.0.get(at) {
            Some(&(start, end)) if start <= from => (end < to).then_some(end),
            _ => Some(from),
        }
    }

    /// The first offset of this set that is not in `other`.
    pub fn first_not_in(&self, other: &Extents) -> Option<Offset> {
        self.0.iter().find_map(|&(from, to)| other.missing(from, to))
    }
}

/// The first offset that two of the ranges share.
pub(super) fn overlap(ranges: impl IntoIterator<Item = (Offset, Offset)>) -> Option<Offset> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort_unstable();
    ranges.windows(2).find(|pair| pair[1].0 < pair[0].1).map(|pair| pair[1].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(i64, i64)]) -> Extents {
        ranges.iter().map(|&(from, to)| (Offset(from), Offset(to))).collect()
    }

    #[test]
    fn touching_ranges_are_one() {
        let set = set(&[(10, 20), (0, 10), (15, 30), (40, 40)]);
        assert_eq!(set.0, [(Offset(0), Offset(30))]);
        assert_eq!(set.missing(Offset(0), Offset(30)), None);
        assert_eq!(set.missing(Offset(5), Offset(31)), Some(Offset(30)));
        assert_eq!(set.missing(Offset(30), Offset(31)), Some(Offset(30)));
        assert_eq!(set.missing(Offset(-1), Offset(3)), Some(Offset(-1)));
        assert_eq!(set.missing(Offset(99), Offset(99)), None);
    }

    #[test]
    fn a_hole_is_found() {
        let set = set(&[(0, 10), (20, 30)]);
        assert_eq!(set.missing(Offset(5), Offset(25)), Some(Offset(10)));
        assert_eq!(set.first_not_in(&self::set(&[(0, 30)])), None);
        assert_eq!(self::set(&[(0, 30)]).first_not_in(&set), Some(Offset(10)));
    }

    #[test]
    fn sharing_one_offset_is_an_overlap() {
        assert_eq!(overlap([(Offset(0), Offset(5)), (Offset(5), Offset(9))]), None);
        assert_eq!(overlap([(Offset(5), Offset(9)), (Offset(0), Offset(6))]), Some(Offset(5)));
    }
}
