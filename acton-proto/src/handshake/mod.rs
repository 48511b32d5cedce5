//! The handshake: keys from two datagrams, and what keeps strangers from making it expensive.
//!
//! [`Initiator`] and [`Responder`] run `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` with the prologue
//! `acton/1`, on `snow`, and give the raw [`Split`] that [`crate::session::Keys`] are made of.
//! [`MacKey`] and [`CookieJar`] are the cheap checks that come before any Diffie-Hellman.

mod identity;
mod mac;
mod noise;
mod query;
mod random;
mod wipe;
mod x25519;

pub(crate) use identity::Identity;
pub(crate) use mac::COOKIE_LIFETIME;
pub use mac::{Cookie, CookieJar, CookieKey, MacKey};
pub use noise::{HandshakeError, Initiator, Responder, Secret, Split, public_key};
pub use query::QueryKeys;
pub(crate) use random::random_array;
pub use random::{Random, SystemRandom};
pub(crate) use wipe::wipe_stack;
