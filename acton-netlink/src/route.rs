//! Which way packets go.

use std::io;
use std::net::IpAddr;

use crate::Socket;
use crate::message::{Attributes, Request, family, ip, number, short};

/// Bytes of `struct rtmsg` (linux/rtnetlink.h).
const FIXED: usize = 12;
/// Bytes of `struct rtnexthop`.
const NEXT_HOP: usize = 8;

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

    /// The default routes of both address families, those of several ways one by one.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn default_routes(&mut self) -> io::Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut fixed = [0; FIXED];
            fixed[0] = family as u8;
            let request = || Request::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &fixed);
            routes.extend(self.dump(request, parse_default)?);
        }
        Ok(routes)
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
    let (mut interface, mut source) = (None, None);
    for (kind, value) in Attributes::after(FIXED, body) {
        match kind {
            libc::RTA_OIF => interface = number(value),
            libc::RTA_PREFSRC => source = ip(value),
            _ => {}
        }
    }
    let gateway = gateway(Attributes::after(FIXED, body));
    Some(Route { interface: interface?, gateway, source })
}

fn gateway(attributes: Attributes<'_>) -> Option<IpAddr> {
    let mut gateway = None;
    for (kind, value) in attributes {
        match kind {
            libc::RTA_GATEWAY => gateway = ip(value),
            // struct rtvia: two bytes of address family, then the address.
            RTA_VIA => gateway = value.get(2..).and_then(ip),
            _ => {}
        }
    }
    gateway
}

/// The ways of a default route; none of another one.
fn parse_default(body: &[u8]) -> Vec<Route> {
    // struct rtmsg: the destination's bits are its second byte, the type its eighth.
    if body.get(1) != Some(&0) || body.get(7) != Some(&libc::RTN_UNICAST) {
        return Vec::new();
    }
    let mut routes: Vec<_> = parse(body).into_iter().collect();
    for (kind, mut hops) in Attributes::after(FIXED, body) {
        if kind != libc::RTA_MULTIPATH {
            continue;
        }
        // struct rtnexthop: its length, flags and weight, the interface, then attributes.
        while let Some(hop) = short(hops).and_then(|length| hops.get(..usize::from(length))) {
            let Some(interface) = hop.get(4..).and_then(number) else { break };
            let gateway = gateway(Attributes::after(NEXT_HOP, hop));
            routes.push(Route { interface, gateway, source: None });
            hops = hops.get(hop.len().next_multiple_of(4)..).unwrap_or_default();
        }
    }
    routes
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
            let mut bytes = bytes;
            if let Some([_, bits, .., kind]) = bytes.first_chunk_mut::<8>() {
                (*bits, *kind) = (0, libc::RTN_UNICAST);
            }
            prop_assert!(parse_default(&bytes).len() <= bytes.len());
        }
    }
}
