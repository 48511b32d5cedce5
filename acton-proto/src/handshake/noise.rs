//! Noise IKpsk2 by `snow`, with randomness from outside and the raw split.

use std::sync::{Arc, LazyLock};

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wipe::{WipedCipher, WipedHash, wipe_handshake, wipe_stack};
use super::{Identity, Random, random_array, x25519};
use crate::wire::{Key, PAYLOAD_LEN};

const PROLOGUE: &[u8] = b"acton/1";
/// Position of the pre-shared key in IKpsk2: after the second message.
const PSK: u8 = 2;

static PARAMS: LazyLock<NoiseParams> = LazyLock::new(|| {
    "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().expect("a name that snow knows")
});

/// Why a handshake message was not accepted or could not be made. It says no more, for a stranger
/// must not learn more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the handshake failed: a key is wrong or the message was changed; compare the keys at both ends"
)]
pub struct HandshakeError;

impl From<snow::Error> for HandshakeError {
    fn from(_: snow::Error) -> Self {
        Self
    }
}

/// 32 secret bytes: a private key or a pre-shared key. Not printed, and wiped when dropped; moving it
/// leaves no copy behind.
#[derive(Clone)]
pub struct Secret(Box<[u8; 32]>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

impl Secret {
    /// Wraps the bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// Draws a secret; any 32 bytes are a private key of X25519.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut secret = Self::new([0; 32]);
        random.fill(&mut *secret.0);
        secret
    }

    /// The bytes, to store or to send on to its owner.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
    }
}

impl Eq for Secret {}

/// The X25519 public key of a private key.
#[must_use]
pub fn public_key(private: &Secret) -> Key {
    x25519::public_key(private)
}

/// What Noise's split gives: a key for each direction.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Split {
    /// From the client to the server.
    pub to_server: [u8; 32],
    /// From the server to the client.
    pub to_client: [u8; 32],
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Split(..)")
    }
}

/// X25519 as snow calls it: static and ephemeral keys. A shared secret of zero is refused.
struct KeyPair {
    private: Secret,
    public: Key,
    /// Whose key it is, if it is one whose public key and shared secrets are known.
    identity: Option<Arc<Identity>>,
}

impl KeyPair {
    fn set_private(&mut self, private: [u8; 32]) {
        self.private = Secret::new(private);
        let private = &self.private;
        self.identity = self.identity.take().filter(|identity| identity.private() == private);
        self.public = match &self.identity {
            Some(identity) => *identity.public(),
            None => public_key(private),
        };
    }
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        self.public.len()
    }

    fn priv_len(&self) -> usize {
        self.private.bytes().len()
    }

    fn set(&mut self, privkey: &[u8]) {
        // It is one of ours, always.
        if let Ok(private) = privkey.try_into() {
            self.set_private(private);
        }
    }

    fn generate(&mut self, rng: &mut dyn snow::types::Random) -> Result<(), snow::Error> {
        let mut private = [0; 32];
        rng.try_fill_bytes(&mut private)?;
        self.set_private(private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = match &self.identity {
            Some(identity) => identity.shared_secret(public),
            None => x25519::shared_secret(&self.private, public),
        };
        let shared = shared.ok_or(snow::Error::Dh)?;
        out.get_mut(..shared.len()).ok_or(snow::Error::Dh)?.copy_from_slice(&*shared);
        Ok(())
    }
}

/// snow's defaults, but X25519 is ours and the ephemeral key's bytes were drawn by us.
struct Resolver {
    ephemeral: [u8; 32],
    identity: Option<Arc<Identity>>,
}

struct Drawn([u8; 32]);

impl snow::types::Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        // One key is drawn a handshake; a second draw must not give the same bytes.
        let drawn = std::mem::take(&mut self.0);
        if dest.len() != drawn.len() || drawn == [0; 32] {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(&drawn);
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Drawn(self.ephemeral)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| {
            let identity = self.identity.clone();
            Box::new(KeyPair { private: Secret::new([0; 32]), public: [0; 32], identity })
                as Box<dyn Dh>
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        let hash = DefaultResolver.resolve_hash(choice)?;
        Some(Box::new(WipedHash(hash)))
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let cipher = DefaultResolver.resolve_cipher(choice)?;
        Some(Box::new(WipedCipher(cipher)))
    }
}

