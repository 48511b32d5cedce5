//! The kinds of frames in a test of isolation.

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal => $text:literal,)*) => {
        /// A kind of test frame; its number is that of the protocol. Those come first that a root which sends
        /// frames back sends to all: it teaches the bridge that their sender lives at the root.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum TestKind { $($(#[doc = $doc])* $name = $number,)* }

        impl TestKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it is, for people.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

kinds! {
    /// broadcast
    Broadcast = 0 => "broadcast",
    /// broadcast in VLAN 100
    BroadcastVlan = 1 => "broadcast_vlan",
    /// multicast that is not IP
    Group = 2 => "group",
    /// IPv4 multicast
    GroupIpv4 = 3 => "group_ipv4",
    /// IPv6 multicast
    GroupIpv6 = 4 => "group_ipv6",
    /// unicast to a MAC that nobody has
    Unknown = 5 => "unknown",
    /// broadcast from the server's MAC
    FromRoot = 6 => "from_root",
    /// broadcast from a group as source
    FromGroup = 7 => "from_group",
    /// unicast to the server's own MAC
    Root = 8 => "root",
    /// unicast to a MAC that nobody has, to what is bridged to its own TAP
    Beside = 9 => "beside",
    /// unicast to the other's MAC
    Peer = 10 => "peer",
    /// the same, as long as frames may be
    PeerLarge = 11 => "peer_large",
    /// the same, with a priority tag (VLAN 0)
    PeerPriority = 12 => "peer_priority",
    /// the same, in VLAN 100
    PeerVlan = 13 => "peer_vlan",
    /// the same, in VLAN 200 within 100 (QinQ)
    PeerQinq = 14 => "peer_qinq",
    /// IPv4 to the other's MAC
    PeerIpv4 = 15 => "peer_ipv4",
    /// IPv6 to the other's MAC
    PeerIpv6 = 16 => "peer_ipv6",
    /// ARP request for the other's address
    PeerArp = 17 => "peer_arp",
    /// broadcast from the other's MAC
    FromPeer = 18 => "from_peer",
    /// IPv4 for the other, to the server's MAC
    RoutedIpv4 = 19 => "routed_ipv4",
    /// IPv6 for the other, to the server's MAC
    RoutedIpv6 = 20 => "routed_ipv6",
}

impl TestKind {
    /// Its bit among [`TestFrames::kinds`](acton_proto::wire::TestFrames).
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The kinds of these bits; those of later versions are left out.
    pub(crate) fn of(bits: u32) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |kind| bits & kind.bit() != 0)
    }

    /// The kind of this number.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|&kind| kind as u16 == number)
    }

    /// Whether the frame is for no client in particular.
    pub(crate) const fn is_common(self) -> bool {
        (self as u8) < Self::Peer as u8
    }

    /// Whether the frame goes out of the client's TAP, and not into the tunnel: it comes to the server where
    /// there is another way from one client to another.
    pub(crate) const fn is_beside(self) -> bool {
        matches!(self, Self::Beside)
    }

    /// Whether the frame is sent only where both ends have an address of IP.
    pub(crate) const fn takes_addresses(self) -> bool {
        matches!(self, Self::PeerArp | Self::RoutedIpv4 | Self::RoutedIpv6)
    }

    /// Whether the frame asks the server's host to pass on a packet, which is not of layer 2.
    pub(crate) const fn is_routed(self) -> bool {
        matches!(self, Self::RoutedIpv4 | Self::RoutedIpv6)
    }
}

/// Kinds that are sent by a client once, and those for each other client.
pub(crate) const COMMON: u32 = bits_where(true);
pub(crate) const TO_PEER: u32 = bits_where(false);

const fn bits_where(common: bool) -> u32 {
    let (mut bits, mut at) = (0, 0);
    while at < TestKind::ALL.len() {
        let kind = TestKind::ALL[at];
        if kind.is_common() == common {
            bits |= kind.bit();
        }
        at += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_of_one_sort_and_has_a_name_of_its_own() {
        assert_eq!((COMMON, TO_PEER), (0x0000_03ff, 0x001f_fc00));
        let mut names: Vec<_> = TestKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TestKind::ALL.len());
        assert_eq!(TestKind::from_number(17), Some(TestKind::PeerArp));
        assert_eq!(TestKind::from_number(21), None);
        assert_eq!(TestKind::of(u32::MAX).count(), TestKind::ALL.len());
    }
}
