//! The headers that a datagram could have had: a UDP socket sees none.

use std::net::{IpAddr, SocketAddr};

use pnet_packet::ip::IpNextHeaderProtocols::Udp;
use pnet_packet::util::{checksum, ipv4_checksum, ipv6_checksum};

/// Bytes of a UDP header (RFC 768).
const UDP_LEN: usize = 8;
/// The hop limit that Linux has.
const HOPS: u8 = 64;

/// Ethernet, IP and UDP before a datagram of `len` bytes that begins with `payload`. Its MACs are zeros;
/// checksums are right, but UDP's is left out where bytes are missing.
pub(super) fn headers(from: SocketAddr, to: SocketAddr, payload: &[u8], len: usize) -> Vec<u8> {
    let udp_len = (UDP_LEN + len) as u16;
    let mut udp =
        [from.port().to_be_bytes(), to.port().to_be_bytes(), udp_len.to_be_bytes(), [0; 2]]
            .concat();
    // In one piece: of odd bytes that come beside it, pnet leaves out the last.
    let whole = (payload.len() == len).then(|| [&udp, payload].concat());
    let mut headers = vec![0; 12];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            headers.extend([0x08, 0x00]);
            let mut ip = vec![0x45, 0];
            ip.extend((20 + udp_len).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, HOPS, Udp.0, 0, 0]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            let sum = checksum(&ip, 5);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            if let Some(whole) = whole {
                let sum = ipv4_checksum(&whole, 3, &[], &from, &to, Udp);
                udp[6..].copy_from_slice(&not_zero(sum));
            }
            headers.extend(ip);
        }
        (from, to) => {
            let v6 = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let (from, to) = (v6(from), v6(to));
            headers.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            headers.extend(udp_len.to_be_bytes());
            headers.extend([Udp.0, HOPS]);
            headers.extend(from.octets());
            headers.extend(to.octets());
            if let Some(whole) = whole {
                let sum = ipv6_checksum(&whole, 3, &[], &from, &to, Udp);
                udp[6..].copy_from_slice(&not_zero(sum));
            }
        }
    }
    headers.extend(udp);
    headers
}

/// A sum of 0 is written as its complement: 0 says that there is none (RFC 768).
fn not_zero(sum: u16) -> [u8; 2] {
    if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() }
}

#[cfg(test)]
mod tests {
    use acton_frame::{Headers, Protocol};
    use pnet_packet::Packet;
    use pnet_packet::ipv4::{self, Ipv4Packet};
    use pnet_packet::udp::{UdpPacket, ipv4_checksum, ipv6_checksum};

    use super::*;

    fn frame(from: &str, to: &str, payload: &[u8], len: usize) -> Vec<u8> {
        let headers = headers(from.parse().unwrap(), to.parse().unwrap(), payload, len);
        [&headers[..], payload].concat()
    }

    #[test]
    fn they_are_those_of_a_datagram() {
        let frame = frame("192.0.2.1:8080", "192.0.2.10:41000", &[7; 33], 33);
        let headers = Headers::parse(&frame);
        let udp = headers.transport().unwrap();
        assert_eq!((udp.protocol, udp.payload, frame.len()), (Protocol::Udp, 42, 75));
        assert!(headers.ip().unwrap().fills);
        assert_eq!(headers.hosts(&frame).unwrap(), [192, 0, 2, 1, 192, 0, 2, 10]);
        assert_eq!(headers.ports(&frame), Some(&[0x1f, 0x90, 0xa0, 0x28]));
        let ip = Ipv4Packet::new(&frame[14..]).unwrap();
        assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
        let udp = UdpPacket::new(ip.payload()).unwrap();
        let sum = ipv4_checksum(&udp, &ip.get_source(), &ip.get_destination());
        assert_eq!(udp.get_checksum(), sum);
    }

    #[test]
    fn and_of_ipv6() {
        let frame = frame("[2001:db8::1]:1", "[2001:db8::2]:2", &[7; 33], 33);
        let headers = Headers::parse(&frame);
        assert_eq!((headers.transport().unwrap().payload, frame.len()), (62, 95));
        assert!(headers.ip().unwrap().fills);
        let udp = UdpPacket::new(&frame[54..]).unwrap();
        let sum =
            ipv6_checksum(&udp, &"2001:db8::1".parse().unwrap(), &"2001:db8::2".parse().unwrap());
        assert_eq!(udp.get_checksum(), sum);
    }

    #[test]
    fn one_of_which_bytes_are_missing_has_no_checksum() {
        let frame = frame("192.0.2.1:8080", "192.0.2.10:41000", &[7; 16], 1_000);
        let udp = UdpPacket::new(&frame[34..]).unwrap();
        assert_eq!((udp.get_length(), udp.get_checksum()), (1_008, 0));
    }
}
