//! One rtnetlink(7) request and its acknowledgement, in the calling thread's namespace.
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Sends `request` with `flags` (`NLM_F_CREATE`, `NLM_F_EXCL`) and waits for the kernel's answer.
///
/// # Errors
/// The kernel's error code, or that of the socket calls.
pub(crate) fn request(request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    // A socket of its own: the only datagram it can receive is the answer to this request.
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer) {
        Ok(NetlinkMessage { payload: NetlinkPayload::Error(answer), .. }) => match answer.code {
            None => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code.get().saturating_neg())),
        },
        Ok(_) => Err(io::Error::other("rtnetlink answered with something else than a verdict")),
        Err(error) => Err(io::Error::other(error)),
    }
}
