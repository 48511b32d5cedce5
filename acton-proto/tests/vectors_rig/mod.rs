//! How vectors are made and written down.

mod text;

use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::{Random, Split};
use acton_proto::session::{Keys, Link, Role, Setup, Suite};
use acton_proto::wire::Caps;
use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Mac};
pub(crate) use text::Vectors;

pub(crate) const NOW: Duration = Duration::from_secs(5);
pub(crate) const SPLIT: Split = Split { to_server: [0x99; 32], to_client: [0xaa; 32] };

/// Randomness that was written down: it ends in a panic, not in a repetition.
pub(crate) struct Fixed(Vec<u8>);

impl Fixed {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

impl Random for Fixed {
    fn fill(&mut self, dest: &mut [u8]) {
        let rest = self.0.split_off(dest.len());
        dest.copy_from_slice(&std::mem::replace(&mut self.0, rest));
    }
}

/// Bytes that count up from 1.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (1..=len).map(|i| i as u8).collect()
}

/// A client's keys and its server's.
pub(crate) fn keys(suite: Suite, max_frame: u16) -> (Keys, Keys) {
    let (local_id, remote_id) = (0x0a0b_0c0d, 0x0102_0304);
    let setup = Setup { suite, local_id, remote_id, caps: Caps::ALL, max_frame, born: NOW };
    let back = Setup { local_id: remote_id, remote_id: local_id, ..setup };
    let link = || Arc::new(Link::new(NOW));
    (
        Keys::new(Role::Client, &SPLIT, &setup, link()),
        Keys::new(Role::Server, &SPLIT, &back, link()),
    )
}

/// The AEAD key and iv of the client's direction, from their definition.
pub(crate) fn derive(suite: Suite) -> ([u8; 32], [u8; 12]) {
    let sum = |label: &[u8]| -> [u8; 32] {
        let mac = <Blake2sMac256 as KeyInit>::new_from_slice(&SPLIT.to_server);
        let mut mac = mac.expect("32 bytes are a key");
        mac.update(label);
        mac.update(&[suite.code()]);
        mac.finalize_fixed().into()
    };
    let iv = sum(b"acton1 iv");
    (sum(b"acton1 key"), *iv.first_chunk().expect("12 of 32 bytes"))
}
