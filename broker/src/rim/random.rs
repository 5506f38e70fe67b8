//! The process's random numbers.

use rand::RngCore;
use tidegate_common::random::Random;

#[derive(Debug, Default)]
pub struct ThreadRandom;

impl Random for ThreadRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the seam's real side")]
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}
