//! Who is behind which interface: IP neighbours, and what bridges have learned.

use std::io;
use std::net::IpAddr;

use pnet_base::MacAddr;

use crate::Socket;
use crate::message::{Attributes, Request, ip, number, short};

/// Bytes of `struct ndmsg` (linux/neighbour.h).
const FIXED: usize = 12;
/// Bytes of `struct ifinfomsg`, which a question about a bridge's table begins with.
const QUESTION: usize = 16;

/// `NDA_MASTER` of linux/neighbour.h: the bridge that an entry is of.
const NDA_MASTER: u16 = 9;

/// A host that an interface's own network has told the MAC address of, by ARP or the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Neighbour {
    /// The index of the interface.
    pub interface: u32,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its MAC address; `None` where it does not answer, or has gone.
    pub mac: Option<MacAddr>,
}

/// An entry of a bridge's forwarding table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FdbEntry {
    /// The index of the bridge.
    pub bridge: u32,
    /// The index of the port that it is at; that of the bridge for the bridge's own.
    pub port: u32,
    /// The MAC address.
    pub mac: MacAddr,
    /// The VLAN, where the bridge tells VLANs apart.
    pub vlan: Option<u16>,
}

impl Socket {
    /// The IP neighbours of interface `index`.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn neighbours(&mut self, index: u32) -> io::Result<Vec<Neighbour>> {
        let request = || Request::new(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, &[0; FIXED]);
        self.dump(request, |body| parse_neighbour(body).filter(|found| found.interface == index))
    }

    /// The forwarding table of the bridge with index `bridge`.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn fdb(&mut self, bridge: u32) -> io::Result<Vec<FdbEntry>> {
        let request = || {
            let mut fixed = [0; QUESTION];
            fixed[0] = libc::AF_BRIDGE as u8;
            let mut request = Request::new(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, &fixed);
            request.push(libc::IFLA_MASTER, &bridge.to_ne_bytes());
            request
        };
        self.dump(request, |body| parse_fdb(body).filter(|entry| entry.bridge == bridge))
    }
}

/// What is gone has no MAC address: `RTM_DELNEIGH` comes with the last one.
pub(crate) fn parse_neighbour(body: &[u8]) -> Option<Neighbour> {
    if i32::from(*body.first()?) == libc::AF_BRIDGE {
        return None;
    }
    let interface = number(body.get(4..)?)?;
    let state = short(body.get(8..)?)?;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::NDA_DST => address = ip(value),
            libc::NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok().map(MacAddr::from),
            _ => {}
        }
    }
    let is_known = state & (libc::NUD_INCOMPLETE | libc::NUD_FAILED | libc::NUD_NOARP) == 0;
    Some(Neighbour { interface, ip: address?, mac: mac.filter(|_| is_known) })
}

pub(crate) fn parse_fdb(body: &[u8]) -> Option<FdbEntry> {
    if i32::from(*body.first()?) != libc::AF_BRIDGE {
        return None;
    }
    let port = number(body.get(4..)?)?;
    let (mut bridge, mut mac, mut vlan) = (None, None, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            NDA_MASTER => bridge = number(value),
            libc::NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok().map(MacAddr::from),
            libc::NDA_VLAN => vlan = short(value),
            _ => {}
        }
    }
    // Without a master it is an address filter of the interface itself.
    Some(FdbEntry { bridge: bridge?, port, mac: mac?, vlan })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            is_bridge in any::<bool>(),
        ) {
            if let (true, Some(family)) = (is_bridge, bytes.first_mut()) {
                *family = libc::AF_BRIDGE as u8;
            }
            prop_assert!(parse_neighbour(&bytes).is_none() || bytes.len() > FIXED);
            prop_assert!(parse_fdb(&bytes).is_none() || bytes.len() > FIXED);
        }
    }
}
