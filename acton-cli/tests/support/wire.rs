use std::collections::HashSet;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use acton_raw::{RawSocket, Wake};
use pnet_base::MacAddr;

use super::{HANG, shell, wait_until};

/// Local Experimental EtherType 1 (IEEE 802): no kernel sends it by itself.
pub(crate) const TEST_ETHERTYPE: u16 = 0x88b5;

/// Bytes that wait for a test at a device: what comes while the machine is busy is not lost here. The
/// kernel counts several thousand for a frame of a thousand.
const QUEUE: usize = 16 << 20;

/// A hand on a network device: what it sends leaves by the device, what it receives came in by it.
pub(crate) struct Wire {
    socket: RawSocket,
}

impl Wire {
    /// Opens `device` of a namespace, promiscuously, once the kernel sends by it: that begins
    /// some moments after the carrier has come.
    #[track_caller]
    pub(crate) fn open(namespace: &Namespace, device: &str) -> Self {
        wait_until(&format!("{device} is up"), || {
            shell(namespace, &format!("ip -o link show dev {device}")).contains(" state UP ")
        });
        Self::open_as_it_is(namespace, device)
    }

    /// The same without the wait, for the TAP of a program that never tells of its carrier: its
    /// state stays unknown.
    #[track_caller]
    pub(crate) fn open_as_it_is(namespace: &Namespace, device: &str) -> Self {
        let builder = RawSocket::builder(device).promiscuous(true).ignore_outgoing(true);
        let socket = namespace.run(|| builder.receive_buffer(QUEUE).build());
        Self { socket: socket.unwrap() }
    }

    /// Sends a whole Ethernet frame.
    #[track_caller]
    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// The next frame, with its VLAN tag where it stood on the wire; `None` after `timeout`.
    #[track_caller]
    pub(crate) fn receive(&self, timeout: Duration) -> Option<Vec<u8>> {
        if self.socket.wait(None, Some(timeout)).unwrap() != Wake::Ready {
            return None;
        }
        let mut buffer = vec![0; 65_536];
        let meta = self.socket.recv(&mut buffer).unwrap();
        buffer.truncate(meta.captured_len);
        Some(match meta.vlan {
            None => buffer,
            Some(tag) => {
                let mut tagged = Vec::new();
                tag.insert(&buffer, &mut tagged);
                tagged
            }
        })
    }

    /// Receives until `frame` itself comes, and returns what came before it.
    #[track_caller]
    pub(crate) fn receive_until(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (start, mut before) = (Instant::now(), Vec::new());
        while let Some(received) = self.receive(HANG.saturating_sub(start.elapsed())) {
            if received == frame {
                return before;
            }
            before.push(received);
        }
        let counts = self.socket.statistics();
        panic!("never received {frame:02x?}, but ({counts:?}) before:\n{before:02x?}");
    }

    /// Receives until each of `frames` has come, in any order: where a flow begins, the kernel may change
    /// the queue of a TAP that has several.
    #[track_caller]
    pub(crate) fn receive_all(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        let (start, mut missing) = (Instant::now(), HashSet::<_>::from_iter(frames));
        while !missing.is_empty() {
            let Some(received) = self.receive(HANG.saturating_sub(start.elapsed())) else {
                panic!("never received ({:?}) {missing:02x?}", self.socket.statistics());
            };
            missing.remove(&received);
        }
    }
}

/// An Ethernet II frame.
pub(crate) fn frame(to: MacAddr, from: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to.octets());
    frame.extend(from.octets());
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}
