//! What is put in comes out again, and nothing that a leaf sends brings this down or gets past it.

use proptest::prelude::*;

use super::*;

const ID: &str = "olt-7 berlin";
const FACTS: CircuitFacts<'static> =
    CircuitFacts { client: "berlin", server: "olt-7", is_trusted: false };
const TRUSTED: CircuitFacts<'static> = CircuitFacts { is_trusted: true, ..FACTS };
const LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const ALL_SERVERS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
const SERVER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn circuit() -> Circuit {
    let [id, remote] = ["{server} {client}", "{client}/{mac}"].map(|text| text.parse().unwrap());
    Circuit::new(id, Some(remote))
}

fn ethernet(tags: &[u16], ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9];
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(rest);
    frame
}

/// The words' sum, by the definition.
fn slow_sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The pseudo-header and the datagram of a packet without options or extension headers.
fn summed(packet: &[u8]) -> Vec<u8> {
    let (addresses, datagram) = match packet[0] >> 4 {
        4 => (&packet[12..20], &packet[20..]),
        _ => (&packet[8..40], &packet[40..]),
    };
    [addresses, &[0, 17], &(datagram.len() as u16).to_be_bytes(), datagram].concat()
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let header = [ports[0], ports[1], len, 0].map(u16::to_be_bytes);
    [header.as_flattened(), payload].concat()
}

fn seal(mut packet: Vec<u8>) -> Vec<u8> {
    let at = if packet[0] >> 4 == 4 { 26 } else { 46 };
    let sum = !slow_sum(&summed(&packet));
    packet[at..at + 2].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
    packet
}

fn ipv4(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    packet[2..4].copy_from_slice(&((28 + payload.len()) as u16).to_be_bytes());
    let sum = !slow_sum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp(ports, payload));
    seal(packet)
}

fn ipv6([from, to]: [[u8; 16]; 2], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = ((8 + payload.len()) as u16).to_be_bytes();
    let header = [&[0x60, 0, 0, 0, len[0], len[1], 17, 1][..], &from, &to].concat();
    seal([header, udp(ports, payload)].concat())
}

/// A DHCP message with options, which end by `end`.
fn bootp(operation: u8, options: &[u8], end: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[operation, 1, 6]);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend(options);
    message.extend(end);
    message
}

fn pppoe(code: u8, tags: &[u8]) -> Vec<u8> {
    [&[0x11, code, 0, 0][..], &(tags.len() as u16).to_be_bytes(), tags].concat()
}

/// Whether all checksums of a frame are right, and its lengths.
fn is_sound(frame: &[u8]) -> bool {
    let headers = Headers::parse(frame);
    let Some(ip) = headers.ip() else { return true };
    let packet = &frame[ip.start..];
    Datagram::find(&headers, frame).is_some()
        && ip.fills
        && (packet[0] >> 4 == 6 || slow_sum(&packet[..20]) == u16::MAX)
        && slow_sum(&summed(packet)) == u16::MAX
}

fn marked_as(facts: &CircuitFacts<'_>, frame: &[u8]) -> Result<Option<Vec<u8>>, CircuitRefusal> {
    let headers = Headers::parse(frame);
    let mark = circuit().mark(facts, &headers, frame)?;
    Ok(mark.map(|mark| {
        let mut marked = Vec::new();
        mark.write(&headers, frame, false, &mut marked);
        marked
    }))
}

fn marked(frame: &[u8]) -> Vec<u8> {
    marked_as(&FACTS, frame).unwrap().unwrap()
}

fn refused(frame: &[u8]) -> CircuitRefusal {
    assert_eq!(marked_as(&TRUSTED, frame), Ok(None));
    marked_as(&FACTS, frame).unwrap_err()
}

