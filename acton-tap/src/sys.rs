//! The ioctls, and all the unsafe code of this crate.
//!
//! Each request code is a variant of an enum that stands for one shape of argument, so that no safe
//! caller can pair a code with a wrong argument.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Adds and removes a bridge port (linux/sockios.h).
const SIOCBRADDIF: libc::Ioctl = 0x89a2;
const SIOCBRDELIF: libc::Ioctl = 0x89a3;

/// Bytes of `ifr_ifru`, the union that follows the name.
const VALUE: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ;

/// `struct ifreq` of linux/if.h (netdevice(7)), its union held as bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ifreq {
    name: [u8; libc::IFNAMSIZ],
    value: Value,
}

/// The union has pointers in it, hence their alignment.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
struct Value([u8; VALUE]);

const _: () = assert!(size_of::<Ifreq>() == size_of::<libc::ifreq>());
const _: () = assert!(align_of::<Ifreq>() >= align_of::<libc::ifreq>());

impl Ifreq {
    /// A request for the interface `name`; a name of more than 15 bytes is cut.
    pub(crate) fn new(name: &str) -> Self {
        let mut request = Self { name: [0; libc::IFNAMSIZ], value: Value([0; VALUE]) };
        let length = name.len().min(libc::IFNAMSIZ - 1);
        request.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        request
    }

    /// With the union's first bytes set; no member is longer than the union.
    pub(crate) fn with(mut self, value: &[u8]) -> Self {
        self.value.0[..value.len()].copy_from_slice(value);
        self
    }

    pub(crate) fn name(&self) -> String {
        let name = self.name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// The union's first `N` bytes.
    pub(crate) fn value<const N: usize>(&self) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&self.value.0[..N]);
        value
    }

    /// `ifr_flags`.
    pub(crate) fn flags(&self) -> u16 {
        u16::from_ne_bytes(self.value())
    }

    /// `ifr_mtu`, `ifr_ifindex`, `ifr_qlen`: whichever `int` was asked for.
    pub(crate) fn int(&self) -> i32 {
        i32::from_ne_bytes(self.value())
    }
}

/// Requests whose argument is a `struct ifreq`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfreqCall {
    GetFlags,
    SetFlags,
    GetIndex,
    GetMac,
    SetMac,
    GetMtu,
    SetMtu,
    GetTxQueueLen,
    SetTxQueueLen,
    BridgeAdd,
    BridgeRemove,
    TunAttach,
    TunGet,
    TunQueue,
}

impl IfreqCall {
    fn code(self) -> libc::Ioctl {
        match self {
            Self::GetFlags => libc::SIOCGIFFLAGS as libc::Ioctl,
            Self::SetFlags => libc::SIOCSIFFLAGS as libc::Ioctl,
            Self::GetIndex => libc::SIOCGIFINDEX as libc::Ioctl,
            Self::GetMac => libc::SIOCGIFHWADDR as libc::Ioctl,
            Self::SetMac => libc::SIOCSIFHWADDR as libc::Ioctl,
            Self::GetMtu => libc::SIOCGIFMTU as libc::Ioctl,
            Self::SetMtu => libc::SIOCSIFMTU as libc::Ioctl,
            Self::GetTxQueueLen => libc::SIOCGIFTXQLEN as libc::Ioctl,
            Self::SetTxQueueLen => libc::SIOCSIFTXQLEN as libc::Ioctl,
            Self::BridgeAdd => SIOCBRADDIF,
            Self::BridgeRemove => SIOCBRDELIF,
            Self::TunAttach => libc::TUNSETIFF,
            Self::TunGet => libc::TUNGETIFF,
            Self::TunQueue => libc::TUNSETQUEUE,
        }
    }
}

/// Makes a request; the kernel may write its answer over `request`.
pub(crate) fn ifreq(fd: impl AsFd, call: IfreqCall, request: &mut Ifreq) -> io::Result<()> {
    // SAFETY: every code of `IfreqCall` reads and writes no more than one struct ifreq, whose
    // size `Ifreq` has and any bytes in it are valid, and the borrow keeps it alive and unshared.
    let result =
        unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), call.code(), std::ptr::from_mut(request)) };
    done(result)
}

/// TUN requests whose argument is the value itself. Given a pointer, the kernel would take its low
/// bits for the value and report success (drivers/net/tun.c).
#[derive(Debug, Clone, Copy)]
pub(crate) enum TunValueCall {
    Persist,
    Owner,
    Group,
    Offload,
}

/// Makes a by-value request on an attached TUN file.
pub(crate) fn tun_value(fd: impl AsFd, call: TunValueCall, value: u32) -> io::Result<()> {
    let code = match call {
        TunValueCall::Persist => libc::TUNSETPERSIST,
        TunValueCall::Owner => libc::TUNSETOWNER,
        TunValueCall::Group => libc::TUNSETGROUP,
        TunValueCall::Offload => libc::TUNSETOFFLOAD,
    };
    // SAFETY: every code of `TunValueCall` takes an integer, so no memory is involved.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), code, libc::c_ulong::from(value)) })
}

/// TUN requests whose argument points to an `int`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TunIntCall {
    VnetHeaderSize,
    VnetLittleEndian,
    Carrier,
}

/// Makes a by-pointer request on an attached TUN file.
pub(crate) fn tun_int(fd: impl AsFd, call: TunIntCall, value: i32) -> io::Result<()> {
    let code = match call {
        TunIntCall::VnetHeaderSize => libc::TUNSETVNETHDRSZ,
        TunIntCall::VnetLittleEndian => libc::TUNSETVNETLE,
        TunIntCall::Carrier => libc::TUNSETCARRIER,
    };
    // SAFETY: every code of `TunIntCall` reads one int, and `value` outlives the call.
    done(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), code, std::ptr::from_ref(&value)) })
}

/// TUN requests that answer with an `int`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TunGetCall {
    /// The flags of `TUNSETIFF` that the kernel knows.
    Features,
    VnetHeaderSize,
}

/// Asks a TUN file for a number.
pub(crate) fn tun_get(fd: impl AsFd, call: TunGetCall) -> io::Result<i32> {
    let code = match call {
        TunGetCall::Features => libc::TUNGETFEATURES,
        TunGetCall::VnetHeaderSize => libc::TUNGETVNETHDRSZ,
    };
    let mut value = 0_i32;
    // SAFETY: every code of `TunGetCall` writes one int, and `value` outlives the call.
    done(unsafe {
        libc::ioctl(fd.as_fd().as_raw_fd(), code as libc::Ioctl, std::ptr::from_mut(&mut value))
    })?;
    Ok(value)
}

fn done(result: libc::c_int) -> io::Result<()> {
    Errno::result(result).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ifreq_holds_name_and_value() {
        let request = Ifreq::new("acton0").with(&7_i32.to_ne_bytes());
        assert_eq!(request.name(), "acton0");
        assert_eq!(request.int(), 7);
        assert_eq!(Ifreq::new("more-than-fifteen-bytes").name(), "more-than-fifte");
    }
}
