//! What the kernel tells about a frame besides its bytes.

use std::time::SystemTime;

/// Bytes before the place of a VLAN tag: two MAC addresses (IEEE 802.1Q, 9.4).
const TAG_OFFSET: usize = 12;

/// EtherType of an IEEE 802.1Q tag, which kernels before 3.14 leave out.
const ETHERTYPE_VLAN: u16 = 0x8100;

/// A received frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What the kernel tells about it.
    pub meta: FrameMeta,
    /// The captured bytes from the Ethernet header on, without frame check sequence and without
    /// the VLAN tag that is in [`FrameMeta::vlan`].
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame as it is on the wire: `bytes` itself, or, where the kernel took a VLAN tag out,
    /// a copy in `scratch` with the tag in its place.
    pub fn tagged<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self.meta.vlan {
            Some(tag) => {
                tag.insert(self.bytes, scratch);
                scratch
            }
            None => self.bytes,
        }
    }
}

/// What the kernel tells about a received frame (`packet(7)`, `linux/if_packet.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameMeta {
    /// Whom the frame is for, as seen by this host.
    pub packet_type: PacketType,
    /// Length of the frame in bytes before it was cut to the snapshot length or the buffer; a
    /// VLAN tag in [`vlan`](Self::vlan) is not counted.
    pub original_len: usize,
    /// Bytes of the frame that were received.
    pub captured_len: usize,
    /// When the kernel saw the frame, by the system clock. For a moment after the first program
    /// of the machine has asked for time stamps, when the frame was read.
    pub timestamp: SystemTime,
    /// The outermost VLAN tag, when the kernel took it out of the frame. It always does so for
    /// a frame that comes in; one that goes out may still hold its tag in line.
    pub vlan: Option<VlanTag>,
    /// What is known of the transport checksum.
    pub checksum: Checksum,
}

impl FrameMeta {
    /// Whether bytes are missing at the end.
    pub fn is_truncated(&self) -> bool {
        self.captured_len < self.original_len
    }
}

/// Whom a frame is for (`sll_pkttype`, `packet(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PacketType {
    /// For the interface's own MAC address.
    Host,
    /// For everyone.
    Broadcast,
    /// For a group.
    Multicast,
    /// For another host; seen only in promiscuous mode.
    OtherHost,
    /// Sent by this host.
    Outgoing,
    /// A value that `packet(7)` does not give to user space.
    Other(u8),
}

impl PacketType {
    pub(crate) fn from_kernel(value: u8) -> Self {
        match value {
            libc::PACKET_HOST => Self::Host,
            libc::PACKET_BROADCAST => Self::Broadcast,
            libc::PACKET_MULTICAST => Self::Multicast,
            libc::PACKET_OTHERHOST => Self::OtherHost,
            libc::PACKET_OUTGOING => Self::Outgoing,
            other => Self::Other(other),
        }
    }
}

/// What the kernel knows of a frame's transport checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Checksum {
    /// Nothing: it is to be verified.
    Unknown,
    /// It is not filled in: the field holds the pseudo-header's sum only. So look frames of this
    /// host, and of a neighbour behind a veth, before a network card has completed them.
    Partial,
    /// The card or the kernel found it right.
    Valid,
}

impl Checksum {
    /// From `tp_status`.
    pub(crate) fn from_kernel(status: u32) -> Self {
        if status & libc::TP_STATUS_CSUMNOTREADY != 0 {
            Self::Partial
        } else if status & libc::TP_STATUS_CSUM_VALID != 0 {
            Self::Valid
        } else {
            Self::Unknown
        }
    }
}

/// A VLAN tag (IEEE 802.1Q, 9.3): four bytes between the source address and the EtherType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// The tag's EtherType: 0x8100 (customer) or 0x88a8 (service).
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub tci: u16,
}

impl VlanTag {
    /// From `tp_status` and the two fields it vouches for.
    pub(crate) fn from_kernel(status: u32, tci: u16, tpid: u16) -> Option<Self> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some(Self { tpid: if known { tpid } else { ETHERTYPE_VLAN }, tci })
    }

    /// The VLAN identifier, 0 to 4095; 0 is a tag that gives a priority only.
    pub fn id(&self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    pub fn priority(&self) -> u8 {
        (self.tci >> 13) as u8
    }

    /// Whether the frame may be dropped first.
    pub fn drop_eligible(&self) -> bool {
        self.tci & 0x1000 != 0
    }

    /// Replaces the content of `out` by `frame` with this tag put into its place.
    ///
    /// Of a frame cut before that place there is nothing to move, and `out` is equal to it.
    pub fn insert(&self, frame: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.reserve(frame.len() + 4);
        let Some((addresses, rest)) = frame.split_at_checked(TAG_OFFSET) else {
            out.extend_from_slice(frame);
            return;
        };
        out.extend_from_slice(addresses);
        out.extend_from_slice(&self.tpid.to_be_bytes());
        out.extend_from_slice(&self.tci.to_be_bytes());
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: VlanTag = VlanTag { tpid: 0x88a8, tci: 0xb123 };

    #[test]
    fn tag_has_three_fields() {
        assert_eq!((TAG.priority(), TAG.drop_eligible(), TAG.id()), (5, true, 0x123));
    }

    #[test]
    fn tag_goes_between_source_and_ethertype() {
        let frame: Vec<u8> = (0..20).collect();
        let mut out = vec![9; 99];
        TAG.insert(&frame, &mut out);
        assert_eq!(out[..12], frame[..12]);
        assert_eq!(out[12..16], [0x88, 0xa8, 0xb1, 0x23]);
        assert_eq!(out[16..], frame[12..]);
    }

    #[test]
    fn tag_of_a_cut_frame_leaves_what_there_is() {
        let mut out = Vec::new();
        TAG.insert(&[7; 11], &mut out);
        assert_eq!(out, [7; 11]);
        TAG.insert(&[7; 12], &mut out);
        assert_eq!(out.len(), 16);
    }

    #[test]
    fn tag_protocol_is_that_of_802_1q_where_the_kernel_gives_none() {
        let status = libc::TP_STATUS_VLAN_VALID;
        assert_eq!(VlanTag::from_kernel(0, 5, 0x88a8), None);
        assert_eq!(VlanTag::from_kernel(status, 5, 0), Some(VlanTag { tpid: 0x8100, tci: 5 }));
        assert_eq!(
            VlanTag::from_kernel(status | libc::TP_STATUS_VLAN_TPID_VALID, 5, 0x88a8),
            Some(VlanTag { tpid: 0x88a8, tci: 5 })
        );
    }

    #[test]
    fn packet_types_and_checksums_are_the_kernels() {
        let types = [0, 1, 2, 3, 4, 5].map(PacketType::from_kernel);
        use PacketType::{Broadcast, Host, Multicast, Other, OtherHost, Outgoing};
        assert_eq!(types, [Host, Broadcast, Multicast, OtherHost, Outgoing, Other(5)]);
        let sums = [0, 8, 128, 136].map(Checksum::from_kernel);
        use Checksum::{Partial, Unknown, Valid};
        assert_eq!(sums, [Unknown, Partial, Valid, Partial]);
    }
}
