//! Which way packets go.

use std::io;
use std::net::IpAddr;

use crate::Socket;
use crate::message::{Attributes, Request, family, ip, number};

/// Bytes of `struct rtmsg` (linux/rtnetlink.h).
const FIXED: usize = 12;

/// `RTA_VIA` of linux/rtnetlink.h: a gateway of another address family than the route.
const RTA_VIA: u16 = 18;

/// The way of packets to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The index of the interface that they leave by.
    pub interface: u32,
    /// The router that they are handed to; none where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address that they get, unless the socket has one.
    pub source: Option<IpAddr>,
}

impl Socket {
    /// The way to `destination` as routing has it now, by `interface` (an index) where that is
    /// given, as the scope of a link-local address is.
    ///
    /// # Errors
    /// `ENETUNREACH`, `EHOSTUNREACH` and the like where no route leads there.
    pub fn route_to(&mut self, destination: IpAddr, interface: Option<u32>) -> io::Result<Route> {
        let bits = if destination.is_ipv4() { 32 } else { 128 };
        let mut fixed = [0; FIXED];
        [fixed[0], fixed[1]] = [family(destination), bits];
        let mut request = Request::new(libc::RTM_GETROUTE, 0, &fixed);
        request.push_ip(libc::RTA_DST, destination);
        if let Some(index) = interface {
            request.push(libc::RTA_OIF, &index.to_ne_bytes());
        }
        self.ask(request, parse)
    }

    /// Adds the default route of the gateway's address family to the main table.
    ///
    /// # Errors
    /// `EEXIST`: there is one already. `ENETUNREACH`, `EHOSTUNREACH`: the gateway is on no link.
    /// `EPERM`.
    pub fn add_default_route(&mut self, gateway: IpAddr) -> io::Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut fixed = [0; FIXED];
        fixed[0] = family(gateway);
        fixed[4] = libc::RT_TABLE_MAIN;
        fixed[5] = libc::RTPROT_STATIC;
        fixed[6] = libc::RT_SCOPE_UNIVERSE;
        fixed[7] = libc::RTN_UNICAST;
        let mut request = Request::new(libc::RTM_NEWROUTE, flags, &fixed);
        request.push_ip(libc::RTA_GATEWAY, gateway);
        self.request(request)
    }
}

fn parse(body: &[u8]) -> Option<Route> {
    let (mut interface, mut gateway, mut source) = (None, None, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::RTA_OIF => interface = number(value),
            libc::RTA_GATEWAY => gateway = ip(value),
            // struct rtvia: two bytes of address family, then the address.
            RTA_VIA => gateway = value.get(2..).and_then(ip),
            libc::RTA_PREFSRC => source = ip(value),
            _ => {}
        }
    }
    Some(Route { interface: interface?, gateway, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(parse(&bytes).is_none() || bytes.len() > FIXED);
        }
    }
}
