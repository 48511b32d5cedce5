//! Sockets that the service manager keeps and passes on (sd_listen_fds(3)).

use std::io;

use acton_udp::UdpSocket;
use listenfd::ListenFd;

/// Why a socket that was passed does not serve.
#[derive(Debug, thiserror::Error)]
#[error("LISTEN_FDS: number {number} is no UDP socket; a socket unit has it by ListenDatagram=")]
pub(crate) struct PassedError {
    number: usize,
    source: io::Error,
}

/// The UDP sockets that were passed to this process, which is to ask once and before it opens anything.
///
/// # Errors
/// Where one of them is something else.
pub(crate) fn passed_sockets() -> Result<Vec<UdpSocket>, PassedError> {
    let mut passed = ListenFd::from_env();
    let numbers = 0..passed.len();
    let mut take = |number| {
        let socket = passed.take_udp_socket(number)?.ok_or(io::ErrorKind::NotFound)?;
        UdpSocket::try_from(socket)
    };
    numbers.map(|number| take(number).map_err(|source| PassedError { number, source })).collect()
}
