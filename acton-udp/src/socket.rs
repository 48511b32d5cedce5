//! A UDP socket set up for a tunnel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::Destination;

/// Socket buffer size asked for, in bytes: some 3 ms of a 10 Gbit/s stream, which a worker that
/// lost its core for a moment must not lose.
const BUFFER_LEN: usize = 4 << 20;

/// Returns the accumulator, linux/bpf_common.h.
const BPF_A: u32 = 0x10;

/// A non-blocking UDP socket that says to which local address a datagram came and takes merged
/// datagrams (UDP_GRO).
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    ipv6: bool,
}

impl UdpSocket {
    /// Binds to `local`; an unspecified IPv6 address takes IPv4 as well.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn bind(local: SocketAddr) -> io::Result<Self> {
        Self::bind_one(local, false)
    }

    /// Binds `count` sockets to the same address (SO_REUSEPORT, socket(7)); the kernel gives each
    /// peer's datagrams to one of them.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), also where a program of the same user shares the port already.
    pub fn bind_group(local: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let alone = Self::bind_one(local, false)?;
        if count <= 1 {
            return Ok(vec![alone]);
        }
        // It proved that nobody else has the port, which sharing would not notice.
        let local = alone.local_addr()?;
        drop(alone);
        (0..count).map(|_| Self::bind_one(local, true)).collect()
    }

    /// Has a datagram for this group of sockets go to the one whose number stands in the low
    /// `bits` bits of the word at offset 4 of its payload. A number that no socket has leaves the
    /// choice to the kernel.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn steer_by_word(&self, bits: u8) -> io::Result<()> {
        let mask = (1 << bits) - 1;
        crate::sys::attach_reuseport_filter(
            self.as_fd(),
            &mut [
                // A = the 32 bits at offset 4; A &= mask; return A
                crate::sys::bpf(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 4),
                crate::sys::bpf(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask),
                crate::sys::bpf(libc::BPF_RET | BPF_A, 0),
            ],
        )
    }

    fn bind_one(local: SocketAddr, shared: bool) -> io::Result<Self> {
        let ipv6 = local.is_ipv6();
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if ipv6 {
            socket.set_only_v6(local.ip() != IpAddr::from([0_u16; 8]))?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_recv_tclass_v6(true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        // Also of IPv4 inside an IPv6 socket.
        socket.set_recv_tos_v4(true)?;
        socket.set_reuse_port(shared)?;
        grow_buffers(&socket);
        // Kernels before 5.0 know no merging; then each datagram comes alone.
        if let Err(error) = setsockopt(&socket, sockopt::UdpGroSegment, &true) {
            log::debug!("no UDP_GRO on this kernel: {error}");
        }
        socket.bind(&SockAddr::from(local))?;
        Ok(Self { socket, ipv6 })
    }

    /// Has datagrams never be fragmented on their way, whatever the system believes of the path
    /// (IP_PMTUDISC_PROBE, ip(7)): one larger than the first link is refused, one larger than a
    /// later link is lost. For protocols that search for the path's MTU themselves.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn forbid_fragments(&self) -> io::Result<()> {
        let set = |level, option| {
            crate::sys::set_option(self.as_fd(), level, option, libc::IP_PMTUDISC_PROBE)
        };
        if self.ipv6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)?;
        }
        // IPv4 inside an IPv6 socket goes by the option of IPv4.
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    }

    /// Has the kernel keep what the network says of datagrams (IP_RECVERR, ip(7)) for
    /// [`take_report`](Self::take_report), also where the socket is not connected. It then must be
    /// taken: until it is, poll(2) reports an error.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn keep_reports(&self) -> io::Result<()> {
        let set = |level, option| crate::sys::set_option(self.as_fd(), level, option, 1);
        if self.ipv6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_RECVERR)?;
        }
        // What is said of IPv4 inside an IPv6 socket goes by the option of IPv4.
        set(libc::IPPROTO_IP, libc::IP_RECVERR)
    }

    /// What the network said of an earlier datagram, the oldest first; `None` where it said nothing
    /// more.
    pub fn take_report(&self) -> Option<Report> {
        let (name, control) = crate::sys::receive_error(self.as_fd()).ok()?;
        let (errno, mtu) = control.decode_error().unwrap_or_default();
        let max_payload = name.decode().filter(|_| errno == libc::EMSGSIZE).and_then(|to| {
            let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
            Some((to, (mtu as usize).checked_sub(headers)?))
        });
        Some(Report { error: io::Error::from_raw_os_error(errno), max_payload })
    }

    /// Talks to `remote` alone from now on, from the local address that routing chooses now, and
    /// learns what the network says of it.
    ///
    /// # Errors
    /// Those of connect(2), e.g. where no route leads there.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        // A socket connected before would keep the local address it had then.
        crate::sys::disconnect(self.as_fd())?;
        let remote = match remote {
            SocketAddr::V4(v4) if self.ipv6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => remote,
        };
        self.socket.connect(&SockAddr::from(remote))
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// A second handle of the same socket.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ipv6: self.ipv6 })
    }

    /// Whether addresses must be IPv6 ones, IPv4 mapped into them.
    pub fn is_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Sends one datagram, the rare kind that no batch waits for.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send(&self, to: &Destination, payload: &[u8]) -> io::Result<()> {
        let mut arena = crate::sys::SendArena::new(1, 1);
        let mut message = arena.begin();
        message.open(to, payload.len(), 0);
        message.add(payload);
        let mut refusals = 0;
        loop {
            match message.send(self.as_fd(), 0) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    refusals += 1;
                    if refusals == crate::REFUSALS || error.kind() == io::ErrorKind::WouldBlock {
                        return Err(error);
                    }
                }
            }
        }
    }
}

