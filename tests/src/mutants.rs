//! The planted bugs as the programs of this crate see them, whether the build holds them or not.

/// Runs the planted bug `name` from here on.
///
/// # Errors
/// When there is no such mutant, or the build holds none.
#[cfg(feature = "mutants")]
pub fn choose(name: &str) -> Result<(), String> {
    tidegate_common::mutant::choose(name)
}

/// As above.
///
/// # Errors
/// Always: this build holds no mutants.
#[cfg(not(feature = "mutants"))]
pub fn choose(name: &str) -> Result<(), String> {
    Err(format!("no mutant {name}: this build holds none (--features tidegate-tests/mutants)"))
}

/// How often the chosen mutant's branch was reached.
#[must_use]
pub fn reached() -> u64 {
    #[cfg(feature = "mutants")]
    return tidegate_common::mutant::reached();
    #[cfg(not(feature = "mutants"))]
    return 0;
}

/// Name and suite of each, one a line.
#[must_use]
pub fn table() -> String {
    #[cfg(feature = "mutants")]
    return tidegate_common::mutant::TABLE.iter().map(|m| format!("{} {}\n", m.name, m.suite)).collect();
    #[cfg(not(feature = "mutants"))]
    return String::new();
}
