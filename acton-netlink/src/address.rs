//! The addresses of an interface.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::Socket;
use crate::message::{Attributes, Request, family, ip, number};

/// Bytes of `struct ifaddrmsg` (linux/if_addr.h).
const FIXED: usize = 8;

/// `IFA_PROTO` of linux/if_addr.h.
const PROTOCOL: u16 = 11;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of it that name the subnet.
    pub prefix_len: u8,
    /// The broadcast address; IPv6 has none.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv6 does not use it: it may be another host's, which is being found out or was found.
    pub tentative: bool,
    /// Who added it, by a number of their own choice; `None` where nobody said so, and before
    /// Linux 5.18.
    pub protocol: Option<u8>,
}

/// As in `192.0.2.1/24`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

/// An address that an interface is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "nothing is added before `Socket::add_address`"]
pub struct NewAddress {
    ip: IpAddr,
    prefix_len: u8,
    broadcast: Option<Ipv4Addr>,
    duplicate_detection: bool,
    protocol: Option<u8>,
}

impl NewAddress {
    /// An address and how many bits of it name the subnet.
    pub fn new(ip: impl Into<IpAddr>, prefix_len: u8) -> Self {
        Self {
            ip: ip.into(),
            prefix_len,
            broadcast: None,
            duplicate_detection: true,
            protocol: None,
        }
    }

    /// Gives an IPv4 address a broadcast address; it has none by default. IPv6 knows none.
    pub fn broadcast(mut self, broadcast: impl Into<Option<Ipv4Addr>>) -> Self {
        self.broadcast = broadcast.into();
        self
    }

    /// Leaves out the duplicate address detection of IPv6 (RFC 4862): the address can be used at
    /// once.
    pub fn without_duplicate_detection(mut self) -> Self {
        self.duplicate_detection = false;
        self
    }

    /// Notes who adds it, by a number that is not in use on the host (`/etc/iproute2/rt_addrprotos`;
    /// the kernel's own are 1 to 3). Linux before 5.18 keeps no note.
    pub fn protocol(mut self, protocol: impl Into<Option<u8>>) -> Self {
        self.protocol = protocol.into();
        self
    }

    fn request(&self, kind: u16, flags: libc::c_int, index: u32) -> Request {
        let no_detection = self.ip.is_ipv6() && !self.duplicate_detection;
        let ifa_flags = if no_detection { libc::IFA_F_NODAD as u8 } else { 0 };
        let mut fixed = [0; FIXED];
        fixed[..4].copy_from_slice(&[
            family(self.ip),
            self.prefix_len,
            ifa_flags,
            libc::RT_SCOPE_UNIVERSE,
        ]);
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(kind, flags, &fixed);
        // IFA_LOCAL is the interface's own address, IFA_ADDRESS that of the prefix: the same but
        // on point-to-point links.
        request.push_ip(libc::IFA_LOCAL, self.ip);
        request.push_ip(libc::IFA_ADDRESS, self.ip);
        if let (IpAddr::V4(_), Some(broadcast)) = (self.ip, self.broadcast) {
            request.push(libc::IFA_BROADCAST, &broadcast.octets());
        }
        if let Some(protocol) = self.protocol {
            request.push(PROTOCOL, &[protocol]);
        }
        request
    }
}

/// As in `192.0.2.1/24`.
impl fmt::Display for NewAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

impl Socket {
    /// The addresses of interface `index`, in the kernel's order. One that is not there has none.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let request = || Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; FIXED]);
        self.dump(request, |body| parse(body).filter(|found| found.0 == index).map(|found| found.1))
    }

    /// Adds an address to those that interface `index` has.
    ///
    /// # Errors
    /// `EEXIST`: it has that already. `EINVAL`: the prefix is longer than the address. `ENODEV`.
    /// `EPERM`. For IPv6 also `EACCES`: the sysctl disable_ipv6 is set for it; `EOPNOTSUPP`: this
    /// kernel has no IPv6.
    pub fn add_address(&mut self, index: u32, address: &NewAddress) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.request(address.request(libc::RTM_NEWADDR, flags, index))
    }

    /// As [`add_address`](Self::add_address), and fine where the interface has the address
    /// already: it is there to stay then, whatever its lifetime was. The broadcast address of one
    /// that is there stays as it is.
    ///
    /// # Errors
    /// As for `add_address`, but for `EEXIST`.
    pub fn replace_address(&mut self, index: u32, address: &NewAddress) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.request(address.request(libc::RTM_NEWADDR, flags, index))
    }

    /// Takes an address of interface `index` away. With the first IPv4 address of a subnet its
    /// others of that subnet go too, unless the sysctl promote_secondaries is set.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL`: there is no such address with that prefix. `ENODEV`. `EPERM`.
    pub fn remove_address(&mut self, index: u32, ip: IpAddr, prefix_len: u8) -> io::Result<()> {
        self.request(NewAddress::new(ip, prefix_len).request(libc::RTM_DELADDR, 0, index))
    }
}

/// An interface's index and an address of it.
fn parse(body: &[u8]) -> Option<(u32, Address)> {
    let prefix_len = *body.get(1)?;
    let index = number(body.get(4..)?)?;
    let flags = u32::from(*body.get(2)?);
    let tentative = flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0;
    let (mut own, mut peer, mut broadcast, mut protocol) = (None, None, None, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::IFA_LOCAL => own = ip(value),
            libc::IFA_ADDRESS => peer = ip(value),
            libc::IFA_BROADCAST => {
                broadcast = value.first_chunk().map(|&octets: &[u8; 4]| octets.into());
            }
            PROTOCOL => protocol = value.first().copied(),
            _ => {}
        }
    }
    // IPv6 has IFA_LOCAL only where the peer's address differs.
    let ip = own.or(peer)?;
    Some((index, Address { ip, prefix_len, broadcast, tentative, protocol }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Messages;

    #[test]
    fn an_address_goes_there_and_back() {
        let (ip, broadcast) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 1, 2, 255));
        let new = NewAddress::new(ip, 24).broadcast(broadcast).protocol(172);
        let mut request = new.request(libc::RTM_NEWADDR, 0, 7);
        let message = Messages(request.bytes(1)).next().unwrap();
        let address = Address {
            ip: ip.into(),
            prefix_len: 24,
            broadcast: Some(broadcast),
            tentative: false,
            protocol: Some(172),
        };
        assert_eq!(parse(message.body), Some((7, address)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let found = parse(&bytes);
            prop_assert!(found.is_none_or(|(_, address)| address.prefix_len == bytes[1]));
        }
    }
}
