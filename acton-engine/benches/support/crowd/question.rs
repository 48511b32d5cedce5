//! A frame that the server's kernel answers at once: who has the address of its TAP?

use std::net::Ipv4Addr;

/// Before the addresses of an Ethernet frame's ARP of IPv4: broadcast, then a request.
const ARP_REQUEST: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];

/// The MAC of client `number`.
pub(crate) fn mac(number: usize) -> [u8; 6] {
    let [a, b, c, d] = (number as u32).to_be_bytes();
    // Locally administered.
    [6, 0, a, b, c, d]
}

/// An ARP request (RFC 826) by who has that MAC and claims that address; with none, an address that
/// it looks for before it takes it (RFC 5227), the kernel answers and remembers nothing.
pub(crate) fn who_has(target: Ipv4Addr, mac: [u8; 6], own: Ipv4Addr) -> Vec<u8> {
    let ethernet = [&[0xff; 6][..], &mac].concat();
    let sender = [&mac[..], &own.octets()].concat();
    let target = [&[0; 6][..], &target.octets()].concat();
    [ethernet, ARP_REQUEST.to_vec(), sender, target].concat()
}

/// Whether a frame is the answer to [`who_has`].
pub(crate) fn answers(frame: &[u8], mac: [u8; 6], own: Ipv4Addr) -> bool {
    frame.get(20..22) == Some(&[0, 2])
        && frame.get(32..38) == Some(&mac)
        && frame.get(38..42) == Some(&own.octets())
}
