//! Frames received, as fast as one thread sends them.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use acton_netns::Namespace;
use acton_raw::{RawSocket, RecvBatch, RingConfig};

use crate::{FRAME, Measured, Outcome, STRETCH, timed};

/// Ours first: the others are compared to it. None is promiscuous. Rings are of 16 blocks of 256 KiB that
/// are held for 20 ms, what acton-raw does unless told otherwise, or of 64 of 4 MiB that are held for 60
/// ms, what netring does.
pub const NAMES: [&str; 8] = [
    "acton-raw, ring",
    "acton-raw, ring of 256 MiB",
    "acton-raw, batches",
    "acton-raw, one a call",
    "netring, ring",
    "netring, ring of 256 MiB",
    "pcap",
    "pnet_datalink",
];

/// How long netring's ring is held.
const LONG_HOLD: Duration = Duration::from_millis(60);

pub fn measure(
    name: &str,
    left: &Namespace,
    right: &Namespace,
    duration: Duration,
) -> Outcome<Measured> {
    let sender = left.run(|| RawSocket::builder("left").build())?;
    thread::spawn(move || {
        loop {
            drop(sender.send_batch(&[&FRAME[..]; 64]));
        }
    });
    right.run(|| {
        // What was received: whoever reads frames looks at them.
        let see = |bytes: &[u8]| {
            black_box((bytes.len(), bytes[12]));
        };
        match name {
            "acton-raw, ring" | "acton-raw, ring of 256 MiB" => {
                let config = match name {
                    "acton-raw, ring" => RingConfig::default(),
                    _ => RingConfig::default().block_size(4 << 20).blocks(64).hold(LONG_HOLD),
                };
                let mut ring = RawSocket::builder("right").build_ring(config)?;
                timed(duration, || {
                    let block = ring.next_block(None)?.ok_or("no time-out was given")?;
                    let mut count = 0;
                    for frame in block.frames() {
                        see(frame.bytes);
                        count += 1;
                    }
                    Ok(count)
                })
            }
            "acton-raw, batches" => {
                let socket = RawSocket::builder("right").build()?;
                let mut batch = RecvBatch::new(64, 2_048);
                timed(duration, || {
                    let count = socket.recv_batch(&mut batch)?;
                    batch.frames().for_each(|frame| see(frame.bytes));
                    Ok(count as u64)
                })
            }
            "acton-raw, one a call" => {
                let socket = RawSocket::builder("right").build()?;
                let mut buffer = [0; 2_048];
                timed(duration, || {
                    for _ in 0..STRETCH {
                        let meta = socket.recv(&mut buffer)?;
                        see(&buffer[..meta.captured_len]);
                    }
                    Ok(STRETCH)
                })
            }
            "netring, ring" | "netring, ring of 256 MiB" => {
                let capture = netring::Capture::builder().interface("right");
                let capture = match name {
                    "netring, ring of 256 MiB" => capture,
                    _ => capture.block_size(256 << 10).block_count(16).block_timeout_ms(20),
                };
                let mut capture = capture.build()?;
                timed(duration, || {
                    let mut count = 0;
                    if let Some(batch) = capture.next_batch_blocking(Duration::from_secs(1))? {
                        for packet in &batch {
                            see(packet.data());
                            count += 1;
                        }
                    }
                    Ok(count)
                })
            }
            "pcap" => {
                let capture = pcap::Capture::from_device("right")?.promisc(false).timeout(20);
                let mut capture = capture.open()?;
                timed(duration, || {
                    for _ in 0..STRETCH {
                        see(capture.next_packet()?.data);
                    }
                    Ok(STRETCH)
                })
            }
            "pnet_datalink" => {
                let mut receiver = super::send::pnet("right")?.1;
                timed(duration, || {
                    for _ in 0..STRETCH {
                        see(receiver.next()?);
                    }
                    Ok(STRETCH)
                })
            }
            _ => Err("no such receiver".into()),
        }
    })
}
