//! What cutting and joining costs: `cargo bench -p acton-tap --bench offload`.

use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Sum, Trust};
use acton_tap::{Offloads, VnetHeader};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use offload_frames::Packet;

#[path = "../tests/offload_frames/mod.rs"]
mod offload_frames;

fn main() {
    divan::main();
}

/// Super-frames: bytes of payload in a segment, and how many.
const SHAPES: [(&str, bool, u16, usize); 3] = [
    ("TCP, 45 of 1,448 bytes", false, 1448, 45),
    ("UDP, 45 of 1,400 bytes", true, 1400, 45),
    ("UDP, 64 of 18 bytes", true, 18, 64),
];

fn super_frame(udp: bool, size: u16, segments: usize) -> (VnetHeader, Vec<u8>) {
    let options = if udp { vec![] } else { vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2] };
    let packet = Packet::new(false, udp, usize::from(size) * segments);
    packet.with(|packet| packet.tcp_options = options).super_frame(size)
}

#[divan::bench(args = [20, 64, 1448, 65_000])]
fn checksum(bencher: Bencher<'_, '_>, length: usize) {
    let bytes = offload_frames::content(length, 1);
    bencher.counter(BytesCount::new(length)).bench(|| Sum::of(black_box(&bytes)).checksum());
}

#[divan::bench(args = SHAPES.map(|shape| shape.0))]
fn segment_full(bencher: Bencher<'_, '_>, shape: &str) {
    segment(bencher, shape, Fill::Full);
}

#[divan::bench(args = SHAPES.map(|shape| shape.0))]
fn segment_partial(bencher: Bencher<'_, '_>, shape: &str) {
    segment(bencher, shape, Fill::Partial);
}

/// Cuts a super-frame into gather lists.
fn segment(bencher: Bencher<'_, '_>, shape: &str, fill: Fill) {
    let (header, frame, segments) = shape_of(shape);
    let mut heads = vec![[0; MAX_HEAD]; segments];
    bencher.counter(BytesCount::new(frame.len())).counter(ItemsCount::new(segments)).bench_local(
        || {
            let segments = Segments::new(black_box(&header), black_box(&frame), 1514, fill);
            let mut segments = segments.expect("a super-frame");
            for head in &mut heads {
                black_box(segments.next_in(head));
            }
        },
    );
}

#[divan::bench(args = SHAPES.map(|shape| shape.0))]
fn coalesce_verify(bencher: Bencher<'_, '_>, shape: &str) {
    coalesce(bencher, shape, Trust::Verify);
}

#[divan::bench(args = SHAPES.map(|shape| shape.0))]
fn coalesce_vouched(bencher: Bencher<'_, '_>, shape: &str) {
    coalesce(bencher, shape, Trust::Vouched);
}

/// Joins the segments of a super-frame.
fn coalesce(bencher: Bencher<'_, '_>, shape: &str, trust: Trust) {
    let (header, frame, segments) = shape_of(shape);
    let mut cut = Segments::new(&header, &frame, 1514, Fill::Full).expect("a super-frame");
    let mut buffer = vec![0; segments * 1514];
    let mut frames = Vec::new();
    let mut rest = &mut buffer[..];
    while let Some(length) = cut.copy_next(rest) {
        let (frame, after) = rest.split_at_mut(length);
        frames.push(&*frame);
        rest = after;
    }
    let mut coalescer = Coalescer::new(Offloads::all());
    bencher.counter(BytesCount::new(frame.len())).counter(ItemsCount::new(segments)).bench_local(
        || {
            let mut written = 0;
            let mut batch = coalescer.batch(|frame| written += black_box(frame.pieces()).len());
            for frame in black_box(&frames) {
                batch.push(frame, trust).expect("no partial checksum");
            }
            drop(batch);
            assert_eq!(written, segments + 1, "one super-frame");
        },
    );
}

fn shape_of(name: &str) -> (VnetHeader, Vec<u8>, usize) {
    let shape = SHAPES.iter().find(|shape| shape.0 == name).expect("a shape's name");
    let &(_, udp, size, segments) = shape;
    let (header, frame) = super_frame(udp, size, segments);
    (header, frame, segments)
}
