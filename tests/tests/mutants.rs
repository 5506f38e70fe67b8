//! `docs/mutants.md` is about the mutants that there are.
#![cfg(feature = "mutants")]

use std::collections::BTreeSet;

use tidegate_common::mutant::TABLE;

#[test]
fn the_page_lists_every_mutant_with_its_suite_and_no_other() {
    let page = include_str!("../../docs/mutants.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<(&str, &str)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let mut cell = || cells.next().unwrap_or_default().trim_matches('`');
            (cell(), cell())
        })
        .collect();
    let there: BTreeSet<(&str, &str)> = TABLE.iter().map(|mutant| (mutant.name, mutant.suite)).collect();
    assert_eq!(listed, there);
}