/// What becomes of a frame for the leaf; `None` where it is not for it.
fn unmarked(frame: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(frame);
    let echo = CircuitEcho::find(&headers, frame)?;
    assert!(CircuitEcho::may_be_in(&headers, frame));
    circuit().is_in(&FACTS, &echo, frame).then(|| {
        let mut frame = frame.to_vec();
        let len = echo.remove(&headers, &mut frame, false);
        frame.truncate(len);
        frame
    })
}

/// As a server sends back what it was told.
fn answered(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let headers = Headers::parse(&frame);
    let network = headers.network().unwrap();
    if headers.ethertype() == Some(pppoe::DISCOVERY) {
        frame[network + 1] = 7;
        return frame;
    }
    let at = headers.transport().unwrap();
    let v6 = frame[network] >> 4 == 6;
    let ports = if v6 { [2, 35, 2, 35] } else { [0, 67, 0, 68] };
    frame[at.start..at.start + 4].copy_from_slice(&ports);
    frame[at.payload] = if v6 { dhcp6::RELAY_REPLY } else { 2 };
    if v6 {
        let (from, to) = frame[network + 8..network + 40].split_at_mut(16);
        to.copy_from_slice(from);
        from.copy_from_slice(&SERVER);
    }
    let packet = frame.split_off(network);
    let mut zeroed = packet;
    let checksum = at.start - network + 6;
    zeroed[checksum..checksum + 2].fill(0);
    frame.extend(seal(zeroed));
    frame
}

fn discover(options: &[u8], end: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x0800, &ipv4([68, 67], &bootp(1, options, end)))
}

fn solicit(message: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6([LINK_LOCAL, ALL_SERVERS], [546, 547], message))
}

#[test]
fn option_82_is_the_last_one() {
    let frame = discover(&[53, 1, 1], &[255, 0, 0, 0]);
    let marked = marked(&frame);
    let mut option = vec![82, 2 + 12 + 2 + 24, 1, 12];
    option.extend(ID.as_bytes());
    option.extend([2, 24]);
    option.extend(b"berlin/02:00:00:00:00:09");
    let options = &marked[14 + 28 + 240..];
    assert_eq!(options, [&[53, 1, 1][..], &option, &[255, 0, 0, 0]].concat());
    assert!(is_sound(&frame) && is_sound(&marked));
}

#[test]
fn a_client_is_wrapped_as_by_a_lightweight_relay() {
    let frame = solicit(&[1, 7, 7, 7]);
    let marked = marked(&frame);
    assert!(is_sound(&marked));
    assert_eq!(&marked[..14], &frame[..14]);
    assert_eq!(&marked[22..54], [LINK_LOCAL, ALL_SERVERS].concat());
    assert_eq!(marked[54..58], [2, 35, 2, 35]);
    let mut message = [&[12, 0][..], &[0; 16], &LINK_LOCAL, &[0, 18, 0, 12]].concat();
    message.extend(ID.as_bytes());
    message.extend([0, 37, 0, 28, 0, 0, 0x0d, 0xe9]);
    message.extend(b"berlin/02:00:00:00:00:09");
    message.extend([0, 9, 0, 4, 1, 7, 7, 7]);
    assert_eq!(&marked[62..], message);
    // The server's answer is what it wraps, from the server, to the peer.
    let answer = unmarked(&answered(&marked)).unwrap();
    assert!(is_sound(&answer));
    assert_eq!(&answer[22..54], [SERVER, LINK_LOCAL].concat());
    assert_eq!(answer[54..58], [2, 35, 2, 34]);
    assert_eq!(answer[62..], [1, 7, 7, 7]);
}

#[test]
fn pppoe_gets_the_tag_of_tr_101() {
    let frame = ethernet(&[7], 0x8863, &pppoe(9, &[1, 1, 0, 0]));
    let marked = marked(&frame);
    let mut tags = vec![1, 1, 0, 0, 1, 5, 0, 4 + 14 + 26, 0, 0, 0x0d, 0xe9, 1, 12];
    tags.extend(ID.as_bytes());
    tags.extend([2, 24]);
    tags.extend(b"berlin/02:00:00:00:00:09");
    assert_eq!(marked[18..], pppoe(9, &tags));
    assert_eq!(unmarked(&answered(&marked)).unwrap()[18..], pppoe(7, &[1, 1, 0, 0]));
    // What ends a session names none.
    assert_eq!(marked_as(&FACTS, &ethernet(&[], 0x8863, &pppoe(0xa7, &[]))), Ok(None));
}

