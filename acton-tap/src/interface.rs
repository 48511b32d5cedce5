//! The kernel's side of an interface: MAC, MTU, addresses, state, bridge.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use acton_netlink::{Address, NewAddress, Socket, TapStatus};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use pnet_base::MacAddr;

use crate::error::Error;
use crate::name;
use crate::sys::{self, Ifreq, IfreqCall};

/// Any network interface, by its name (netdevice(7)).
///
/// It is looked up in the network namespace of the thread that opens it, and stays bound to that
/// namespace. Changes need `CAP_NET_ADMIN` there; reading needs nothing. When the interface has
/// been renamed or deleted, calls say that there is no such interface; only those about addresses go
/// by its index, which outlives a name, and one that is deleted has none.
#[derive(Debug)]
pub struct Interface {
    name: String,
    index: u32,
    inet: OwnedFd,
    netlink: Mutex<Socket>,
}

impl Interface {
    /// Looks up the interface called `name`.
    ///
    /// # Errors
    /// The name cannot be an interface's, or is none's.
    pub fn open(name: &str) -> Result<Self, Error> {
        name::check(name)?;
        let failed = |error: io::Error| Error::os(name, "open a socket for it", error);
        let inet = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let mut interface = Self {
            name: name.to_owned(),
            index: 0,
            inet: inet.map_err(|errno| failed(errno.into()))?,
            netlink: Mutex::new(Socket::open().map_err(failed)?),
        };
        let index = interface.get(IfreqCall::GetIndex, "find it")?.int();
        interface.index = index as u32;
        Ok(interface)
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index, by which the kernel knows it for life.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its MAC address.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mac(&self) -> Result<MacAddr, Error> {
        // struct sockaddr: two bytes of hardware type, then the address.
        let [_, _, mac @ ..] = self.get(IfreqCall::GetMac, "read its MAC")?.value::<8>();
        Ok(mac.into())
    }

    /// Sets its MAC address.
    ///
    /// # Errors
    /// The address is a group's or zero, or the interface cannot, or not while it is up.
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), Error> {
        let [t0, t1] = libc::ARPHRD_ETHER.to_ne_bytes();
        let [a, b, c, d, e, f] = mac.octets();
        let address = [t0, t1, a, b, c, d, e, f];
        self.set(IfreqCall::SetMac, &address, || format!("set its MAC to {mac}"))
            .map_err(|e| e.advise(Errno::EADDRNOTAVAIL, "it must be unicast and not zero"))
            .map_err(|e| e.advise(Errno::EBUSY, "take it down first"))
    }

