//! The part of the Ethernet header that a bridge goes by.

use pnet_base::MacAddr;

use crate::field::ethernet::{ADDRESSES_LEN, LEN, TAG_LEN, VLAN_ID};
use crate::tags::is_tag;

/// Where a frame goes, where it says it comes from, and its VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ethernet {
    /// The destination, then the source.
    addresses: [u8; ADDRESSES_LEN],
    vlan: u16,
}

impl Ethernet {
    /// Reads the header of `frame`, of which it needs no more; `None` if the frame is a runt: shorter
    /// than 14 bytes, or 18 with a VLAN tag.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let header: &[u8; LEN] = frame.first_chunk()?;
        let [addresses @ .., t0, t1] = *header;
        let vlan = if is_tag(u16::from_be_bytes([t0, t1])) {
            let [.., v0, v1, _, _] = *frame.first_chunk::<{ LEN + TAG_LEN }>()?;
            u16::from_be_bytes([v0, v1]) & VLAN_ID
        } else {
            0
        };
        Some(Self { addresses, vlan })
    }

    /// The destination's address.
    #[inline]
    pub fn destination(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.addresses;
        MacAddr(a, b, c, d, e, f)
    }

    /// The source's address.
    #[inline]
    pub fn source(&self) -> MacAddr {
        let [.., a, b, c, d, e, f] = self.addresses;
        MacAddr(a, b, c, d, e, f)
    }

    /// The VLAN id of the outer tag, 0 to 4095; 0 for an untagged and for a priority-tagged frame.
    /// 4095 is reserved (IEEE 802.1Q, table 9-2): no frame may carry it.
    #[inline]
    pub fn vlan(&self) -> u16 {
        self.vlan
    }

    /// The same in another VLAN.
    #[inline]
    #[must_use]
    pub fn in_vlan(self, vlan: u16) -> Self {
        Self { vlan, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype);
        frame.extend(rest);
        frame
    }

    #[test]
    fn addresses_are_read_in_wire_order() {
        let header = Ethernet::parse(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]).unwrap();
        assert_eq!(header.destination(), MacAddr(1, 2, 3, 4, 5, 6));
        assert_eq!(header.source(), MacAddr(7, 8, 9, 10, 11, 12));
        assert_eq!(header.vlan(), 0);
    }

    #[test]
    fn the_outer_tag_names_the_vlan() {
        for tag in [[0x81, 0x00], [0x88, 0xa8]] {
            let vlan = |tci: u16| {
                let [a, b] = tci.to_be_bytes();
                Ethernet::parse(&frame(tag, &[a, b, 0x81, 0, 0, 9])).map(|header| header.vlan())
            };
            assert_eq!(vlan(7), Some(7));
            assert_eq!(vlan(0xe007), Some(7), "priority is no part of the id");
            assert_eq!(vlan(0xe000), Some(0), "a priority tag is untagged");
            assert_eq!(vlan(0xfff), Some(0xfff));
        }
    }

    #[test]
    fn short_frames_are_runts() {
        let whole = frame([0x81, 0], &[0, 7, 8, 0]);
        for length in 0..18 {
            assert_eq!(Ethernet::parse(&whole[..length]), None, "{length} bytes");
        }
        assert!(Ethernet::parse(&whole).is_some());
        assert!(Ethernet::parse(&frame([8, 0], &[])).is_some());
    }
}
