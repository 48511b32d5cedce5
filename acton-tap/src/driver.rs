//! What the kernel's TUN driver can do.

use crate::builder::{TUN, open_tun};
use crate::error::Error;
use crate::sys::{self, TunGetCall};

/// What the TUN driver of this kernel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Driver {
    /// A TAP can have [several queues](crate::Builder::queues).
    pub multi_queue: bool,
    /// Frames can have a [`VnetHeader`](crate::VnetHeader), and so be super-frames.
    pub vnet_header: bool,
}

impl Driver {
    /// Asks this kernel. It makes no interface and needs no privilege but to open `/dev/net/tun`.
    ///
    /// # Errors
    /// There is no `/dev/net/tun`, or this user may not open it.
    pub fn query() -> Result<Self, Error> {
        let step = || "ask what TAPs can do".to_owned();
        let file = open_tun(0, step)?;
        let flags = sys::tun_get(&file, TunGetCall::Features)
            .map_err(|error| Error::os(TUN, step(), error))?;
        let has = |flag: libc::c_int| flags & flag != 0;
        Ok(Self { multi_queue: has(libc::IFF_MULTI_QUEUE), vnet_header: has(libc::IFF_VNET_HDR) })
    }
}