/// What the network said of a datagram, by an ICMP message that anybody may have forged; or the
/// system, of one too large for the first link.
#[derive(Debug)]
pub struct Report {
    /// What became of it.
    pub error: io::Error,
    /// Of one that was too large: where it went, and the largest payload that gets there, in bytes.
    pub max_payload: Option<(SocketAddr, usize)>,
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Past the system's limit where the process may, else up to it; a smaller buffer only loses
/// more under bursts.
fn grow_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_LEN).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER_LEN);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER_LEN).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER_LEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recv::RecvBatch;

    #[test]
    fn datagrams_go_to_the_socket_that_they_name() {
        let group = UdpSocket::bind_group("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        group[0].steer_by_word(2).unwrap();
        let to = Destination::new(group[0].local_addr().unwrap(), None, false);
        let mut batch = RecvBatch::new();
        for (index, socket) in group.iter().enumerate() {
            // From several sources, which alone would spread over the group.
            for _ in 0..8 {
                let sender = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let word = 0xabcd_ef00_u32 | index as u32;
                sender.send(&to, &[&[0; 4][..], &word.to_be_bytes()].concat()).unwrap();
                assert_eq!(batch.receive(socket.as_fd()).unwrap(), 1);
            }
        }
    }

    #[test]
    fn what_the_network_says_is_kept_and_in_nobodys_way() {
        for local in ["127.0.0.1:0", "[::]:0"] {
            let socket = UdpSocket::bind(local.parse().unwrap()).unwrap();
            socket.forbid_fragments().unwrap();
            socket.keep_reports().unwrap();
            let gone = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let closed = gone.local_addr().unwrap();
            drop(gone);
            let here = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let to = |address| Destination::new(address, None, socket.is_ipv6());
            assert!(socket.take_report().is_none());
            // Loopback says at once that nobody listens, and the next send does not suffer.
            socket.send(&to(closed), b"to nobody").unwrap();
            socket.send(&to(here.local_addr().unwrap()), b"to somebody").unwrap();
            assert_eq!(RecvBatch::new().receive(here.as_fd()).unwrap(), 1);
            let report = socket.take_report().unwrap();
            assert_eq!(report.error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(report.max_payload, None);
            assert!(socket.take_report().is_none());
            // The system itself says what the first link takes: 65,536 bytes on loopback.
            let huge = vec![0; crate::MAX_PAYLOAD + 1];
            assert!(socket.send(&to(closed), &huge).is_err());
        }
    }

    #[test]
    fn a_port_in_use_is_noticed_by_a_group_too() {
        let local = "127.0.0.1:0".parse().unwrap();
        let group = UdpSocket::bind_group(local, 2).unwrap();
        let taken = group[0].local_addr().unwrap();
        let error = UdpSocket::bind_group(taken, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
