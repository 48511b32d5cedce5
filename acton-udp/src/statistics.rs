//! What the kernel counts of a socket.

/// What the kernel itself knows of a socket at one moment
/// ([`UdpSocket::kernel_statistics`](crate::UdpSocket::kernel_statistics)).
///
/// Bytes are as the kernel charges them to the socket: a datagram costs its memory, bookkeeping
/// and unused room included, which for a small one is many times its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct KernelStatistics {
    /// Messages that arrived for this socket and were dropped since it was opened: the receive
    /// buffer was full, a checksum was wrong, a filter refused them. Several merged datagrams count
    /// as one. After 2³² it begins again at 0.
    pub dropped: u32,
    /// Size of the receive buffer in bytes: twice what was asked for.
    pub receive_buffer: u32,
    /// Bytes of it in use by what has arrived and was not received.
    pub receive_queued: u32,
    /// Size of the send buffer in bytes: twice what was asked for.
    pub send_buffer: u32,
    /// Bytes of it in use by what was sent and has not left this host.
    pub send_queued: u32,
}

/// Indices into what `SO_MEMINFO` returns (`SK_MEMINFO_*` of linux/sock_diag.h).
const RMEM_ALLOC: usize = 0;
const RCVBUF: usize = 1;
const WMEM_ALLOC: usize = 2;
const SNDBUF: usize = 3;
const DROPS: usize = 8;

/// Number of values that `SO_MEMINFO` returns (`SK_MEMINFO_VARS` of linux/sock_diag.h).
pub(crate) const MEMINFO_LEN: usize = 9;

impl KernelStatistics {
    pub(crate) fn from_meminfo(values: [u32; MEMINFO_LEN]) -> Self {
        Self {
            dropped: values[DROPS],
            receive_buffer: values[RCVBUF],
            receive_queued: values[RMEM_ALLOC],
            send_buffer: values[SNDBUF],
            send_queued: values[WMEM_ALLOC],
        }
    }
}
