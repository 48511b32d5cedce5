//! Why a policy lets a frame not pass.

use std::fmt;

macro_rules! objections {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a [policy](crate::Policy) lets a frame of a leaf not pass.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub enum Objection {
            $($(#[doc = $doc])+ #[cfg_attr(feature = "serde", serde(rename = $name))] $variant,)+
        }

        impl Objection {
            /// Every objection, in the order of [`Objection::index`].
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant,)+];

            /// A stable name for logs and counters: lower case, with underscores.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

objections! {
    /// It is what only a DHCP or DHCPv6 server says.
    DhcpServer = "guard_dhcp",
    /// It is a router advertisement of IPv6.
    RouterAdvertisement = "guard_ra",
    /// It is a redirect, of ICMP or ICMPv6.
    Redirect = "guard_redirect",
    /// It could be one of these, but hides what it carries: in a fragment, behind too many headers or
    /// tags, or in a frame of 802.2 (RFC 7113); or its VLAN, behind a tag that names none.
    Hidden = "guard_hidden",
    /// It is of a protocol by which switches agree among themselves: Cisco's (per-VLAN spanning tree, VTP,
    /// CDP and the like) and registrations of VLANs and groups (MVRP, MMRP, GVRP, GMRP).
    Control = "guard_control",
    /// It claims an IP address of the root's own: a server's or its gateway's.
    Gateway = "guard_gateway",
    /// It is of a kind that is not allowed.
    EtherType = "ethertype",
    /// It says that it comes from an IP address that the leaf may not use, or that the leaf has it.
    SourceIp = "source_ip",
    /// It is of a VLAN that the leaf is not in, has a tag where the leaf's frames have none, or has the pair
    /// of tags of another.
    Vlan = "vlan",
    /// It speaks to a server that is told of its [circuit](crate::Circuit), and cannot be given that name.
    Circuit = "circuit",
}

impl Objection {
    /// The position of this objection in [`Objection::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}
