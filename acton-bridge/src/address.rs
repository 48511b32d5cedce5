//! MAC addresses as numbers, and those that a bridge treats in a way of their own.

/// Individual/group bit of an address, as the 48-bit number that [`Address`] is.
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
    pub(crate) fn new(mac: pnet_base::MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.octets();
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_in_wire_order() {
        let mac = pnet_base::MacAddr::new(1, 2, 3, 4, 5, 6);
        assert_eq!(Address::new(mac), Address(0x0102_0304_0506));
        assert_eq!(Address::new(mac).mac(), mac);
    }
}
