//! Which flow a frame is of, and how much of each flow waits.

use std::hash::{BuildHasher, Hasher};

use acton_frame::Headers;
use foldhash::fast::RandomState;

/// Flows told apart at a time; those that share a number count as one.
const FLOWS: usize = 1_024;
/// Bytes of a flow that may wait while it counts as sparse: a full frame of the usual MTU, or an
/// exchange of small ones.
const QUANTUM: usize = 1_600;

/// A flow's number.
pub(crate) type Flow = u16;

/// What waits of each flow.
pub(crate) struct Flows {
    hasher: RandomState,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    /// Bytes that go first.
    sparse: usize,
    /// Frames that wait in line.
    bulk: usize,
}

impl Flows {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::default(), waiting: vec![Waiting::default(); FLOWS] }
    }

    /// The flow of `frame`.
    pub(crate) fn of(&self, headers: &Headers, frame: &[u8]) -> Flow {
        let (hosts, ports) = identity(headers, frame);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(hosts);
        hasher.write_u32(u32::from_ne_bytes(ports));
        (hasher.finish() % FLOWS as u64) as Flow
    }

    /// Whether the next frame of `flow`, of `len` bytes, may go ahead of the bulk: what waits of the
    /// flow with it is little, and goes first too, so that a flow's frames keep their order.
    pub(crate) fn is_sparse(&self, flow: Flow, len: usize) -> bool {
        let waiting = &self.waiting[usize::from(flow)];
        waiting.bulk == 0 && waiting.sparse + len <= QUANTUM
    }

    /// A frame that goes first.
    pub(crate) fn add_sparse(&mut self, flow: Flow, len: usize) {
        self.waiting[usize::from(flow)].sparse += len;
    }

    /// What went first is gone.
    pub(crate) fn clear_sparse(&mut self, flow: Flow) {
        self.waiting[usize::from(flow)].sparse = 0;
    }

    /// A frame that waits in line.
    pub(crate) fn add_bulk(&mut self, flow: Flow) {
        self.waiting[usize::from(flow)].bulk += 1;
    }

    /// One that waited in line is gone.
    pub(crate) fn remove_bulk(&mut self, flow: Flow) {
        self.waiting[usize::from(flow)].bulk -= 1;
    }
}

/// What the frames of a flow have in common: the addresses, and the ports, or zero where the protocol
/// has none or the packet is a fragment. What is no IP goes by the MACs and the EtherType.
fn identity<'f>(headers: &Headers, frame: &'f [u8]) -> (&'f [u8], [u8; 4]) {
    let hosts = headers.hosts(frame).unwrap_or(&frame[..frame.len().min(14)]);
    (hosts, headers.ports(frame).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(tag: bool, fragment: u16, protocol: u8, rest: &[u8]) -> Vec<u8> {
        let tag: &[u8] = if tag { &[0x81, 0, 0, 7] } else { &[] };
        let [high, low] = fragment.to_be_bytes();
        let header =
            [0x45, 0, 0, 40, 0, 1, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[2; 12], tag, &[8, 0], &header, rest].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = [7; 40];
        (header[0], header[6]) = (0x60, next);
        [&[2; 12], &[0x86, 0xdd][..], &header, rest].concat()
    }

    fn identity(frame: &[u8]) -> (&[u8], [u8; 4]) {
        super::identity(&Headers::parse(frame), frame)
    }

    #[test]
    fn flows_go_by_addresses_and_ports() {
        let rest = [1, 2, 3, 4, 5, 6, 7, 8];
        for tag in [false, true] {
            for protocol in [6, 17] {
                let frame = ipv4(tag, 0x4000, protocol, &rest);
                let hosts = [10, 0, 0, 1, 10, 0, 0, 2];
                assert_eq!(identity(&frame), (&hosts[..], [1, 2, 3, 4]));
                // Fragments, first and last, lie in one flow.
                for fragment in [0x2000, 0x00b9] {
                    let frame = ipv4(tag, fragment, protocol, &rest);
                    assert_eq!(identity(&frame), (&hosts[..], [0; 4]));
                }
            }
            // The identifier of a ping is no port.
            assert_eq!(identity(&ipv4(tag, 0, 1, &rest)).1, [0; 4]);
        }
        let hosts = [7; 32];
        assert_eq!(identity(&ipv6(17, &rest)), (&hosts[..], [1, 2, 3, 4]));
        let options = [&[17, 0, 1, 4, 0, 0, 0, 0], &rest[..]].concat();
        assert_eq!(identity(&ipv6(60, &options)), (&hosts[..], [1, 2, 3, 4]));
        for offset in [0, 0x0b] {
            let fragment = [&[17, 0, offset, 1, 0, 0, 0, 9], &rest[..]].concat();
            assert_eq!(identity(&ipv6(44, &fragment)), (&hosts[..], [0; 4]));
        }
    }

    #[test]
    fn what_is_no_ip_or_cut_short_goes_by_its_macs() {
        let arp = [&[2; 12], &[8, 6][..], &[9; 28]].concat();
        assert_eq!(identity(&arp), (&arp[..14], [0; 4]));
        let whole = ipv4(true, 0, 6, &[1, 2, 3, 4]);
        for len in 0..whole.len() {
            let (hosts, ports) = identity(&whole[..len]);
            let ip = len >= whole.len() - 4;
            assert_eq!((hosts.len(), ports), (if ip { 8 } else { len.min(14) }, [0; 4]));
        }
    }
}
