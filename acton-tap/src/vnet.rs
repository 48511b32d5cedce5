//! The virtio-net header that precedes each frame of a TAP with
//! [`vnet_header`](crate::Builder::vnet_header), and the offloads that it makes possible.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::{BitOr, BitOrAssign, Sub};

use thiserror::Error;

/// Work on frames that the kernel may leave to the program: the `TUN_F_*` flags of
/// linux/if_tun.h, which `TUNSETOFFLOAD` sets.
///
/// The kernel wants [`CSUM`](Self::CSUM) with any other, a `TSO` flag with
/// [`TSO_ECN`](Self::TSO_ECN), and [`USO4`](Self::USO4) and [`USO6`](Self::USO6) together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offloads(u32);

impl Offloads {
    /// TCP and UDP checksums are left as the pseudo-header's sum.
    pub const CSUM: Self = Self(libc::TUN_F_CSUM);
    /// TCP over IPv4 comes in super-frames.
    pub const TSO4: Self = Self(libc::TUN_F_TSO4);
    /// TCP over IPv6 comes in super-frames.
    pub const TSO6: Self = Self(libc::TUN_F_TSO6);
    /// Super-frames of TCP may have CWR set.
    pub const TSO_ECN: Self = Self(libc::TUN_F_TSO_ECN);
    /// UDP over IPv4 may come in super-frames (Linux 6.2).
    pub const USO4: Self = Self(libc::TUN_F_USO4);
    /// UDP over IPv6 may come in super-frames (Linux 6.2).
    pub const USO6: Self = Self(libc::TUN_F_USO6);

    const TSO: Self = Self(Self::TSO4.0 | Self::TSO6.0 | Self::TSO_ECN.0);
    const USO: Self = Self(Self::USO4.0 | Self::USO6.0);
    const NAMES: [(Self, &'static str); 6] = [
        (Self::CSUM, "CSUM"),
        (Self::TSO4, "TSO4"),
        (Self::TSO6, "TSO6"),
        (Self::TSO_ECN, "TSO_ECN"),
        (Self::USO4, "USO4"),
        (Self::USO6, "USO6"),
    ];

    /// No offload: whole frames of at most the MTU, with their checksums.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every offload that this crate knows.
    pub const fn all() -> Self {
        Self(Self::CSUM.0 | Self::TSO.0 | Self::USO.0)
    }

    /// Whether this is [`none`](Self::none).
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags as the kernel numbers them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What to ask the kernel for, in turn, until it agrees.
    pub(crate) fn attempts(self) -> [Self; 4] {
        let without_uso = self - Self::USO;
        [self, without_uso, without_uso - Self::TSO, Self::none()]
    }
}

impl BitOr for Offloads {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Offloads {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What is in the first set and not in the second.
impl Sub for Offloads {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The names, joined by `+`; `none` for no offload.
impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        let names: Vec<_> = names.map(|&(_, name)| name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join("+"))
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offloads({self})")
    }
}

/// `VIRTIO_NET_HDR_F_*` and `VIRTIO_NET_HDR_GSO_*` of linux/virtio_net.h.
const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What a frame's TCP or UDP checksum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checksum {
    /// As the frame has it; whoever needs it right verifies it.
    #[default]
    Unverified,
    /// Verified by the kernel (`DATA_VALID`).
    Valid,
    /// Still the pseudo-header's sum (`NEEDS_CSUM`): the checksum of the bytes from `start` to the
    /// frame's end goes to `start + offset`.
    Partial {
        /// Bytes from the frame's first.
        start: u16,
        /// Bytes from `start`.
        offset: u16,
    },
}

/// What a super-frame is to be cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams over either IP.
    Udp,
}

/// How a super-frame is to be cut (generic segmentation offload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gso {
    /// What its segments are.
    pub kind: GsoKind,
    /// Bytes of payload in each segment, the last apart.
    pub size: NonZeroU16,
    /// Whether CWR may be set, for the first segment alone.
    pub ecn: bool,
}

/// `struct virtio_net_hdr` (Virtual I/O Device 1.3, section 5.1.6; linux/virtio_net.h): what the
/// kernel or the program has left undone in the frame that follows.
///
/// ```
/// use acton_tap::{Checksum, VnetHeader};
///
/// let udp_over_ipv4 = Checksum::Partial { start: 14 + 20, offset: 6 };
/// let header = VnetHeader { checksum: udp_over_ipv4, ..VnetHeader::default() };
/// assert_eq!(VnetHeader::decode(&header.encode())?, header);
/// # Ok::<(), acton_tap::VnetHeaderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VnetHeader {
    /// What its checksum is.
    pub checksum: Checksum,
    /// How to cut it, if it is a super-frame.
    pub gso: Option<Gso>,
    /// Bytes of its Ethernet, IP and TCP or UDP headers; a hint, and 0 if the sender gave none.
    pub header_len: u16,
}

/// Why a [`VnetHeader`] cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VnetHeaderError {
    /// A segmentation that no [`Offloads`] ask for.
    #[error("vnet header of unknown gso type {0:#04x}")]
    UnknownGso(u8),
    /// A super-frame cut into segments of no bytes.
    #[error("vnet header of a super-frame with gso size 0")]
    NoSegmentSize,
}

