//! How the kernel refuses a call, and what that means.

use std::io::{self, ErrorKind};

/// Errors in a row after which a call counts as refused.
///
/// The kernel tells of what the network said of earlier datagrams (`ConnectionRefused`,
/// `HostUnreachable`, `EMSGSIZE`) by failing a later call on the socket, each report one call.
/// Anybody can forge such reports, at any rate. So a call that failed is made again, and only this
/// many errors in a row are about the call itself. Sending here goes by that; who calls
/// [`RecvBatch::receive`](crate::RecvBatch::receive) should too.
pub const REFUSALS: u32 = 4;

/// Whether an error of sending says that there is no room at the moment, in the socket's send
/// buffer (`WouldBlock`) or in a queue on the way out (`ENOBUFS`, `ENOMEM`).
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

/// Whether an error of sending a message of several datagrams may be about their number alone
/// (`udp_send_skb` of net/ipv4/udp.c): `EIO` where the device cannot fill in checksums (before
/// Linux 6.11) or IPsec is on the way; `EINVAL` or `EMSGSIZE`, by the kernel's age, where one datagram
/// does not fit the path in one packet; `EOPNOTSUPP` of some devices.
pub(crate) fn refuses_segmentation(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}