    /// Its MTU: bytes of an IP packet.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> Result<u32, Error> {
        Ok(self.get(IfreqCall::GetMtu, "read its MTU")?.int() as u32)
    }

    /// Sets its MTU. Under 1,280 bytes it loses its IPv6 addresses.
    ///
    /// # Errors
    /// The MTU is less than 68 bytes or more than the interface can.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), Error> {
        self.set(IfreqCall::SetMtu, &mtu.to_ne_bytes(), || format!("set its MTU to {mtu}")).map_err(
            |error| error.advise(Errno::EINVAL, "see its minmtu and maxmtu in `ip -d link`"),
        )
    }

    /// Frames that wait in its transmit queue at most. A TAP's queues take it as the length of
    /// what waits for the program to read.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn tx_queue_len(&self) -> Result<u32, Error> {
        Ok(self.get(IfreqCall::GetTxQueueLen, "read its queue length")?.int() as u32)
    }

    /// Sets how many frames wait in its transmit queue at most.
    ///
    /// # Errors
    /// The length is more than the kernel takes.
    pub fn set_tx_queue_len(&self, frames: u32) -> Result<(), Error> {
        let step = || format!("set its queue length to {frames}");
        self.set(IfreqCall::SetTxQueueLen, &frames.to_ne_bytes(), step)
    }

    /// Whether it was set up.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn is_up(&self) -> Result<bool, Error> {
        Ok(self.flags()? & libc::IFF_UP as u16 != 0)
    }

    /// Whether it is up and its link is too: frames can pass.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn is_running(&self) -> Result<bool, Error> {
        Ok(self.flags()? & libc::IFF_RUNNING as u16 != 0)
    }

    /// Sets it up.
    ///
    /// # Errors
    /// The interface is gone, or cannot.
    pub fn up(&self) -> Result<(), Error> {
        let flags = self.flags()? | libc::IFF_UP as u16;
        self.set(IfreqCall::SetFlags, &flags.to_ne_bytes(), || "set it up".to_owned())
    }

    /// Sets it down.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn down(&self) -> Result<(), Error> {
        let flags = self.flags()? & !(libc::IFF_UP as u16);
        self.set(IfreqCall::SetFlags, &flags.to_ne_bytes(), || "set it down".to_owned())
    }

    /// Its IPv4 and IPv6 addresses.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        let addresses = self.netlink().addresses(self.index);
        addresses.map_err(|error| self.error("list its addresses", error))
    }

    /// Adds an address to those it has. An IPv4 subnet of /30 or larger gets the usual broadcast
    /// address, its last one.
    ///
    /// # Errors
    /// The prefix is longer than the address, the interface has the address already, or it has no
    /// IPv6 (its MTU is under 1,280, or sysctl disable_ipv6 is set).
    pub fn add_address(&self, ip: IpAddr, prefix_len: u8) -> Result<(), Error> {
        self.add_usual(NewAddress::new(ip, prefix_len), ip, prefix_len)
    }

    /// As [`add_address`](Self::add_address), with a note of who adds it: a number that is not in
    /// use on the host, which [`addresses`](Self::addresses) tells. Linux before 5.18 keeps no note.
    ///
    /// # Errors
    /// As of `add_address`.
    pub fn add_noted_address(&self, ip: IpAddr, prefix_len: u8, protocol: u8) -> Result<(), Error> {
        self.add_usual(NewAddress::new(ip, prefix_len).protocol(protocol), ip, prefix_len)
    }

    fn add_usual(&self, address: NewAddress, ip: IpAddr, prefix_len: u8) -> Result<(), Error> {
        match ip {
            IpAddr::V4(ip) => self.add(address.broadcast(usual_broadcast(ip, prefix_len))),
            IpAddr::V6(_) => self
                .add(address)
                .map_err(|e| e.advise(Errno::EACCES, "sysctl disable_ipv6 is set for it"))
                .map_err(|e| e.advise(Errno::EOPNOTSUPP, "this kernel has no IPv6")),
        }
    }

    /// As [`add_address`](Self::add_address), with a broadcast address of one's own, or none.
    ///
    /// # Errors
    /// The prefix is longer than 32, or the interface has the address already.
    pub fn add_ipv4_address(
        &self,
        ip: Ipv4Addr,
        prefix_len: u8,
        broadcast: Option<Ipv4Addr>,
    ) -> Result<(), Error> {
        self.add(NewAddress::new(ip, prefix_len).broadcast(broadcast))
    }

    // Not by ioctl: SIOCSIFADDR gives an interface the prefix of an IPv4 address's class first
    // (10.0.0.0/8, with a route if the interface is up), and replaces the address that there is.
    fn add(&self, address: NewAddress) -> Result<(), Error> {
        let result = self.netlink().add_address(self.index, &address);
        result.map_err(|error| self.error(format!("add {address}"), error))
    }

    /// Takes an address away, and no other. Those that the kernel takes with the first IPv4 address
    /// of a subnet (unless sysctl promote_secondaries is set) are added again at once, with their
    /// broadcast address and note.
    ///
    /// # Errors
    /// The interface has no such address with that prefix.
    pub fn remove_address(&self, ip: IpAddr, prefix_len: u8) -> Result<(), Error> {
        let before = if ip.is_ipv4() { self.addresses()? } else { Vec::new() };
        let result = self.netlink().remove_address(self.index, ip, prefix_len);
        result.map_err(|error| self.error(format!("remove {ip}/{prefix_len}"), error))?;
        if before.len() < 2 {
            return Ok(());
        }
        let left = self.addresses()?;
        for lost in before.iter().filter(|address| address.ip.is_ipv4() && !left.contains(address))
        {
            // Of another prefix it was somebody else who took it away.
            if lost.prefix_len == prefix_len && lost.ip != ip {
                let again = NewAddress::new(lost.ip, prefix_len).broadcast(lost.broadcast);
                self.add(again.protocol(lost.protocol))?;
            }
        }
        Ok(())
    }

    /// The bridge that it is a port of.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn bridge(&self) -> Result<Option<String>, Error> {
        let mut netlink = self.netlink();
        let bridge = netlink.link(&self.name).and_then(|link| match link.master {
            Some(index) if link.master_kind == "bridge" => netlink.link_by_index(index).map(Some),
            _ => Ok(None),
        });
        let bridge = bridge.map_err(|error| self.error("read its bridge", error))?;
        Ok(bridge.map(|bridge| bridge.name))
    }

    /// Makes it a port of the Linux bridge `bridge` (`SIOCBRADDIF`).
    ///
    /// # Errors
    /// There is no such bridge, or it is a port of some bridge already.
    pub fn join_bridge(&self, bridge: &str) -> Result<(), Error> {
        let step = || format!("join bridge {bridge}");
        self.bridge_call(IfreqCall::BridgeAdd, bridge, step)
            .map_err(|e| e.advise(Errno::EBUSY, "it is a port of some bridge or bond already; `ip link set dev NAME nomaster` takes it out"))
            .map_err(|e| e.advise(Errno::ENODEV, "the bridge or the interface is not there"))
            .map_err(|e| e.advise(Errno::EOPNOTSUPP, "that is not a bridge"))
    }

    /// Takes it out of its bridge (`SIOCBRDELIF`); nothing to do if it is in none.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn leave_bridge(&self) -> Result<(), Error> {
        let Some(bridge) = self.bridge()? else { return Ok(()) };
        self.bridge_call(IfreqCall::BridgeRemove, &bridge, || format!("leave bridge {bridge}"))
    }

    /// As a port of a bridge: whether nothing passes between it and other isolated ports of that. `None`
    /// if it is in none.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn is_isolated(&self) -> Result<Option<bool>, Error> {
        let link = self.netlink().link(&self.name);
        let link = link.map_err(|error| self.error("read its flags as a bridge's port", error))?;
        Ok(link.port.map(|port| port.isolated))
    }

    /// Has nothing pass between it and other isolated ports of its bridge, or not so.
    ///
    /// # Errors
    /// It is a port of no bridge.
    pub fn set_isolated(&self, isolated: bool) -> Result<(), Error> {
        let step = || format!("set it isolated {}", if isolated { "on" } else { "off" });
        let result = self.netlink().set_port_isolated(self.index, isolated);
        result
            .map_err(|error| self.error(step(), error))
            .map_err(|e| e.advise(Errno::EOPNOTSUPP, "it is a port of no bridge"))
    }

    fn bridge_call(
        &self,
        call: IfreqCall,
        bridge: &str,
        step: impl Fn() -> String,
    ) -> Result<(), Error> {
        name::check(bridge)?;
        let mut request = Ifreq::new(bridge).with(&self.index.to_ne_bytes());
        sys::ifreq(&self.inet, call, &mut request).map_err(|error| self.error(step(), error))
    }

    /// Its state as a TAP; `None` if it is another kind of interface.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn tap_status(&self) -> Result<Option<TapStatus>, Error> {
        let link = self.netlink().link(&self.name);
        Ok(link.map_err(|error| self.error("read its status", error))?.tap)
    }

    /// Whether it forwards IPv6 (sysctl forwarding): then it must tell its neighbours that it is a
    /// router (RFC 4861, section 4.4).
    ///
    /// # Errors
    /// The interface is gone.
    pub fn is_ipv6_router(&self) -> Result<bool, Error> {
        let link = self.netlink().link(&self.name);
        Ok(link.map_err(|error| self.error("read its sysctls", error))?.ipv6_forwarding)
    }

    fn flags(&self) -> Result<u16, Error> {
        Ok(self.get(IfreqCall::GetFlags, "read its flags")?.flags())
    }

    fn get(&self, call: IfreqCall, step: &str) -> Result<Ifreq, Error> {
        let mut request = Ifreq::new(&self.name);
        sys::ifreq(&self.inet, call, &mut request).map_err(|error| self.error(step, error))?;
        Ok(request)
    }

    fn set(&self, call: IfreqCall, value: &[u8], step: impl Fn() -> String) -> Result<(), Error> {
        let mut request = Ifreq::new(&self.name).with(value);
        sys::ifreq(&self.inet, call, &mut request).map_err(|error| self.error(step(), error))
    }

    fn netlink(&self) -> MutexGuard<'_, Socket> {
        // A request that a panic cut off leaves only answers that the next one skips.
        self.netlink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, step: impl Into<String>, error: io::Error) -> Error {
        Error::os(&self.name, step, error)
    }
}

fn netmask(prefix_len: u8) -> Ipv4Addr {
    u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0).into()
}

/// The last address of the subnet; /31 and /32 have none to spare (RFC 3021).
fn usual_broadcast(ip: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    (prefix_len < 31).then(|| ip | !netmask(prefix_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broadcast_address_is_the_last_one() {
        let ip = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(usual_broadcast(ip, 0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(usual_broadcast(ip, 8), Some(Ipv4Addr::new(10, 255, 255, 255)));
        assert_eq!(usual_broadcast(ip, 30), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(usual_broadcast(ip, 31), None);
        assert_eq!(usual_broadcast(ip, 32), None);
    }
}
