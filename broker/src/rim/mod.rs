//! The real sides of the seams: clock, randomness, the data directory's lock and identity, limits of the process.

pub mod clock;
pub mod data_dir;
pub mod limits;
pub mod random;
