//! The Internet checksum (RFC 1071).

/// The checksum of these parts one after the other, each but the last of an even length. It is 0 where
/// the right checksum is among them.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

/// The checksum of what IPv6 carries (RFC 8200, section 8.1): `addresses` are both of the header.
pub(super) fn checksum_v6(addresses: &[u8], protocol: u8, payload: &[u8]) -> u16 {
    let length = (payload.len() as u32).to_be_bytes();
    checksum(&[addresses, &length, &[0, 0, 0, protocol], payload])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_rfc_1071() {
        // The RFC's own example, section 3: a sum of ddf2.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&example]), !0xddf2);
        assert_eq!(checksum(&[&example[..2], &example[2..]]), !0xddf2);
        assert_eq!(checksum(&[&example, &(!0xddf2_u16).to_be_bytes()]), 0);
        assert_eq!(checksum(&[&[1]]), !0x0100, "an odd byte is the upper one");
    }
}
