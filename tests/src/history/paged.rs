//! A growing array with holes, indexed by offset or by a producer's count.
//!
//! Holds: memory follows the entries that were touched, not the largest index, so a senseless offset costs one page.

use std::collections::BTreeMap;

const PAGE: u64 = 1024;

pub(super) struct Paged<T> {
    pages: BTreeMap<u64, Box<[T]>>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new() }
    }
}

impl<T: Default + Clone> Paged<T> {
    pub(super) fn get(&self, index: u64) -> Option<&T> {
        self.pages.get(&(index / PAGE)).map(|page| &page[(index % PAGE) as usize])
    }

    /// The entry of an index, made if it is not there.
    pub(super) fn entry(&mut self, index: u64) -> &mut T {
        let page = self.pages.entry(index / PAGE).or_insert_with(|| vec![T::default(); PAGE as usize].into());
        &mut page[(index % PAGE) as usize]
    }

    /// All entries of the pages that are there, by index: the untouched ones among them as well.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages.iter().flat_map(|(&page, entries)| (page * PAGE..).zip(entries.iter()))
    }
}

/// A set of offsets.
#[derive(Default)]
pub(super) struct Bits {
    words: Paged<u64>,
}

impl Bits {
    /// Adds an index; false if it was there.
    pub(super) fn insert(&mut self, index: u64) -> bool {
        let word = self.words.entry(index / 64);
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        self.words.get(index / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// The members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.words.iter().filter(|(_, word)| **word != 0).flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| at * 64 + bit)
        })
    }
}
