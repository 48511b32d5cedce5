//! Ranges of addresses.

use std::fmt;
use std::str::FromStr;

use pnet_base::MacAddr;

use crate::address::Address;

/// Bits of an address.
const BITS: u8 = 48;

/// Addresses that begin alike, written as `MAC/BITS` or, for one address, `MAC`.
///
/// ```
/// use acton_bridge::MacRange;
///
/// let vrrp: MacRange = "00:00:5e:00:01:00/40".parse()?; // RFC 9568, section 7.3
/// assert!(vrrp.contains("00:00:5e:00:01:07".parse().unwrap()));
/// assert!(!vrrp.contains("00:00:5e:00:02:07".parse().unwrap()));
/// # Ok::<(), acton_bridge::MacRangeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacRange {
    /// Its bits past the prefix are 0.
    first: u64,
    bits: u8,
}

/// Why a text names no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no range of MAC addresses; write it as 00:00:5e:00:01:00/40, with 1 to 48 bits")]
pub struct MacRangeError;

impl MacRange {
    /// The addresses whose first `bits` bits are those of `mac`; `None` unless it is 1 to 48.
    #[must_use]
    pub fn new(mac: MacAddr, bits: u8) -> Option<Self> {
        let first = Address::new(mac).0 & mask(bits);
        (1..=BITS).contains(&bits).then_some(Self { first, bits })
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, mac: MacAddr) -> bool {
        self.has(Address::new(mac))
    }

    pub(crate) fn has(&self, address: Address) -> bool {
        address.0 & mask(self.bits) == self.first
    }
}

/// The first `bits` of 48 bits.
fn mask(bits: u8) -> u64 {
    !(u64::MAX >> 16).checked_shr(bits.into()).unwrap_or(0)
}

impl FromStr for MacRange {
    type Err = MacRangeError;

    fn from_str(text: &str) -> Result<Self, MacRangeError> {
        let (mac, bits) = match text.split_once('/') {
            Some((mac, bits)) => (mac, bits.parse().map_err(|_| MacRangeError)?),
            None => (text, BITS),
        };
        let mac = mac.parse().map_err(|_| MacRangeError)?;
        Self::new(mac, bits).ok_or(MacRangeError)
    }
}

impl fmt::Display for MacRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = Address(self.first).mac();
        if self.bits == BITS {
            mac.fmt(formatter)
        } else {
            write!(formatter, "{mac}/{}", self.bits)
        }
    }
}

#[cfg(feature = "serde")]
crate::as_text::as_text!(MacRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_back_and_end_where_they_end() {
        for (text, shown, first, last) in [
            (
                "00:00:5e:00:01:07/40",
                "00:00:5e:00:01:00/40",
                "00:00:5e:00:01:00",
                "00:00:5e:00:01:ff",
            ),
            ("02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:01"),
            (
                "80:00:00:00:00:00/1",
                "80:00:00:00:00:00/1",
                "80:00:00:00:00:00",
                "ff:ff:ff:ff:ff:ff",
            ),
            (
                "02:00:00:00:00:01/47",
                "02:00:00:00:00:00/47",
                "02:00:00:00:00:00",
                "02:00:00:00:00:01",
            ),
        ] {
            let range: MacRange = text.parse().unwrap();
            assert_eq!(range.to_string(), shown);
            assert_eq!(shown.parse(), Ok(range));
            let address = |text: &str| Address::new(text.parse().unwrap()).0;
            let (first, last) = (address(first), address(last));
            assert!(range.has(Address(first)) && range.has(Address(last)), "{text}");
            assert!(!range.has(Address(first.wrapping_sub(1) & 0xffff_ffff_ffff)), "{text}");
            assert!(!range.has(Address((last + 1) & 0xffff_ffff_ffff)), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "/40",
            "00:00:5e:00:01:00/",
            "00:00:5e:00:01:00/0",
            "00:00:5e:00:01:00/49",
            "00:00:5e:00:01:00/-1",
            "00:00:5e:00:01/40",
            "00:00:5e:00:01:00/40/1",
        ] {
            assert_eq!(text.parse::<MacRange>(), Err(MacRangeError), "{text:?}");
        }
    }
}