impl VnetHeader {
    /// Bytes of a header.
    pub const LEN: usize = 10;

    /// The bytes that precede a frame.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let (flags, start, offset) = match self.checksum {
            Checksum::Unverified => (0, 0, 0),
            Checksum::Valid => (F_DATA_VALID, 0, 0),
            Checksum::Partial { start, offset } => (F_NEEDS_CSUM, start, offset),
        };
        let (gso_type, gso_size) = match self.gso {
            None => (GSO_NONE, 0),
            Some(Gso { kind, size, ecn }) => {
                let kind = match kind {
                    GsoKind::Tcp4 => GSO_TCPV4,
                    GsoKind::Tcp6 => GSO_TCPV6,
                    GsoKind::Udp => GSO_UDP_L4,
                };
                (if ecn { kind | GSO_ECN } else { kind }, size.get())
            }
        };
        let [l0, l1] = self.header_len.to_le_bytes();
        let [g0, g1] = gso_size.to_le_bytes();
        let [s0, s1] = start.to_le_bytes();
        let [o0, o1] = offset.to_le_bytes();
        [flags, gso_type, l0, l1, g0, g1, s0, s1, o0, o1]
    }

    /// Reads the bytes that precede a frame.
    ///
    /// Offsets are as the sender gave them and may lie outside the frame.
    ///
    /// # Errors
    /// A super-frame of an unknown kind, or without a segment size.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, VnetHeaderError> {
        let &[flags, gso_type, l0, l1, g0, g1, s0, s1, o0, o1] = bytes;
        let checksum = if flags & F_NEEDS_CSUM != 0 {
            let start = u16::from_le_bytes([s0, s1]);
            Checksum::Partial { start, offset: u16::from_le_bytes([o0, o1]) }
        } else if flags & F_DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unverified
        };
        let kind = match gso_type & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some(GsoKind::Tcp4),
            GSO_TCPV6 => Some(GsoKind::Tcp6),
            GSO_UDP_L4 => Some(GsoKind::Udp),
            _ => return Err(VnetHeaderError::UnknownGso(gso_type)),
        };
        let gso = match (kind, NonZeroU16::new(u16::from_le_bytes([g0, g1]))) {
            (None, _) => None,
            (Some(_), None) => return Err(VnetHeaderError::NoSegmentSize),
            (Some(kind), Some(size)) => Some(Gso { kind, size, ecn: gso_type & GSO_ECN != 0 }),
        };
        Ok(Self { checksum, gso, header_len: u16::from_le_bytes([l0, l1]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = VnetHeader> {
        let checksum = prop_oneof![
            Just(Checksum::Unverified),
            Just(Checksum::Valid),
            any::<(u16, u16)>().prop_map(|(start, offset)| Checksum::Partial { start, offset }),
        ];
        let kind = prop_oneof![Just(GsoKind::Tcp4), Just(GsoKind::Tcp6), Just(GsoKind::Udp)];
        let gso = (kind, 1..=u16::MAX, any::<bool>()).prop_map(|(kind, size, ecn)| {
            let size = NonZeroU16::new(size).expect("the range starts at 1");
            Gso { kind, size, ecn }
        });
        (checksum, proptest::option::of(gso), any::<u16>())
            .prop_map(|(checksum, gso, header_len)| VnetHeader { checksum, gso, header_len })
    }

    proptest! {
        #[test]
        fn headers_go_there_and_back(header in header()) {
            prop_assert_eq!(VnetHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_meaning(bytes in any::<[u8; VnetHeader::LEN]>()) {
            if let Ok(header) = VnetHeader::decode(&bytes) {
                prop_assert_eq!(VnetHeader::decode(&header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn the_layout_is_the_kernel_s() {
        // A TCP/IPv4 super-frame as a TAP gave it: MSS 1448, 54 + 12 bytes of headers.
        let bytes = [1, 1, 66, 0, 0xa8, 0x05, 34, 0, 16, 0];
        let header = VnetHeader::decode(&bytes).unwrap();
        assert_eq!(header.checksum, Checksum::Partial { start: 34, offset: 16 });
        assert_eq!(header.header_len, 66);
        let gso = header.gso.unwrap();
        assert_eq!((gso.kind, gso.size.get(), gso.ecn), (GsoKind::Tcp4, 1448, false));
        assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn bad_super_frames_are_errors() {
        let decode = |gso_type, size| VnetHeader::decode(&[0, gso_type, 0, 0, size, 0, 0, 0, 0, 0]);
        assert_eq!(decode(3, 1), Err(VnetHeaderError::UnknownGso(3)), "UFO is gone since 4.14");
        assert_eq!(decode(0x20, 1), Err(VnetHeaderError::UnknownGso(0x20)));
        assert_eq!(decode(GSO_TCPV4, 0), Err(VnetHeaderError::NoSegmentSize));
    }

    #[test]
    fn offloads_degrade_by_uso_then_tso() {
        assert_eq!(Offloads::all().bits(), 0x6f);
        let attempts = Offloads::all().attempts().map(|offloads| offloads.to_string());
        assert_eq!(
            attempts,
            ["CSUM+TSO4+TSO6+TSO_ECN+USO4+USO6", "CSUM+TSO4+TSO6+TSO_ECN", "CSUM", "none"]
        );
    }
}