#[test]
fn who_is_not_trusted_names_no_circuit_itself() {
    let own = [82, 4, 1, 2, b'x', b'y'];
    assert_eq!(refused(&discover(&own, &[255])), CircuitRefusal::Named);
    let mut relayed = bootp(1, &[53, 1, 1], &[255]);
    relayed[24..28].copy_from_slice(&[10, 0, 0, 9]);
    let relayed = ethernet(&[], 0x0800, &ipv4([67, 67], &relayed));
    assert_eq!(refused(&relayed), CircuitRefusal::Named);
    // In the fields for other things.
    for (bits, at) in [(1, 108), (3, 44)] {
        let mut overloaded = bootp(1, &[52, 1, bits], &[255]);
        overloaded[at..at + 6].copy_from_slice(&own);
        let overloaded = ethernet(&[], 0x0800, &ipv4([68, 67], &overloaded));
        assert_eq!(refused(&overloaded), CircuitRefusal::Named);
    }
    let tag = [1, 5, 0, 8, 0, 0, 0x0d, 0xe9, 1, 2, b'x', b'y'];
    assert_eq!(refused(&ethernet(&[], 0x8863, &pppoe(0x19, &tag))), CircuitRefusal::Named);
    let forward = solicit(&[&[12, 0][..], &[0; 32]].concat());
    assert_eq!(marked_as(&FACTS, &forward), Err(CircuitRefusal::Named));
    // Of a relay behind a trusted client one more is made.
    let twice = marked_as(&TRUSTED, &forward).unwrap().unwrap();
    assert_eq!(twice[62..64], [12, 1]);
    let often = solicit(&[&[12, 8][..], &[0; 32]].concat());
    assert_eq!(marked_as(&TRUSTED, &often), Err(CircuitRefusal::Hops));
}

#[test]
fn nothing_gets_to_a_server_without_a_name() {
    let message = bootp(1, &[53, 1, 1], &[255]);
    let whole = discover(&[53, 1, 1], &[255]);
    // A fragment, options cut short, BOOTP without options, a datagram with more behind it, 3 tags.
    let mut fragment = whole.clone();
    fragment[20] = 0x20;
    let cut_short = discover(&[53, 200, 1], &[255]);
    let bare = ethernet(&[], 0x0800, &ipv4([68, 67], &message[..236]));
    let mut longer = whole.clone();
    longer[14 + 24 + 1] -= 4;
    let deep = ethernet(&[1, 2, 3], 0x0800, &whole[14..]);
    let mut authenticated = solicit(&[1, 7, 7, 7]);
    authenticated[20] = 51;
    let header = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    authenticated.splice(54..54, header);
    authenticated[19] += 12;
    for frame in [&fragment, &cut_short, &bare, &longer, &deep, &authenticated] {
        assert_eq!(refused(frame), CircuitRefusal::Unreadable, "{frame:02x?}");
    }
    // Any address of a server's, any port of the client's.
    let mut elsewhere = ipv6([LINK_LOCAL, SERVER], [999, 547], &[5, 7, 7, 7]);
    assert_eq!(marked(&ethernet(&[], 0x86dd, &elsewhere))[62], 12);
    assert_eq!(marked_as(&TRUSTED, &ethernet(&[], 0x86dd, &elsewhere)), Ok(None));
    // To the port of clients, from which nothing comes to servers.
    elsewhere[42..44].copy_from_slice(&[2, 34]);
    assert_eq!(marked_as(&FACTS, &ethernet(&[], 0x86dd, &elsewhere)), Ok(None));
    assert_eq!(marked_as(&FACTS, &ethernet(&[], 0x0800, &ipv4([68, 69], &message))), Ok(None));
    // What only servers say is not wrapped.
    assert_eq!(refused(&solicit(&[7, 7, 7, 7])), CircuitRefusal::Server);
}

