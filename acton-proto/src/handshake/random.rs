//! Where randomness comes from.

/// A source of random bytes. Ephemeral keys, ids and cookies are drawn from it, so in production it
/// is [`SystemRandom`]; a test gives a seeded one to be repeatable.
///
/// An implementation returns only once the bytes are filled.
pub trait Random: Send {
    /// Fills `dest` with random bytes.
    fn fill(&mut self, dest: &mut [u8]);
}

/// The operating system's generator, through AWS-LC.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, dest: &mut [u8]) {
        aws_lc_rs::rand::fill(dest).expect("RAND_bytes of AWS-LC returns 1 or aborts");
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
