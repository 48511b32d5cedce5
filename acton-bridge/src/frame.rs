//! The part of an Ethernet header that a bridge looks at (IEEE 802.3 clause 3, 802.1Q clause 9).

use crate::verdict::DropReason;

/// Bytes of an untagged Ethernet header: two addresses and an EtherType.
const HEADER: usize = 14;
/// Bytes of a header with one VLAN tag.
const TAGGED_HEADER: usize = 18;
/// EtherTypes of the customer and the service tag (802.1Q table 9-1).
const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;
/// The VLAN id that 802.1Q table 9-2 reserves; no frame may carry it.
const RESERVED_VID: u16 = 0xfff;
/// Individual/group bit of an address, as the 48-bit number that [`address`] makes.
const GROUP_BIT: u64 = 1 << 40;
const BROADCAST: u64 = 0xffff_ffff_ffff;
/// 01-80-C2-00-00-00 to -0F: what a bridge does not forward (802.1Q table 8-1).
const RESERVED_FIRST: u64 = 0x0180_c200_0000;
const RESERVED_LAST: u64 = 0x0180_c200_000f;
/// PAUSE (802.3 annex 31B): flow control of one link.
const PAUSE: u64 = 0x0180_c200_0001;

/// A MAC address as a 48-bit number, first octet highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    fn read(octets: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = octets;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    pub(crate) fn new(mac: pnet_base::MacAddr) -> Self {
        Self::read(mac.octets())
    }

    pub(crate) fn mac(self) -> pnet_base::MacAddr {
        let [_, _, octets @ ..] = self.0.to_be_bytes();
        octets.into()
    }

    pub(crate) fn is_group(self) -> bool {
        self.0 & GROUP_BIT != 0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_broadcast(self) -> bool {
        self.0 == BROADCAST
    }

    pub(crate) fn is_reserved(self) -> bool {
        (RESERVED_FIRST..=RESERVED_LAST).contains(&self.0)
    }

    pub(crate) fn is_pause(self) -> bool {
        self.0 == PAUSE
    }
}

/// Where a frame goes, where it says it comes from, and its VLAN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) destination: Address,
    pub(crate) source: Address,
    /// 0 for an untagged and for a priority-tagged frame, else the VLAN id of the outer tag.
    pub(crate) vlan: u16,
}

impl Header {
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; HEADER] = frame.first_chunk().ok_or(DropReason::Runt)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        let vlan = match u16::from_be_bytes([t0, t1]) {
            C_TAG | S_TAG => {
                let tagged: &[u8; TAGGED_HEADER] = frame.first_chunk().ok_or(DropReason::Runt)?;
                u16::from_be_bytes([tagged[14], tagged[15]]) & 0xfff
            }
            _ => 0,
        };
        if vlan == RESERVED_VID {
            return Err(DropReason::BadVlan);
        }
        Ok(Self {
            destination: Address::read([d0, d1, d2, d3, d4, d5]),
            source: Address::read([s0, s1, s2, s3, s4, s5]),
            vlan,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ether_type: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ether_type);
        frame.extend(rest);
        frame
    }

    #[test]
    fn addresses_are_read_in_wire_order() {
        let header = Header::parse(&frame([8, 0], &[])).unwrap();
        assert_eq!(header.destination.0, 0x0200_0000_0001);
        assert_eq!(header.source.0, 0x0200_0000_0002);
        assert_eq!(header.vlan, 0);
        let mac = pnet_base::MacAddr::new(1, 2, 3, 4, 5, 6);
        assert_eq!(Address::new(mac).mac(), mac);
    }

    #[test]
    fn the_outer_tag_names_the_vlan() {
        for tag in [[0x81, 0x00], [0x88, 0xa8]] {
            let vlan = |tci: u16| {
                let [a, b] = tci.to_be_bytes();
                Header::parse(&frame(tag, &[a, b, 0x81, 0, 0, 9])).map(|header| header.vlan)
            };
            assert_eq!(vlan(7), Ok(7));
            assert_eq!(vlan(0xe007), Ok(7), "priority is no part of the id");
            assert_eq!(vlan(0xe000), Ok(0), "a priority tag is untagged");
            assert_eq!(vlan(0xfff), Err(DropReason::BadVlan));
        }
    }

    #[test]
    fn short_frames_are_runts() {
        let whole = frame([0x81, 0], &[0, 7, 8, 0]);
        for length in 0..18 {
            assert_eq!(Header::parse(&whole[..length]).unwrap_err(), DropReason::Runt, "{length}");
        }
        assert!(Header::parse(&whole).is_ok());
        assert!(Header::parse(&frame([8, 0], &[])).is_ok());
    }
}
