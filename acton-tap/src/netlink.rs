//! As much of rtnetlink(7) as has no ioctl that does it well: IPv4 addresses, their removal, the
//! list of all addresses, and what a link is and belongs to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::unistd::{read, write};

use crate::interface::Address;

/// Bytes of `struct nlmsghdr`, `struct ifaddrmsg`, `struct ifinfomsg` and `struct rtattr`.
const HEADER: usize = 16;
const ADDRESS: usize = 8;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;

/// Bytes of a read: the kernel fills a datagram of a dump with up to 32 KiB (net/netlink/af_netlink.c).
const ROOM: usize = 1 << 15;

/// The two low bits of `nlattr::nla_type` are flags (linux/netlink.h, `NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// `IFLA_TUN_*` of linux/if_link.h.
const TUN_OWNER: u16 = 1;
const TUN_GROUP: u16 = 2;
const TUN_TYPE: u16 = 3;
const TUN_VNET_HDR: u16 = 5;
const TUN_PERSIST: u16 = 6;
const TUN_MULTI_QUEUE: u16 = 7;
const TUN_NUM_QUEUES: u16 = 8;
const TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// What the kernel tells about a TAP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapStatus {
    /// The user that may attach without `CAP_NET_ADMIN`.
    pub owner: Option<u32>,
    /// The group whose members may attach without `CAP_NET_ADMIN`.
    pub group: Option<u32>,
    /// Whether it stays when its last queue closes.
    pub persist: bool,
    /// Whether frames are preceded by a [`VnetHeader`](crate::VnetHeader).
    pub vnet_header: bool,
    /// Whether it can have several queues.
    pub multi_queue: bool,
    /// Queues that are attached; 0 without `multi_queue`, where the kernel does not tell.
    pub queues: u32,
    /// Queues that are [detached](crate::Queue::detach) and still open.
    pub detached_queues: u32,
}

/// What the kernel tells about an interface.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// The index of the bridge, bond or other device that it is a port of.
    pub(crate) master: Option<u32>,
    /// The kind of that device.
    pub(crate) master_kind: String,
    /// Its state as a TAP, if it is one.
    pub(crate) tap: Option<TapStatus>,
}

/// A netlink socket of the network namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The addresses of interface `index`, in the kernel's order.
    pub(crate) fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        loop {
            let mut found = Vec::new();
            let result =
                self.transact(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS], |body| {
                    found.extend(parse_address(body, index));
                });
            match result {
                // An address came or went meanwhile (NLM_F_DUMP_INTR): ask again.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|()| found),
            }
        }
    }

    pub(crate) fn add_ipv4(
        &mut self,
        index: u32,
        ip: Ipv4Addr,
        prefix_len: u8,
        broadcast: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        let body = address_body(index, ip, prefix_len, broadcast);
        self.transact(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body, |_| {})
    }

    pub(crate) fn remove_ipv4(
        &mut self,
        index: u32,
        ip: Ipv4Addr,
        prefix_len: u8,
    ) -> io::Result<()> {
        let body = address_body(index, ip, prefix_len, None);
        self.transact(libc::RTM_DELADDR, 0, &body, |_| {})
    }

    /// The interface called `name`; `ENODEV` if there is none.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Link> {
        let mut body = vec![0; LINK];
        push_attribute(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        let mut link = Link::default();
        self.transact(libc::RTM_GETLINK, 0, &body, |body| link = parse_link(body))?;
        Ok(link)
    }

    /// Sends one request and hands the body of each answer to `answer`, until the kernel
    /// acknowledges or the dump is done.
    fn transact(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        body: &[u8],
        mut answer: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend(u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((flags as u16).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]); // the kernel fills in our port
        request.extend(body);
        write(&self.socket, &request)?;

        let mut buffer = vec![0; ROOM];
        let mut interrupted = false;
        loop {
            let length = match read(&self.socket, &mut buffer) {
                Err(Errno::EINTR) => continue,
                length => length?,
            };
            for message in Messages(&buffer[..length]) {
                if message.sequence != self.sequence {
                    continue; // left over from a request that failed half-way
                }
                interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let code = number(message.body).unwrap_or(0).cast_signed();
                        return match code {
                            0 if interrupted => Err(Errno::EINTR.into()),
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => answer(message.body),
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of a datagram; ends at the first that does not fit.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = number(self.0)? as usize;
        let body = self.0.get(HEADER..length)?;
        let kind = short(&self.0[4..])?;
        let flags = short(&self.0[6..])?;
        let sequence = number(&self.0[8..])?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, body })
    }
}

