//! Frames sent, as fast as one thread can; what counts is what arrived.

use std::fs;
use std::time::Duration;

use acton_netns::Namespace;
use acton_raw::RawSocket;
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

use crate::{FRAME, Measured, Outcome, STRETCH, timed};

/// Ours first: the others are compared to it. Not netring, which hardly sends a frame here: it writes
/// headers of TPACKET_V1 into a ring of TPACKET_V3.
pub const NAMES: [&str; 4] =
    ["acton-raw, batches", "acton-raw, one a call", "pcap", "pnet_datalink"];

pub fn measure(
    name: &str,
    left: &Namespace,
    right: &Namespace,
    duration: Duration,
) -> Outcome<Measured> {
    let before = right.run(|| arrived("right"))?;
    let mut measured = left.run(|| -> Outcome<Measured> {
        match name {
            "acton-raw, batches" => {
                let socket = RawSocket::builder("left").build()?;
                timed(duration, || Ok(socket.send_batch(&[&FRAME[..]; 64])? as u64))
            }
            "acton-raw, one a call" => {
                let socket = RawSocket::builder("left").build()?;
                timed(duration, || stretch(|| Ok(socket.send(&FRAME)?)))
            }
            "pcap" => {
                let mut capture = pcap::Capture::from_device("left")?.promisc(false).open()?;
                timed(duration, || stretch(|| Ok(capture.sendpacket(FRAME)?)))
            }
            "pnet_datalink" => {
                let mut sender = pnet("left")?.0;
                timed(duration, || {
                    stretch(|| Ok(sender.send_to(&FRAME, None).ok_or("no room")??))
                })
            }
            _ => Err("no such sender".into()),
        }
    })?;
    measured.frames = (right.run(|| arrived("right"))? - before) as f64;
    Ok(measured)
}

fn stretch(mut send: impl FnMut() -> Outcome<()>) -> Outcome<u64> {
    for _ in 0..STRETCH {
        send()?;
    }
    Ok(STRETCH)
}

/// Frames that an interface of this thread's namespace has received.
fn arrived(interface: &str) -> Outcome<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(count.ok_or("no such interface")?.parse()?)
}

type PnetChannel = (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>);

pub fn pnet(interface: &str) -> Outcome<PnetChannel> {
    let interfaces = pnet_datalink::interfaces();
    let interface = interfaces.into_iter().find(|it| it.name == interface);
    let config = Config { promiscuous: false, ..Config::default() };
    match pnet_datalink::channel(&interface.ok_or("no such interface")?, config)? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => Err("another kind of channel".into()),
    }
}
