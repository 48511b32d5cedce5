//! What is sent in batches arrives: whole, once, in order.

use crate::hosts::{LOOPBACK, pair, pattern, receive_datagrams, send};

pub(crate) fn a_batch_arrives_whole_and_in_order() {
    for addresses in LOOPBACK {
        let (from, at, to) = pair(addresses);
        let lengths = [100, 100, 100, 40, 1_400, 1_400, 0, 7, 1_400, 1_401];
        let payloads: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(i, &len)| vec![i as u8; len]).collect();
        let counts = send(&from, |batch| {
            payloads.iter().for_each(|payload| batch.push_parts(&to, [payload]));
        });
        assert_eq!(counts.sent, lengths.len() as u64);
        assert_eq!(counts.bytes, lengths.iter().sum::<usize>() as u64);
        // 100, 100, 100, 40; 1,400 twice; 0; 7; 1,400; 1,401.
        assert_eq!((counts.messages, counts.calls), (6, 1));
        assert_eq!(receive_datagrams(&at, lengths.len()), payloads);
    }
}

pub(crate) fn datagrams_in_parts_arrive_whole() {
    let (from, at, to) = pair(LOOPBACK[0]);
    let bytes = pattern(64);
    let counts = send(&from, |batch| {
        batch.push_parts(&to, [b"abc", b"defg"]);
        batch.push_parts(&to, [b"hij", b"", b"klmn"]);
        batch.push_parts(&to, [b"o", b"p"]);
        batch.push_parts(&to, [b"q"]);
        batch.push_parts(&to, []);
        // As many parts as a call takes: 16 each, 64 datagrams in one message.
        (0..64).for_each(|i| batch.push_parts(&to, [&bytes[i..=i]; 16]));
    });
    assert_eq!((counts.sent, counts.messages, counts.cut), (69, 4, 0));
    let mut expected: Vec<Vec<u8>> =
        ["abcdefg", "hijklmn", "op", "q", ""].map(|text| text.as_bytes().to_vec()).into();
    expected.extend(bytes.iter().map(|&byte| vec![byte; 16]));
    assert_eq!(receive_datagrams(&at, 69), expected);
}

pub(crate) fn runs_arrive_as_their_datagrams() {
    let (from, at, to) = pair(LOOPBACK[0]);
    let bytes = pattern(200_000);
    // Single ones, more than a message holds by number and by bytes, and remainders; 0 counts as 1.
    let runs =
        [(100, 100), (64, 64 * 150), (1_446, 1_446 * 96 + 7), (1_446, 9), (5, 3), (0, 3), (7, 0)];
    let mut expected = Vec::new();
    let counts = send(&from, |batch| {
        for (size, len) in runs {
            batch.push_run(&to, 0, &bytes[..len], size);
            batch.push_parts(&to, [&bytes[..3], &bytes[7..9]]);
            expected.extend(bytes[..len].chunks(size.max(1)).map(<[u8]>::to_vec));
            expected.push([&bytes[..3], &bytes[7..9]].concat());
        }
    });
    assert_eq!(counts.sent, expected.len() as u64);
    assert_eq!(counts.bytes, expected.iter().map(Vec::len).sum::<usize>() as u64);
    assert!(receive_datagrams(&at, expected.len()) == expected);
}

pub(crate) fn more_than_a_batch_holds_is_sent_in_several() {
    let (from, at, to) = pair(LOOPBACK[0]);
    let (_, another_at, elsewhere) = pair(LOOPBACK[0]);
    let payloads: Vec<Vec<u8>> = (0..300_u16).map(|i| i.to_be_bytes().to_vec()).collect();
    let counts = send(&from, |batch| {
        // By turns, so that no two are in one message.
        for payload in &payloads {
            batch.push_parts(&to, [payload]);
            batch.push_parts(&elsewhere, [payload]);
        }
    });
    assert_eq!((counts.sent, counts.messages, counts.calls), (600, 600, 10));
    assert_eq!(receive_datagrams(&at, 300), payloads);
    assert_eq!(receive_datagrams(&another_at, 300), payloads);
}
