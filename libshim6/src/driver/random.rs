//! Randomness of the operating system for the engine.

use crate::rng::Rng;
use ring::rand::{SecureRandom, SystemRandom};

/// `getrandom(2)` by way of `ring`.
#[derive(Debug)]
pub struct SystemRng(SystemRandom);

impl SystemRng {
    /// The system's source.
    pub fn new() -> Self {
        SystemRng(SystemRandom::new())
    }
}

impl Default for SystemRng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng for SystemRng {
    /// # Panics
    /// If the kernel has no randomness to give (never after boot): tags and nonces must not be guessable, so the
    /// engine stops, which the thread's guard turns into stepping aside.
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out).expect("the system's random source failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ() {
        // LS-H-19, LS-KP-06
        let mut rng = SystemRng::new();
        assert_ne!((rng.u64(), rng.u64()), (rng.u64(), rng.u64()));
    }
}
