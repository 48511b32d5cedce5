//! What offloads save: reads super-frames from a TAP, cuts them, and says each second how many frames
//! came in how many reads.
//!
//! ```text
//! cargo run --release --example super_frames      # as root; makes tap0 with 192.0.2.1/24
//! ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tap0
//! cargo run --release -p acton-udp --example gso -- 192.0.2.2:9
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use acton_tap::offload::{Fill, MAX_HEAD, Segments};
use acton_tap::{Offloads, Tap, VnetHeader};

/// Bytes of the longest frame for an Ethernet of the usual MTU of 1,500 bytes.
const MAX_FRAME: usize = 1_514;
/// Bytes of the longest super-frame: 64 KiB of IP packet, and an Ethernet header with two VLAN tags.
const MAX_SUPER_FRAME: usize = 65_535 + 22;

static READS: AtomicU64 = AtomicU64::new(0);
static FRAMES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tap = Tap::builder().vnet_header(true).offloads(Offloads::all()).build()?;
    tap.interface().add_address([192, 0, 2, 1].into(), 24)?;
    tap.interface().up()?;
    println!("{} has 192.0.2.1/24 and is granted {}", tap.name(), tap.offloads());

    let queue = &tap.queues()[0];
    let mut buffer = vec![0; VnetHeader::LEN + MAX_SUPER_FRAME];
    thread::spawn(tell);
    loop {
        let length = queue.recv(&mut buffer)?;
        let Some((header, frame)) = buffer[..length].split_first_chunk() else { continue };
        let header = VnetHeader::decode(header)?;
        READS.fetch_add(1, Ordering::Relaxed);
        match Segments::new(&header, frame, MAX_FRAME, Fill::Full) {
            Ok(mut segments) => {
                let mut head = [0; MAX_HEAD];
                while let Some(segment) = segments.next_in(&mut head) {
                    // Here they would go on: sendmsg(2) of head and payload.
                    FRAMES.fetch_add(1, Ordering::Relaxed);
                    BYTES.fetch_add(segment.frame_len() as u64, Ordering::Relaxed);
                }
            }
            Err(malformed) => println!("{malformed}"),
        }
    }
}

/// Says each second what came in it, if anything did.
fn tell() {
    loop {
        thread::sleep(Duration::from_secs(1));
        let [reads, frames, bytes] =
            [&READS, &FRAMES, &BYTES].map(|it| it.swap(0, Ordering::Relaxed));
        if reads > 0 {
            println!("{frames} frames, {bytes} bytes, in {reads} reads");
        }
    }
}
