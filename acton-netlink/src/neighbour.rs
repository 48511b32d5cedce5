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
    /// Whether it was learned and goes when nothing is heard for a while; else somebody has said it.
    pub ages: bool,
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

    /// Where the VXLAN interface with index `vxlan` sends what it knows no host for.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn flood_list(&mut self, vxlan: u32) -> io::Result<Vec<IpAddr>> {
        let request = || {
            let mut fixed = [0; QUESTION];
            fixed[0] = libc::AF_BRIDGE as u8;
            fixed[4..8].copy_from_slice(&vxlan.to_ne_bytes());
            Request::new(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, &fixed)
        };
        self.dump(request, |body| parse_flood(body, vxlan))
    }

    /// Has the bridge that interface `port` is a port of forget these addresses, each on a VLAN or,
    /// without one, on all that the port is in. What it has at another port stays. `was_there` hears of
    /// those that it had at this one, by their number in `places`.
    ///
    /// # Errors
    /// `ENODEV`: there is no such interface. `EOPNOTSUPP`: it is a port of none. `EPERM`.
    pub fn remove_from_fdb(
        &mut self,
        port: u32,
        places: &[(MacAddr, Option<u16>)],
        was_there: impl FnMut(usize),
    ) -> io::Result<()> {
        let requests = places.iter().map(|&place| fdb_request(libc::RTM_DELNEIGH, 0, port, place));
        self.change_fdb(requests, libc::ENOENT, was_there)
    }

    /// Has the bridge that interface `port` is a port of know these addresses there, as if it had
    /// heard a frame from each: they age. What it has already stays where it is. `is_new` hears of those
    /// that it did not have, by their number in `places`.
    ///
    /// # Errors
    /// As of [`remove_from_fdb`](Self::remove_from_fdb).
    pub fn add_to_fdb(
        &mut self,
        port: u32,
        places: &[(MacAddr, Option<u16>)],
        is_new: impl FnMut(usize),
    ) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let requests =
            places.iter().map(|&place| fdb_request(libc::RTM_NEWNEIGH, flags, port, place));
        self.change_fdb(requests, libc::EEXIST, is_new)
    }

    /// Makes changes, and tells those that were none, by the error for that, from those that fail.
    fn change_fdb(
        &mut self,
        requests: impl ExactSizeIterator<Item = Request>,
        is_so: libc::c_int,
        mut changed: impl FnMut(usize),
    ) -> io::Result<()> {
        let mut failed = Ok(());
        self.request_all(requests, |number, done| match done {
            Ok(()) => changed(number),
            Err(error) if error.raw_os_error() == Some(is_so) => {}
            Err(error) => failed = Err(error),
        })?;
        failed
    }
}

/// A request about an entry of a bridge's table.
fn fdb_request(
    kind: u16,
    flags: libc::c_int,
    port: u32,
    (mac, vlan): (MacAddr, Option<u16>),
) -> Request {
    let mut fixed = [0; FIXED];
    fixed[0] = libc::AF_BRIDGE as u8;
    fixed[4..8].copy_from_slice(&port.to_ne_bytes());
    fixed[8..10].copy_from_slice(&libc::NUD_REACHABLE.to_ne_bytes());
    fixed[10] = libc::NTF_MASTER;
    let mut request = Request::new(kind, flags, &fixed);
    request.push(libc::NDA_LLADDR, &mac.octets());
    if let Some(vlan) = vlan {
        request.push(libc::NDA_VLAN, &vlan.to_ne_bytes());
    }
    request
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

/// An entry for the zero address of an interface's own table.
fn parse_flood(body: &[u8], interface: u32) -> Option<IpAddr> {
    if number(body.get(4..)?)? != interface {
        return None;
    }
    let (mut is_zero, mut to) = (false, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::NDA_LLADDR => is_zero = value == [0; 6],
            libc::NDA_DST => to = ip(value),
            _ => {}
        }
    }
    to.filter(|_| is_zero)
}

pub(crate) fn parse_fdb(body: &[u8]) -> Option<FdbEntry> {
    if i32::from(*body.first()?) != libc::AF_BRIDGE {
        return None;
    }
    let port = number(body.get(4..)?)?;
    let ages = short(body.get(8..)?)? & (libc::NUD_PERMANENT | libc::NUD_NOARP) == 0;
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
    Some(FdbEntry { bridge: bridge?, port, mac: mac?, vlan, ages })
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
            parse_flood(&bytes, 0);
            prop_assert!(parse_fdb(&bytes).is_none() || bytes.len() > FIXED);
        }
    }
}