/// The attributes (type, value) of a message; ends at the first that does not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(short(self.0)?);
        let value = self.0.get(ATTRIBUTE..length)?;
        let kind = short(&self.0[2..])? & TYPE_MASK;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn short(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|&bytes| u16::from_ne_bytes(bytes))
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|&bytes| u32::from_ne_bytes(bytes))
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

fn push_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = ATTRIBUTE + value.len();
    message.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn address_body(index: u32, ip: Ipv4Addr, prefix_len: u8, broadcast: Option<Ipv4Addr>) -> Vec<u8> {
    let mut body = vec![libc::AF_INET as u8, prefix_len, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    push_attribute(&mut body, libc::IFA_LOCAL, &ip.octets());
    push_attribute(&mut body, libc::IFA_ADDRESS, &ip.octets());
    if let Some(broadcast) = broadcast {
        push_attribute(&mut body, libc::IFA_BROADCAST, &broadcast.octets());
    }
    body
}

fn parse_address(body: &[u8], index: u32) -> Option<Address> {
    let prefix_len = *body.get(1)?;
    if number(body.get(4..)?)? != index {
        return None;
    }
    let (mut own, mut peer, mut broadcast) = (None, None, None);
    for (kind, value) in Attributes(body.get(ADDRESS..)?) {
        match kind {
            libc::IFA_LOCAL => own = ip(value),
            libc::IFA_ADDRESS => peer = ip(value),
            libc::IFA_BROADCAST => {
                broadcast = value.first_chunk().map(|&octets: &[u8; 4]| octets.into());
            }
            _ => {}
        }
    }
    // IPv6 has IFA_LOCAL only where the peer's address differs.
    Some(Address { ip: own.or(peer)?, prefix_len, broadcast })
}

fn parse_link(body: &[u8]) -> Link {
    let mut link = Link::default();
    for (kind, value) in Attributes(body.get(LINK..).unwrap_or_default()) {
        match kind {
            libc::IFLA_MASTER => link.master = number(value),
            libc::IFLA_LINKINFO => {
                for (kind, value) in Attributes(value) {
                    match kind {
                        libc::IFLA_INFO_SLAVE_KIND => link.master_kind = text(value),
                        // The data follows its kind, and only TUN's kind has these.
                        libc::IFLA_INFO_KIND if text(value) == "tun" => {
                            link.tap = Some(TapStatus::default());
                        }
                        libc::IFLA_INFO_DATA if link.tap.is_some() => link.tap = parse_tap(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

/// `None` for a TUN (layer 3) device.
fn parse_tap(data: &[u8]) -> Option<TapStatus> {
    let mut status = TapStatus::default();
    for (kind, value) in Attributes(data) {
        let on = value.first() == Some(&1);
        match kind {
            TUN_OWNER => status.owner = number(value),
            TUN_GROUP => status.group = number(value),
            TUN_TYPE if value.first().copied() != Some(libc::IFF_TAP as u8) => return None,
            TUN_VNET_HDR => status.vnet_header = on,
            TUN_PERSIST => status.persist = on,
            TUN_MULTI_QUEUE => status.multi_queue = on,
            TUN_NUM_QUEUES => status.queues = number(value).unwrap_or(0),
            TUN_NUM_DISABLED_QUEUES => status.detached_queues = number(value).unwrap_or(0),
            _ => {}
        }
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_goes_there_and_back() {
        let (ip, broadcast) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 1, 2, 255));
        let body = address_body(7, ip, 24, Some(broadcast));
        let address = Address { ip: ip.into(), prefix_len: 24, broadcast: Some(broadcast) };
        assert_eq!(parse_address(&body, 7), Some(address));
        assert_eq!(parse_address(&body, 8), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages(&bytes) {
                prop_assert!(message.body.len() < bytes.len());
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE);
            parse_link(&bytes);
            parse_address(&bytes, 0);
        }
    }
}
