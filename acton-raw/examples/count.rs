//! Counts the frames of an interface for some seconds, by EtherType and direction, from a ring.
//!
//! ```text
//! cargo run --release --example count -- eth0 10      # as root
//! ```

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use acton_raw::{PacketType, RawSocket, RingConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let interface = arguments.next().ok_or("usage: count INTERFACE [SECONDS]")?;
    let seconds = arguments.next().unwrap_or_else(|| "5".to_owned()).parse()?;

    // The first 14 bytes are enough: the kernel copies no more into the ring.
    let mut ring = RawSocket::builder(&interface).snaplen(14).build_ring(RingConfig::default())?;
    let mut counts: BTreeMap<(u16, bool), (u64, u64)> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let Some(block) = ring.next_block(Some(left))? else { break };
        for frame in block.frames() {
            let ethertype = u16::from_be_bytes([frame.bytes[12], frame.bytes[13]]);
            let outgoing = frame.meta.packet_type == PacketType::Outgoing;
            let (frames, bytes) = counts.entry((ethertype, outgoing)).or_default();
            *frames += 1;
            *bytes += frame.meta.original_len as u64;
        }
    }
    for ((ethertype, outgoing), (frames, bytes)) in counts {
        let direction = if outgoing { "out" } else { "in" };
        println!("{ethertype:#06x} {direction:>3} {frames:>10} frames {bytes:>14} bytes");
    }
    println!("{} were dropped: the ring was full", ring.statistics()?.dropped);
    Ok(())
}
