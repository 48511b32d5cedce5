//! Where randomness comes from.

use ring::rand::{self, SecureRandom};

/// A source of random bytes. Ephemeral keys, ids and cookies are drawn from it, so in production it
/// is [`SystemRandom`]; a test gives a seeded one to be repeatable.
///
/// An implementation returns only once the bytes are filled.
pub trait Random: Send {
    /// Fills `dest` with random bytes.
    fn fill(&mut self, dest: &mut [u8]);
}

/// The operating system's generator, getrandom(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, dest: &mut [u8]) {
        let filled = rand::SystemRandom::new().fill(dest);
        filled.expect("getrandom(2) fails on kernels before 3.17 alone");
    }
}

impl<R: Random + ?Sized> Random for Box<R> {
    fn fill(&mut self, dest: &mut [u8]) {
        (**self).fill(dest);
    }
}

pub(crate) fn random_array<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}
