//! The IP header inside a frame.

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// Where an IP header begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inner {
    V4(usize),
    V6(usize),
}

impl Inner {
    /// The IP header of `frame`, behind up to two VLAN tags, by its EtherType.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let ethertype = |end: usize| -> Option<u16> {
            Some(u16::from_be_bytes(frame.get(end - 2..end)?.try_into().ok()?))
        };
        let mut at = ETHERNET;
        let mut kind = ethertype(at)?;
        for _ in 0..2 {
            if matches!(kind, 0x8100 | 0x88a8) {
                at += TAG;
                kind = ethertype(at)?;
            }
        }
        match kind {
            0x0800 => Some(Self::V4(at)),
            0x86dd => Some(Self::V6(at)),
            _ => None,
        }
    }
}

/// An Internet checksum after one of the words that it covers changed (RFC 1624, equation 3).
pub(crate) fn updated(sum: u16, old: u16, new: u16) -> u16 {
    let mut folded = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}
