//! Messages and attributes as bytes (linux/netlink.h), in the host's byte order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of `struct nlmsghdr` and of `struct nlattr`.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// Messages and attributes begin at multiples of this many bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;

/// The two high bits of `nlattr::nla_type` are flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// A message to the kernel, in the making.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A message of type `kind` (`RTM_*`), to be acknowledged, with further `flags` (`NLM_F_*`)
    /// and the fixed part that comes before its attributes.
    pub(crate) fn new(kind: u16, flags: libc::c_int, fixed: &[u8]) -> Self {
        let flags = flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend(fixed);
        Self(bytes)
    }

    pub(crate) fn push(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |request| request.0.extend(value));
    }

    /// Appends a text that ends in a NUL.
    pub(crate) fn push_text(&mut self, kind: u16, text: &str) {
        self.push(kind, &[text.as_bytes(), &[0]].concat());
    }

    pub(crate) fn push_ip(&mut self, kind: u16, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.push(kind, &ip.octets()),
            IpAddr::V6(ip) => self.push(kind, &ip.octets()),
        }
    }

    /// Appends an attribute whose value is what `fill` appends.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; ATTRIBUTE]);
        fill(self);
        // A value too long for its length field is one that no kernel takes: it refuses the message.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// Appends the fixed part of a message within a message.
    pub(crate) fn extend(&mut self, fixed: &[u8]) {
        self.0.extend(fixed);
    }

    /// The message as it is sent. The kernel fills in the sender's port.
    pub(crate) fn bytes(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.0
    }
}

/// A message from the kernel.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram; ends at the first that does not fit.
#[derive(Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = number(self.0)? as usize;
        let body = self.0.get(HEADER..length)?;
        let kind = short(&self.0[4..])?;
        let flags = short(&self.0[6..])?;
        let sequence = number(&self.0[8..])?;
        self.0 = after(self.0, length);
        Some(Message { kind, flags, sequence, body })
    }
}

/// The attributes (type, value) of a message; ends at the first that does not fit.
#[derive(Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that follow `fixed` bytes of `body`.
    pub(crate) fn after(fixed: usize, body: &'a [u8]) -> Self {
        Self(body.get(fixed..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(short(self.0)?);
        let value = self.0.get(ATTRIBUTE..length)?;
        let kind = short(&self.0[2..])? & TYPE_MASK;
        self.0 = after(self.0, length);
        Some((kind, value))
    }
}

/// What follows a message or an attribute of `length` bytes.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default()
}

pub(crate) fn short(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|&bytes| u16::from_ne_bytes(bytes))
}

pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|&bytes| u32::from_ne_bytes(bytes))
}

/// A text up to its NUL, or to its end.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An address of 4 or 16 bytes.
pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// The address family of `ip` (`AF_*`), as wide as rtnetlink's headers have it.
pub(crate) fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_goes_there_and_back() {
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE, &[1, 2, 3, 4]);
        request.push_text(3, "lo");
        request.nest(18, |request| request.push(1, &[7; 5]));
        let mut bytes = request.bytes(42).to_vec();
        bytes.extend(Request::new(libc::RTM_DELLINK, 0, &[]).bytes(43));

        let messages: Vec<_> = Messages(&bytes).collect();
        assert_eq!(messages.len(), 2);
        let (first, second) = (&messages[0], &messages[1]);
        assert_eq!((first.kind, first.sequence), (libc::RTM_NEWLINK, 42));
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
        assert_eq!(i32::from(first.flags), flags);
        assert_eq!((second.kind, second.sequence, second.body), (libc::RTM_DELLINK, 43, &[][..]));

        let attributes: Vec<_> = Attributes::after(4, first.body).collect();
        assert_eq!(attributes.len(), 2);
        assert_eq!((attributes[0].0, text(attributes[0].1)), (3, "lo".to_owned()));
        assert_eq!(attributes[1].0, 18);
        let nested: Vec<_> = Attributes::after(0, attributes[1].1).collect();
        assert_eq!(nested, [(1, &[7; 5][..])]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_iterators_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for message in Messages(&bytes) {
                prop_assert!(message.body.len() < bytes.len());
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE);
        }
    }
}
