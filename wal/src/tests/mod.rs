//! Every medium under the conformance suite, and the file medium under faults.

mod file;
mod media;
