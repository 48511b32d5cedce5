//! Where the fields of the headers are, in bytes from a header's first, and what some of them mean.

/// Ethernet (IEEE 802.3, clause 3) and its VLAN tags (IEEE 802.1Q, clause 9).
pub mod ethernet {
    /// Bytes of the destination, the source and the EtherType.
    pub const LEN: usize = 14;
    /// Bytes of the destination and the source.
    pub const ADDRESSES_LEN: usize = 12;
    /// Bytes of a VLAN tag.
    pub const TAG_LEN: usize = 4;
    /// EtherType of a C-VLAN tag.
    pub const C_TAG: u16 = 0x8100;
    /// EtherType of an S-VLAN tag.
    pub const S_TAG: u16 = 0x88a8;
    /// The bits of a tag's second word that are the VLAN id.
    pub const VLAN_ID: u16 = 0x0fff;
    /// EtherType of ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// EtherType of IPv4.
    pub const IPV4: u16 = 0x0800;
    /// EtherType of IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// ARP (RFC 826) of IPv4 over Ethernet.
pub mod arp {
    use std::ops::Range;

    /// Bytes of a message.
    pub const LEN: usize = 28;
    /// How a message begins: Ethernet, IPv4, and the lengths of their addresses.
    pub const IPV4_OVER_ETHERNET: [u8; 6] = [0, 1, 8, 0, 6, 4];
    /// The lengths of the two kinds of addresses.
    pub const LENGTHS: Range<usize> = 4..6;
    /// Those of Ethernet and IPv4.
    pub const ETHERNET_IPV4_LENGTHS: [u8; 2] = [6, 4];
    /// What the message is: 1 for a request.
    pub const OPERATION: Range<usize> = 6..8;
    /// The operation of a request.
    pub const REQUEST: u16 = 1;
    /// The sender's IPv4 address.
    pub const SENDER: Range<usize> = 14..18;
    /// The IPv4 address that is asked for.
    pub const TARGET: Range<usize> = 24..28;
}

/// IPv4 (RFC 791, section 3.1).
pub mod ipv4 {
    use std::ops::Range;

    /// Bytes of the header without options.
    pub const LEN: usize = 20;
    /// The type of service, of which the ECN field is a part (RFC 3168, section 5).
    pub const TOS: usize = 1;
    /// Bytes of header and payload.
    pub const TOTAL_LENGTH: Range<usize> = 2..4;
    /// The identification.
    pub const ID: Range<usize> = 4..6;
    /// Three flags and the fragment's offset.
    pub const FRAGMENT: Range<usize> = 6..8;
    /// The flag DF.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// The bits of the offset, in units of 8 bytes.
    pub const FRAGMENT_OFFSET: u16 = 0x1fff;
    /// The protocol's number.
    pub const PROTOCOL: usize = 9;
    /// The header's checksum.
    pub const CHECKSUM: Range<usize> = 10..12;
    /// The source's address and the destination's.
    pub const ADDRESSES: Range<usize> = 12..20;
}

/// ICMPv6 (RFC 4443), of which neighbour discovery is a part (RFC 4861).
pub mod icmpv6 {
    use std::ops::{Range, RangeInclusive};

    /// Its number among protocols.
    pub const NUMBER: u8 = 58;
    /// The types of neighbour discovery (RFC 4861, section 4): solicitations and advertisements of
    /// routers and neighbours, and redirects.
    pub const NEIGHBOUR_DISCOVERY: RangeInclusive<u8> = 133..=137;
    /// The checksum, over a pseudo-header too.
    pub const CHECKSUM: Range<usize> = 2..4;
    /// The type of a neighbour solicitation (RFC 4861, section 4.3).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// The IPv6 address that a neighbour solicitation asks for, or an advertisement tells of.
    pub const TARGET: Range<usize> = 8..24;
    /// The type of a neighbour advertisement (RFC 4861, section 4.4).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// What neighbour discovery has as IPv6's hop limit: it crossed no router.
    pub const HOP_LIMIT: u8 = 255;
}

/// IPv6 (RFC 8200, section 3) and its extension headers (section 4).
pub mod ipv6 {
    use std::ops::Range;

    /// Bytes of the header without extension headers.
    pub const LEN: usize = 40;
    /// Bytes behind this header.
    pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
    /// The kind of the header that follows.
    pub const NEXT_HEADER: usize = 6;
    /// The source's address and the destination's.
    pub const ADDRESSES: Range<usize> = 8..40;
    /// Next header: hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Next header: routing.
    pub const ROUTING: u8 = 43;
    /// Next header: fragment.
    pub const FRAGMENT: u8 = 44;
    /// Next header: options for the destination.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Bytes of the fragment header.
    pub const FRAGMENT_LEN: usize = 8;
    /// In the fragment header: 13 bits of offset in units of 8 bytes, then three others.
    pub const FRAGMENT_FIELD: Range<usize> = 2..4;
}

/// TCP (RFC 9293, section 3.1).
pub mod tcp {
    use std::ops::Range;

    /// Its protocol number in IP.
    pub const NUMBER: u8 = 6;
    /// Bytes of the header without options.
    pub const LEN: usize = 20;
    /// The sequence number.
    pub const SEQUENCE: Range<usize> = 4..8;
    /// The header's length in words of 4 bytes, in the upper half.
    pub const DATA_OFFSET: usize = 12;
    /// The flags.
    pub const FLAGS: usize = 13;
    /// The checksum.
    pub const CHECKSUM: Range<usize> = 16..18;
    /// The flag FIN.
    pub const FIN: u8 = 0x01;
    /// The flag SYN.
    pub const SYN: u8 = 0x02;
    /// The flag RST.
    pub const RST: u8 = 0x04;
    /// The flag PSH.
    pub const PSH: u8 = 0x08;
    /// The flag URG.
    pub const URG: u8 = 0x20;
    /// The flag CWR (RFC 3168, section 6.1).
    pub const CWR: u8 = 0x80;
}

/// UDP (RFC 768).
pub mod udp {
    use std::ops::Range;

    /// Its protocol number in IP.
    pub const NUMBER: u8 = 17;
    /// Bytes of the header.
    pub const LEN: usize = 8;
    /// Bytes of header and payload.
    pub const LENGTH: Range<usize> = 4..6;
    /// The checksum.
    pub const CHECKSUM: Range<usize> = 6..8;
}
