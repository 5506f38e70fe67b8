//! Whole-product suites: the deterministic simulation, and the rule that imports point one way.
//!
//! Never: holds product code; what a suite needs of the product it takes through the product's own seams.

pub mod crash;
pub mod history;
pub mod mutants;
pub mod peer;
pub mod proxy;
pub mod sim;
