//! What IP says of a datagram: the local address and the ECN field.

use std::net::SocketAddr;

use acton_udp::{Destination, Source};

use crate::hosts::{Hosts, LINK, LOOPBACK, bind, on, pair, receive, send};

pub(crate) fn ecn_marks_arrive_and_part_messages() {
    let hosts = Hosts::new();
    let runs: [(u8, &[u8]); 6] =
        [(0, &[1; 40]), (2, &[2; 40]), (2, &[3; 40]), (3, &[4; 20]), (1, &[5; 10]), (1, &[6; 3])];
    let over_the_link = LINK.map(|addresses| hosts.pair(addresses));
    for (from, at, to) in LOOPBACK.map(pair).into_iter().chain(over_the_link) {
        for connected in [false, true] {
            let to = if connected { Destination::connected() } else { to.clone() };
            if connected {
                from.connect(at.local_addr().unwrap()).unwrap();
            }
            let counts = send(&from, |batch| {
                runs.iter().for_each(|(ecn, run)| batch.push_run(&to, *ecn, run, 20));
            });
            assert_eq!((counts.sent, counts.messages), (9, 4));
            let mut seen = Vec::new();
            for message in receive(&at, 9) {
                seen.extend(message.datagrams.into_iter().map(|bytes| (message.ecn, bytes)));
            }
            let each = |(ecn, run): &(u8, &[u8])| {
                let ecn = *ecn;
                run.chunks(20).map(move |part| (ecn, part.to_vec())).collect::<Vec<_>>()
            };
            assert_eq!(seen, runs.iter().flat_map(each).collect::<Vec<_>>(), "{from:?}");
        }
    }
}

/// A host with two addresses on one device, asked at the second.
pub(crate) fn answers_leave_from_the_address_that_was_asked() {
    let hosts = Hosts::new();
    on(&hosts.right, "ip addr add 10.0.0.3/24 dev r; ip addr add fd00::3/64 dev r nodad");
    for (client, server, asked) in [
        ("10.0.0.1:0", "0.0.0.0:0", "10.0.0.3"),
        ("[fd00::1]:0", "[::]:0", "fd00::3"),
        ("10.0.0.1:0", "[::]:0", "10.0.0.3"),
        ("10.0.0.1:0", "0.0.0.0:0", "10.0.0.2"),
        ("[fd00::1]:0", "[::]:0", "fd00::2"),
    ] {
        let (client, server) = (bind(&hosts.left, client), bind(&hosts.right, server));
        let port = server.local_addr().unwrap().port();
        let asked = SocketAddr::new(asked.parse().unwrap(), port);
        client.send(&client.destination(asked, None), b"question").unwrap();
        let question = receive(&server, 1).remove(0);
        assert_eq!(question.from, client.local_addr().unwrap());
        assert_eq!(question.to.map(|to| to.ip()), Some(asked.ip()));
        let back = server.destination(question.from, question.to);
        send(&server, |batch| batch.push_run(&back, 2, b"answer", 3));
        let answers = receive(&client, 2);
        assert!(answers.iter().all(|answer| answer.from == asked && answer.ecn == 2), "{asked}");
        // Told by hand, as by who keeps addresses alone.
        let source = Source::of(asked.ip(), question.from);
        assert_eq!(Some(source), question.to);
        // One that is not this host's is refused.
        let foreign =
            server.destination(question.from, Some(Source::of(question.from.ip(), asked)));
        assert!(server.send(&foreign, b"from elsewhere").is_err());
    }
}
