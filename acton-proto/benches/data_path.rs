//! What a datagram costs: sealing, opening, parsing; and what a handshake costs.
//!
//! `cargo bench -p acton-proto --bench data_path`

use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::{Initiator, Responder, Secret, Split, SystemRandom, public_key};
use acton_proto::plain;
use acton_proto::session::{Bundle, Keys, Link, Role, Setup, Suite};
use acton_proto::wire::{Caps, Datagram, Fragment, Header, Kind, OVERHEAD};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const NOW: Duration = Duration::from_secs(1);
/// Datagrams a batch, as many as one send with segmentation takes.
const BATCH: usize = 40;
/// Frames of 60 bytes in a bundle, as many as the path MTU of a new session has room for.
const BUNDLED: usize = 18;
const SIZES: [usize; 3] = [64, 600, 1440];
/// So many batches that no measurement comes near the packet limit of a key.
const BATCHES: u64 = 1 << 20;

fn keys(role: Role, suite: Suite) -> Keys {
    let split = Split { to_server: [1; 32], to_client: [2; 32] };
    let setup =
        Setup { suite, local_id: 1, remote_id: 1, caps: Caps::ALL, max_frame: 1514, born: NOW };
    Keys::new(role, &split, &setup, Arc::new(Link::new(NOW)))
}

/// Seals a batch in place, each datagram a whole frame.
fn seal_batch(keys: &Keys, slots: &mut [u8], stride: usize) {
    let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: false };
    let mut batch = keys.reserve(NOW, BATCH as u64).expect("fresh keys");
    for slot in slots.chunks_mut(stride) {
        batch.seal(kind, black_box(slot)).expect("a slot");
    }
}

fn seal(bencher: Bencher<'_, '_>, suite: Suite, len: usize) {
    let stride = len + OVERHEAD;
    let mut client = keys(Role::Client, suite);
    let mut slots = vec![7_u8; stride * BATCH];
    let mut left = BATCHES;
    let bencher = bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(len * BATCH));
    bencher.bench_local(|| {
        left -= 1;
        if left == 0 {
            (client, left) = (keys(Role::Client, suite), BATCHES);
        }
        seal_batch(&client, &mut slots, stride);
    });
}

#[divan::bench(args = SIZES)]
fn seal_aes(bencher: Bencher<'_, '_>, len: usize) {
    seal(bencher, Suite::Aes256Gcm, len);
}

#[divan::bench(args = SIZES)]
fn seal_chacha(bencher: Bencher<'_, '_>, len: usize) {
    seal(bencher, Suite::ChaCha20Poly1305, len);
}

fn open(bencher: Bencher<'_, '_>, suite: Suite, len: usize) {
    let stride = len + OVERHEAD;
    let mut sealed = vec![7_u8; stride * BATCH];
    seal_batch(&keys(Role::Client, suite), &mut sealed, stride);
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(len * BATCH))
        .with_inputs(|| (keys(Role::Server, suite), sealed.clone()))
        .bench_local_values(|(server, mut datagrams)| {
            for datagram in datagrams.chunks_mut(stride) {
                let Ok(Datagram::Sealed(header)) = Datagram::parse(datagram) else { continue };
                let _ = black_box(server.receive(NOW, &header, datagram));
            }
            datagrams
        });
}

#[divan::bench(args = SIZES)]
fn open_aes(bencher: Bencher<'_, '_>, len: usize) {
    open(bencher, Suite::Aes256Gcm, len);
}

#[divan::bench(args = SIZES)]
fn open_chacha(bencher: Bencher<'_, '_>, len: usize) {
    open(bencher, Suite::ChaCha20Poly1305, len);
}

/// Gathers small frames in a datagram and seals it.
fn seal_bundle(keys: &Keys, frame: &[u8; 60], datagram: &mut Vec<u8>) {
    datagram.clear();
    let mut bundle = Bundle::begin(keys, [frame], false, datagram);
    for _ in 1..BUNDLED {
        assert!(bundle.push([black_box(frame)], false, datagram), "there is room");
    }
    bundle.seal(NOW, datagram).expect("fresh keys");
}

#[divan::bench]
fn seal_bundle_aes(bencher: Bencher<'_, '_>) {
    let mut client = keys(Role::Client, Suite::Aes256Gcm);
    let mut datagram = Vec::new();
    let mut left = BATCHES;
    let bencher = bencher.counter(ItemsCount::new(BUNDLED)).counter(BytesCount::new(60 * BUNDLED));
    bencher.bench_local(|| {
        left -= 1;
        if left == 0 {
            (client, left) = (keys(Role::Client, Suite::Aes256Gcm), BATCHES);
        }
        seal_bundle(&client, &[7; 60], &mut datagram);
    });
}

#[divan::bench]
fn open_bundle_aes(bencher: Bencher<'_, '_>) {
    let mut sealed = Vec::new();
    seal_bundle(&keys(Role::Client, Suite::Aes256Gcm), &[7; 60], &mut sealed);
    bencher
        .counter(ItemsCount::new(BUNDLED))
        .counter(BytesCount::new(60 * BUNDLED))
        .with_inputs(|| (keys(Role::Server, Suite::Aes256Gcm), sealed.clone()))
        .bench_local_values(|(server, mut datagram)| {
            let header = Header::parse(&datagram).expect("a datagram");
            let received = server.receive(NOW, &header, &mut datagram).expect("authentic and new");
            let frames = received.content.into_frames();
            assert_eq!(frames.len(), BUNDLED, "a bundle");
            frames.for_each(|frame| drop(black_box(frame)));
            datagram
        });
}

#[divan::bench]
fn parse_header(bencher: Bencher<'_, '_>) {
    let mut datagram = [0; 100];
    let client = keys(Role::Client, Suite::Aes256Gcm);
    let mut sealed = Vec::new();
    client.seal_frame(NOW, &[0; 68], false, &mut sealed).expect("fresh keys");
    datagram.copy_from_slice(&sealed);
    bencher.bench_local(|| Header::parse(black_box(&datagram)));
}

#[divan::bench]
fn write_header(bencher: Bencher<'_, '_>) {
    let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: true };
    let header = Header { kind, receiver_id: 1, counter: 1 };
    bencher.bench_local(|| black_box(&header).encode());
}

#[divan::bench]
fn parse_plain(bencher: Bencher<'_, '_>) {
    let payload = [0; 60];
    bencher.bench_local(|| plain::Datagram::parse(black_box(&payload)).is_ok());
}

#[divan::bench]
fn handshake_client(bencher: Bencher<'_, '_>) {
    let (private, server) = (Secret::new([1; 32]), public_key(&Secret::new([2; 32])));
    let psk = Secret::new([3; 32]);
    bencher.bench_local(|| Initiator::new(&private, &server, &psk, &[0; 32], &mut SystemRandom));
}

#[divan::bench]
fn handshake_server(bencher: Bencher<'_, '_>) {
    let (private, server) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let psk = Secret::new([3; 32]);
    let made = Initiator::new(&private, &public_key(&server), &psk, &[0; 32], &mut SystemRandom);
    let (_, hello) = made.expect("good keys");
    bencher.bench_local(|| {
        let responder = Responder::new(&server, &hello, &mut SystemRandom)?;
        responder.finish(&psk, &[0; 32])
    });
}
