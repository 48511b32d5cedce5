//! The keys of QUERY and REPLY.

use blake2::digest::KeyInit;
use chacha20poly1305::{AeadInPlace, XChaCha20Poly1305};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::mac::{label_key, mac};
use super::{Random, Secret, random_array};
use crate::wire::{Key, QUERY_MAC, Query, Reply, SERVER_STATE_LEN, ServerState};

/// What both ends know that may ask one server how it is: its public key and the network key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct QueryKeys {
    query: [u8; 32],
    reply: [u8; 32],
}

impl std::fmt::Debug for QueryKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueryKeys(..)")
    }
}

impl QueryKeys {
    /// The keys of the server with this public key.
    #[must_use]
    pub fn new(server: &Key, network_key: Option<&Secret>) -> Self {
        Self {
            query: label_key(b"acton1 quer", server, network_key),
            reply: label_key(b"acton1 repl", server, network_key),
        }
    }

    /// A fresh QUERY.
    pub fn query(&self, random: &mut dyn Random) -> Query {
        let id = u32::from_ne_bytes(random_array(random)).max(1);
        let query = Query { sender_id: id, random: random_array(random), mac: [0; 16] };
        Query { mac: self.mac(&query), ..query }
    }

    fn mac(&self, query: &Query) -> [u8; 16] {
        mac(&self.query, &[&query.encode()[..QUERY_MAC]])
    }

    /// Whether the sender of a QUERY knows these keys, in constant time.
    #[must_use]
    pub fn verify(&self, query: &Query) -> bool {
        self.mac(query).ct_eq(&query.mac).into()
    }

    /// The answer to a QUERY.
    pub fn reply(&self, query: &Query, state: &ServerState, random: &mut dyn Random) -> Reply {
        let nonce: [u8; 24] = random_array(random);
        let mut sealed = [0; 32];
        let (text, tag) = sealed.split_at_mut(SERVER_STATE_LEN);
        text.copy_from_slice(&state.encode());
        tag.copy_from_slice(
            &XChaCha20Poly1305::new(&self.reply.into())
                .encrypt_in_place_detached(&nonce.into(), &query.mac, text)
                .expect("sixteen bytes are below the limit of the cipher"),
        );
        Reply { receiver_id: query.sender_id, nonce, sealed }
    }

    /// What the answer to this QUERY says, if it is one.
    #[must_use]
    pub fn open(&self, reply: &Reply, query: &Query) -> Option<ServerState> {
        let mut text: [u8; SERVER_STATE_LEN] = *reply.sealed.first_chunk()?;
        let tag: [u8; 16] = *reply.sealed.last_chunk()?;
        XChaCha20Poly1305::new(&self.reply.into())
            .decrypt_in_place_detached(&reply.nonce.into(), &query.mac, &mut text, &tag.into())
            .ok()?;
        ServerState::parse(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::SystemRandom;
    use crate::wire::{Datagram, QUERY_LEN, REPLY_LEN};

    const STATE: ServerState = ServerState { draining: true, load: 250, instance: 7 };

    #[test]
    fn who_knows_the_keys_asks_and_is_answered() {
        let network = Secret::new([3; 32]);
        let keys = QueryKeys::new(&[1; 32], Some(&network));
        let query = keys.query(&mut SystemRandom);
        assert_eq!(Datagram::parse(&query.encode()), Ok(Datagram::Query(query)));
        assert!(keys.verify(&query));
        for others in [QueryKeys::new(&[2; 32], Some(&network)), QueryKeys::new(&[1; 32], None)] {
            assert!(!others.verify(&query));
        }
        let reply = keys.reply(&query, &STATE, &mut SystemRandom);
        assert_eq!(Datagram::parse(&reply.encode()), Ok(Datagram::Reply(reply)));
        assert_eq!(keys.open(&reply, &query), Some(STATE));
        assert_eq!(keys.open(&reply, &keys.query(&mut SystemRandom)), None, "of another QUERY");
        const { assert!(REPLY_LEN <= QUERY_LEN) };
    }

    #[test]
    fn every_bit_counts() {
        let keys = QueryKeys::new(&[1; 32], None);
        let query = keys.query(&mut SystemRandom);
        let good = query.encode();
        for bit in 0..8 * good.len() {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Datagram::Query(bad)) = Datagram::parse(&bad) {
                assert!(!keys.verify(&bad), "bit {bit}");
            }
        }
        let reply = keys.reply(&query, &STATE, &mut SystemRandom);
        let good = reply.encode();
        for bit in 8 * 8..8 * good.len() {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(Datagram::Reply(bad)) = Datagram::parse(&bad) else { panic!("bit {bit}") };
            assert_eq!(keys.open(&bad, &query), None, "bit {bit}");
        }
    }
}