fn builder<'a>(
    private: &'a Secret,
    identity: Option<Arc<Identity>>,
    random: &mut dyn Random,
) -> Result<Builder<'a>, HandshakeError> {
    let resolver = Resolver { ephemeral: random_array(random), identity };
    Ok(Builder::with_resolver(PARAMS.clone(), Box::new(resolver))
        .local_private_key(private.bytes())?
        .prologue(PROLOGUE)?)
}

/// A handshake under way. It stays where it is, and is wiped there.
#[derive(Debug)]
struct Handshake(Box<HandshakeState>);

impl Handshake {
    fn split(&mut self) -> Split {
        let (to_server, to_client) = self.0.dangerously_get_raw_split();
        Split { to_server, to_client }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        wipe_handshake(&mut self.0, Box::new(Resolver { ephemeral: [0; 32], identity: None }));
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The client's side of one handshake.
#[derive(Debug)]
pub struct Initiator(Handshake);

impl Initiator {
    /// Begins a handshake and gives the Noise message of HELLO.
    ///
    /// # Errors
    /// [`HandshakeError`] if the server's key is no usable X25519 key.
    pub fn new(
        private: &Secret,
        server: &Key,
        psk: &Secret,
        payload: &[u8; PAYLOAD_LEN],
        random: &mut dyn Random,
    ) -> Result<(Self, [u8; 128]), HandshakeError> {
        let begun = Self::begin(private, server, psk, payload, random);
        wipe_stack();
        begun
    }

    #[inline(never)] // so that what it leaves on the stack lies below
    fn begin(
        private: &Secret,
        server: &Key,
        psk: &Secret,
        payload: &[u8; PAYLOAD_LEN],
        random: &mut dyn Random,
    ) -> Result<(Self, [u8; 128]), HandshakeError> {
        let builder = builder(private, None, random)?.remote_public_key(server)?;
        let mut state = Handshake(Box::new(builder.psk(PSK, &psk.0)?.build_initiator()?));
        let mut message = [0; 128];
        state.0.write_message(payload, &mut message)?;
        Ok((Self(state), message))
    }

    /// Reads the Noise message of WELCOME. After an error the handshake goes on: a later, true
    /// WELCOME is still accepted.
    ///
    /// # Errors
    /// [`HandshakeError`] if it was not made for this handshake by the server, with the same
    /// pre-shared key.
    pub fn finish(
        &mut self,
        message: &[u8; 80],
    ) -> Result<([u8; PAYLOAD_LEN], Split), HandshakeError> {
        let mut payload = [0; PAYLOAD_LEN];
        let read = self.0.0.read_message(message, &mut payload);
        let split = read.map(|_| self.0.split());
        wipe_stack();
        Ok((payload, split?))
    }
}

/// The server's side of one handshake, after HELLO was read: who asks is known, but not whether
/// they may.
#[derive(Debug)]
pub struct Responder {
    state: Handshake,
    client: Key,
    payload: [u8; PAYLOAD_LEN],
}

impl Responder {
    /// Reads the Noise message of HELLO: two Diffie-Hellman operations.
    ///
    /// # Errors
    /// [`HandshakeError`] if the message was not made for this server's key by the holder of the
    /// key it names.
    pub fn new(
        private: &Secret,
        message: &[u8; 128],
        random: &mut dyn Random,
    ) -> Result<Self, HandshakeError> {
        let read = Self::read(private, None, message, random);
        wipe_stack();
        read
    }

    /// The same for a server that remembers what it shares with clients.
    pub(crate) fn of(
        identity: &Arc<Identity>,
        message: &[u8; 128],
        random: &mut dyn Random,
    ) -> Result<Self, HandshakeError> {
        let read = Self::read(identity.private(), Some(Arc::clone(identity)), message, random);
        wipe_stack();
        read
    }

    #[inline(never)] // so that what it leaves on the stack lies below
    fn read(
        private: &Secret,
        identity: Option<Arc<Identity>>,
        message: &[u8; 128],
        random: &mut dyn Random,
    ) -> Result<Self, HandshakeError> {
        let state = builder(private, identity, random)?.build_responder()?;
        let mut state = Handshake(Box::new(state));
        let mut payload = [0; PAYLOAD_LEN];
        state.0.read_message(message, &mut payload)?;
        let client = state.0.get_remote_static().ok_or(HandshakeError)?;
        let client = client.try_into().map_err(|_| HandshakeError)?;
        Ok(Self { state, client, payload })
    }

    /// The client's public key, proven.
    #[must_use]
    pub const fn client(&self) -> &Key {
        &self.client
    }

    /// The payload of HELLO.
    #[must_use]
    pub const fn payload(&self) -> &[u8; PAYLOAD_LEN] {
        &self.payload
    }

    /// Makes the Noise message of WELCOME: an ephemeral key and two Diffie-Hellman operations.
    ///
    /// # Errors
    /// [`HandshakeError`] if the client's ephemeral key is not usable.
    pub fn finish(
        mut self,
        psk: &Secret,
        payload: &[u8; PAYLOAD_LEN],
    ) -> Result<([u8; 80], Split), HandshakeError> {
        self.state.0.set_psk(usize::from(PSK), psk.bytes())?;
        let mut message = [0; 80];
        self.state.0.write_message(payload, &mut message)?;
        Ok((message, self.state.split())) // and with this it is dropped and wiped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::SystemRandom;

    const PSK_BYTES: [u8; 32] = [5; 32];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Counts up, so that a vector can be written down.
    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, dest: &mut [u8]) {
            for byte in dest {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    #[test]
    fn both_sides_get_the_same_keys() {
        let mut random = SystemRandom;
        let (client, server) = (Secret::generate(&mut random), Secret::generate(&mut random));
        let psk = Secret::new(PSK_BYTES);
        let (mut initiator, hello) =
            Initiator::new(&client, &public_key(&server), &psk, &[1; 32], &mut random).unwrap();
        let responder = Responder::new(&server, &hello, &mut random).unwrap();
        assert_eq!(*responder.client(), public_key(&client));
        assert_eq!(*responder.payload(), [1; 32]);
        let (welcome, here) = responder.finish(&psk, &[2; 32]).unwrap();

        // What was changed on the way is not accepted, and does not spoil the handshake.
        for bit in (0..welcome.len() * 8).step_by(7) {
            let mut bad = welcome;
            bad[bit / 8] ^= 1 << (bit % 8);
            // The top bit of an X25519 public key is masked, yet it is hashed into the transcript.
            assert_eq!(initiator.finish(&bad).unwrap_err(), HandshakeError, "bit {bit}");
        }
        let (payload, there) = initiator.finish(&welcome).unwrap();
        assert_eq!(payload, [2; 32]);
        assert_eq!((here.to_client, here.to_server), (there.to_client, there.to_server));
        assert_ne!(here.to_client, here.to_server);
    }

    #[test]
    fn a_wrong_key_anywhere_fails() {
        let mut random = SystemRandom;
        let (client, server) = (Secret::generate(&mut random), Secret::generate(&mut random));
        let psk = Secret::new(PSK_BYTES);
        let stranger = Secret::generate(&mut random);
        let (mut initiator, hello) =
            Initiator::new(&client, &public_key(&server), &psk, &[1; 32], &mut random).unwrap();
        assert!(Responder::new(&stranger, &hello, &mut random).is_err());
        let responder = Responder::new(&server, &hello, &mut random).unwrap();
        let (welcome, _) = responder.finish(&Secret::new([6; 32]), &[2; 32]).unwrap();
        assert!(initiator.finish(&welcome).is_err(), "another pre-shared key");
        for bit in (0..hello.len() * 8).step_by(11) {
            let mut bad = hello;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Responder::new(&server, &bad, &mut random).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let psk = Secret::new(PSK_BYTES);
        let made =
            Initiator::new(&Secret::new([1; 32]), &[0; 32], &psk, &[0; 32], &mut SystemRandom);
        assert!(made.is_err());
    }

    /// Fixed keys give fixed bytes: HELLO's and WELCOME's Noise messages, then the split. Other code
    /// (Python, from the Noise specification) computes the same.
    #[test]
    fn vector() {
        let (client, server) = (Secret::new([0x11; 32]), Secret::new([0x22; 32]));
        let psk = Secret::new([0x33; 32]);
        let (mut initiator, hello) =
            Initiator::new(&client, &public_key(&server), &psk, &[0x44; 32], &mut Counting(0))
                .unwrap();
        let responder = Responder::new(&server, &hello, &mut Counting(0x80)).unwrap();
        let (welcome, split) = responder.finish(&psk, &[0x55; 32]).unwrap();
        initiator.finish(&welcome).unwrap();
        assert_eq!(
            [hex(&hello), hex(&welcome), hex(&split.to_server), hex(&split.to_client)].join("\n"),
            include_str!("vector.txt").trim_end()
        );
    }
}