#[test]
fn what_would_be_too_long_is_refused() {
    let fits = |len: usize| discover(&vec![0; len - 28 - 240], &[]);
    let more = 2 + 14 + 26;
    assert_eq!(marked(&fits(1_500 - more)).len(), 1_514);
    assert_eq!(refused(&fits(1_501 - more)), CircuitRefusal::TooLong);
    let padi = |len: usize| {
        let tag = [&[1, 3][..], &((len - 4) as u16).to_be_bytes(), &vec![7; len - 4]].concat();
        ethernet(&[], 0x8863, &pppoe(9, &tag))
    };
    let more = 8 + 14 + 26;
    assert_eq!(marked(&padi(1_484 - more)).len(), 14 + 6 + 1_484);
    assert_eq!(refused(&padi(1_485 - more)), CircuitRefusal::TooLong);
    let message = |len: usize| solicit(&vec![1; len - 48]);
    let more = 34 + 4 + 12 + 8 + 24 + 4;
    assert_eq!(marked(&message(1_500 - more)).len(), 1_514);
    assert_eq!(refused(&message(1_501 - more)), CircuitRefusal::TooLong);
}

#[test]
fn an_answer_is_as_long_as_bootp_wants_it() {
    let long = discover(&[53, 1, 1], &[&[255][..], &[0; 60]].concat());
    let reply = answered(&marked(&long));
    let stripped = unmarked(&reply).unwrap();
    assert_eq!(stripped.len(), 14 + 28 + 304);
    assert!(is_sound(&stripped));
    let short = answered(&marked(&discover(
        &[53, 1, 1],
        &[255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )));
    let stripped = unmarked(&short).unwrap();
    assert_eq!(short.len() - stripped.len(), 1, "from 301 to 300 bytes");
    assert!(is_sound(&stripped));
}

#[test]
fn what_names_another_stays_as_it_is() {
    let frame = answered(&marked(&discover(&[53, 1, 1], &[255])));
    let headers = Headers::parse(&frame);
    let echo = CircuitEcho::find(&headers, &frame).unwrap();
    assert_eq!(echo.circuit(&frame), ID.as_bytes());
    let oslo = CircuitFacts { client: "oslo", ..FACTS };
    assert!(!circuit().is_in(&oslo, &echo, &frame));
    let mut silent = circuit();
    silent.dhcp = false;
    assert!(!silent.is_in(&FACTS, &echo, &frame));
    // To a relay, or without a circuit.
    let mut relayed = frame.clone();
    relayed[14 + 28 + 24] = 10;
    assert!(CircuitEcho::find(&headers, &relayed).is_none());
    let plain = ethernet(&[], 0x0800, &ipv4([67, 68], &bootp(2, &[53, 1, 2], &[255])));
    assert!(CircuitEcho::find(&Headers::parse(&plain), &plain).is_none());
}

#[test]
fn a_partial_checksum_becomes_whole_and_a_wrong_one_stays_wrong() {
    let frame = discover(&[53, 1, 1], &[255]);
    let (headers, at) = (Headers::parse(&frame), 14 + 26);
    let mark = circuit().mark(&FACTS, &headers, &frame).unwrap().unwrap();
    let written = |checksum: [u8; 2], is_partial| {
        let (mut frame, mut into) = (frame.clone(), Vec::new());
        frame[at..at + 2].copy_from_slice(&checksum);
        mark.write(&headers, &frame, is_partial, &mut into);
        into
    };
    assert!(is_sound(&written([0x12, 0x34], true)));
    assert!(!is_sound(&written([0x12, 0x34], false)));
    assert_eq!(written([0, 0], false)[at..at + 2], [0, 0], "it has none");
}

/// Options of DHCP but 52 and 82, or tags of PPPoE, or anything.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = (1..52_u8, prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::vec(option, 0..12).prop_map(|options| {
        let bytes =
            |(code, value): (u8, Vec<u8>)| [&[code, value.len() as u8][..], &value].concat();
        options.into_iter().flat_map(bytes).collect()
    })
}

