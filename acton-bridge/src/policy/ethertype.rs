//! Kinds of frames, by name.

use std::fmt;
use std::str::FromStr;

use acton_frame::field::ethernet;

/// EtherTypes below are lengths of 802.3 frames, which have a header of 802.2 (LLC) in place of one.
const FIRST: u16 = 0x0600;

/// Kinds that have a name.
const NAMES: [(&str, EtherType); 4] = [
    ("ip", EtherType(ethernet::IPV4)),
    ("ip6", EtherType(ethernet::IPV6)),
    ("arp", EtherType(ethernet::ARP)),
    ("llc", EtherType::LLC),
];

/// A kind of frames: an EtherType behind the VLAN tags, or what has a header of 802.2 (LLC) instead.
///
/// ```
/// use acton_bridge::EtherType;
///
/// assert_eq!("arp".parse::<EtherType>()?, EtherType::new(0x0806));
/// assert_eq!("0x8863".parse::<EtherType>()?.to_string(), "0x8863");
/// # Ok::<(), acton_bridge::EtherTypeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(u16);

/// Why a text names no kind of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no EtherType; write ip, ip6, arp, llc, or a number from 0x0600 to 0xffff")]
pub struct EtherTypeError;

impl EtherType {
    /// Frames of 802.3 with a header of 802.2.
    pub const LLC: Self = Self(0);

    /// The kind with this number in a frame.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        if number < FIRST { Self::LLC } else { Self(number) }
    }
}

impl FromStr for EtherType {
    type Err = EtherTypeError;

    fn from_str(text: &str) -> Result<Self, EtherTypeError> {
        if let Some((_, known)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*known);
        }
        let number = match text.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let number = number.ok().filter(|&number| number >= FIRST);
        number.map(Self).ok_or(EtherTypeError)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, known)| known == self) {
            Some((name, _)) => formatter.pad(name),
            None => write!(formatter, "0x{:04x}", self.0),
        }
    }
}

#[cfg(feature = "serde")]
crate::as_text::as_text!(EtherType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_back() {
        for (text, number) in
            [("ip", 0x0800), ("ip6", 0x86dd), ("arp", 0x0806), ("llc", 38), ("0x8863", 0x8863)]
        {
            assert_eq!(text.parse(), Ok(EtherType::new(number)));
            assert_eq!(EtherType::new(number).to_string(), text);
        }
        assert_eq!("34915".parse(), Ok(EtherType::new(0x8863)));
        for text in ["", "IP", "0x", "0x05ff", "1500", "0x10000", "-1", "ipv6"] {
            assert_eq!(text.parse::<EtherType>(), Err(EtherTypeError), "{text}");
        }
    }
}
