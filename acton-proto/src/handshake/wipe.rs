//! Takes secrets out of memory that other people's code leaves them in.
//!
//! `snow` and `ring` do not wipe what they drop, and moving a value leaves its bytes where it was.
//! What is here is safe code on their own interfaces: values are overwritten in place by others that
//! hold nothing, and the part of the stack that calls have just used by zeros.

use std::hint::black_box;
use std::sync::LazyLock;

use snow::params::NoiseParams;
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Hash};
use snow::{Builder, Error, HandshakeState};

/// Bytes of stack that the calls of a handshake use at most, with some to spare.
const STACK: usize = 32 << 10;

/// A handshake without keys, which needs no Diffie-Hellman to be made.
static NOTHING: LazyLock<NoiseParams> =
    LazyLock::new(|| "Noise_NN_25519_ChaChaPoly_BLAKE2s".parse().expect("a name that snow knows"));

/// Overwrites what calls that have returned left on the stack below the caller.
#[inline(never)]
pub(crate) fn wipe_stack() {
    // One memset; `zeroize` would write each byte by itself, which takes as long as a handshake's hashes.
    let mut room = [0_u8; STACK];
    black_box(&mut room);
}

/// Overwrites a handshake's keys where they are. What it leaves on the stack is the caller's to wipe.
pub(super) fn wipe_handshake(state: &mut HandshakeState, resolver: Box<dyn CryptoResolver + Send>) {
    // What is made next may have holes, which take what was on the stack.
    wipe_stack();
    if let Ok(nothing) = nothing(resolver) {
        *state = nothing;
    }
    black_box(state);
}

fn nothing(resolver: Box<dyn CryptoResolver + Send>) -> Result<HandshakeState, Error> {
    Builder::with_resolver(NOTHING.clone(), resolver).build_responder()
}

/// A hash that forgets what it was fed.
pub(super) struct WipedHash(pub(super) Box<dyn Hash>);

impl Hash for WipedHash {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn block_len(&self) -> usize {
        self.0.block_len()
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.input(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        self.0.result(out);
    }
}

impl Drop for WipedHash {
    fn drop(&mut self) {
        self.0.reset();
    }
}

/// A cipher that forgets its key.
pub(super) struct WipedCipher(pub(super) Box<dyn Cipher>);

impl Cipher for WipedCipher {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0.set(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.0.encrypt(nonce, authtext, plaintext, out)
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.0.decrypt(nonce, authtext, ciphertext, out)
    }
}

impl Drop for WipedCipher {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}