fn tags() -> impl Strategy<Value = Vec<u8>> {
    let tag = (0x0101..0x0105_u16, prop::collection::vec(any::<u8>(), 0..40));
    prop::collection::vec(tag, 0..12).prop_map(|tags| {
        let bytes = |(kind, value): (u16, Vec<u8>)| {
            [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), &value].concat()
        };
        tags.into_iter().flat_map(bytes).collect()
    })
}

/// A frame that a client sends to a server, and whether what comes back of it is the same but for the
/// operation.
fn asking() -> impl Strategy<Value = Vec<u8>> {
    let vlans = prop::collection::vec(1..4_095_u16, 0..3);
    let end = prop::collection::vec(Just(0), 0..300);
    let dhcp = (options(), any::<bool>(), end).prop_map(|(options, ends, padding)| {
        let end = if ends { [&[255][..], &padding].concat() } else { Vec::new() };
        (0x0800, ipv4([68, 67], &bootp(1, &options, &end)))
    });
    let message = prop::collection::vec(any::<u8>(), 0..900);
    let dhcp6 = message.prop_map(|message| {
        (0x86dd, ipv6([LINK_LOCAL, ALL_SERVERS], [546, 547], &[&[1][..], &message].concat()))
    });
    let pppoe = (tags(), prop_oneof![Just(9), Just(0x19)])
        .prop_map(|(tags, code)| (0x8863, pppoe(code, &tags)));
    (vlans, prop_oneof![dhcp, dhcp6, pppoe])
        .prop_map(|(vlans, (ethertype, rest))| ethernet(&vlans, ethertype, &rest))
}

proptest! {
    #[test]
    fn what_is_put_in_comes_out_again(frame in asking()) {
        let with = marked(&frame);
        prop_assert!(is_sound(&frame) && is_sound(&with));
        prop_assert!(with.len() > frame.len() && with.len() <= 1_500 + 14 + 8);
        let back = unmarked(&answered(&with)).unwrap();
        prop_assert!(is_sound(&back), "{:02x?}", back);
        let headers = Headers::parse(&frame);
        let from = match headers.transport() {
            Some(transport) => transport.payload + usize::from(frame[transport.start + 3] == 67),
            None => headers.network().unwrap() + 2,
        };
        // To its least length, a DHCP message has padding.
        let (before, after) = (&frame[from..], &back[from..]);
        prop_assert_eq!(&after[..before.len()], before);
        prop_assert!(after[before.len()..].iter().all(|&byte| byte == 0));
        prop_assert!(after.len() == before.len() || after.len() < 300);
        // A frame with padding gets none.
        let padded = [&frame[..], &[0xee; 18]].concat();
        prop_assert_eq!(marked(&padded), with);
    }

    #[test]
    fn no_frame_brings_it_down(frame in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = marked_as(&FACTS, &frame);
        let _ = marked_as(&TRUSTED, &frame);
        let _ = unmarked(&frame);
    }

    /// Frames that are nearly right, from both sides.
    #[test]
    fn no_spoiled_frame_brings_it_down(
        frame in asking(),
        answers: bool,
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut frame = if answers { answered(&marked(&frame)) } else { frame };
        for (at, byte) in spoiled {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        for facts in [FACTS, TRUSTED] {
            if let Ok(Some(marked)) = marked_as(&facts, &frame) {
                prop_assert!(marked.len() <= 1_500 + 14 + 8);
            }
        }
        if let Some(back) = unmarked(&frame) {
            prop_assert!(back.len() <= frame.len());
        }
    }
}
