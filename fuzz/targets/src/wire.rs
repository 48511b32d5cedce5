//! The byte layouts of acton/1. What parses must encode to the same bytes: so nothing in a
//! datagram is ignored, and no datagram has two meanings.

use acton_proto::wire::{Control, Datagram, HelloPayload, OVERHEAD, PAYLOAD_LEN, WelcomePayload};

/// A datagram as UDP delivers it.
pub fn wire(data: &[u8]) -> bool {
    match Datagram::parse(data) {
        Ok(Datagram::Hello(hello)) => assert_eq!(hello.encode(), data),
        Ok(Datagram::Welcome(welcome)) => assert_eq!(welcome.encode(), data),
        Ok(Datagram::Retry(retry)) => assert_eq!(retry.encode(), data),
        Ok(Datagram::Reset(reset)) => assert_eq!(reset.encode(), data),
        Ok(Datagram::Query(query)) => assert_eq!(query.encode(), data),
        Ok(Datagram::Reply(reply)) => assert_eq!(reply.encode(), data),
        Ok(Datagram::Sealed(header)) => {
            assert_eq!(Some(&header.encode()[..]), data.get(..16));
            assert!(data.len() > OVERHEAD);
        }
        Err(_) => return false,
    }
    true
}

/// The payloads of HELLO and WELCOME, 32 bytes: after a byte that says which.
pub fn payload(data: &[u8]) -> bool {
    let Some((which, rest)) = data.split_first() else { return false };
    let Some(bytes) = rest.first_chunk::<PAYLOAD_LEN>() else { return false };
    if which & 1 == 0 {
        HelloPayload::parse(bytes).is_ok_and(|hello| {
            assert_eq!(hello.encode(), *bytes);
            true
        })
    } else {
        WelcomePayload::parse(bytes).is_ok_and(|welcome| {
            assert_eq!(welcome.encode(), *bytes);
            true
        })
    }
}

/// The plaintext of CONTROL.
pub fn control(data: &[u8]) -> bool {
    let Ok(message) = Control::parse(data) else { return false };
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    assert_eq!(encoded, data);
    true
}
