//! acton-bridge: the names of circuits in any frame.

use acton_bridge::{
    Circuit, CircuitEcho, CircuitFacts, CircuitProtocol, CircuitRefusal, CircuitTemplate,
};
use acton_frame::Headers;

/// Bytes of an Ethernet header with two tags, and of what may follow it.
const LONGEST: usize = 22 + 1_500;

/// Whether the leaf is trusted and checksums are partial, and a frame of the leaf's and of a server's. What
/// was named cannot be named again; what the name was taken out of has none.
pub fn circuit(data: &[u8]) -> bool {
    let Some((flags, frame)) = data.split_first() else { return false };
    let (is_trusted, is_partial) = (flags & 1 != 0, flags & 2 != 0);
    let template = |text: &str| text.parse::<CircuitTemplate>().expect("a template");
    let circuit = Circuit::new(template("{server} {client}"), Some(template("{mac} {vlan}")));
    let facts = CircuitFacts { client: "berlin", server: "olt-7", is_trusted };
    let headers = Headers::parse(frame);
    let mark = circuit.mark(&facts, &headers, frame);
    if let Ok(Some(mark)) = mark {
        let mut named = Vec::new();
        mark.write(&headers, frame, is_partial, &mut named);
        assert!(named.len() <= LONGEST);
        let untrusted = CircuitFacts { is_trusted: false, ..facts };
        let again = circuit.mark(&untrusted, &Headers::parse(&named), &named);
        assert_eq!(again.map(|_| ()), Err(CircuitRefusal::Named));
    }
    let echo = CircuitEcho::find(&headers, frame);
    if let Some(echo) = &echo {
        assert!(CircuitEcho::may_be_in(&headers, frame));
        let _ = circuit.is_in(&facts, echo, frame);
        let mut without = frame.to_vec();
        let len = echo.remove(&headers, &mut without, is_partial);
        assert!(len <= frame.len());
        let found = CircuitEcho::find(&Headers::parse(&without[..len]), &without[..len]);
        // Of relays in a row there is one fewer.
        assert!(found.is_none() || echo.protocol() == CircuitProtocol::Dhcp6);
    }
    matches!(mark, Ok(Some(_))) || echo.is_some()
}
