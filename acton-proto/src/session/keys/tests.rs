use super::super::{Bundle, Frame, Live};
use super::*;
use crate::wire::{Datagram, ENTRY_HEAD};
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(5);

fn pair(suite: Suite) -> (Keys, Keys) {
    let split = Split { to_server: [1; 32], to_client: [2; 32] };
    let setup =
        Setup { suite, local_id: 7, remote_id: 8, caps: Caps::ALL, max_frame: 1514, born: NOW };
    let back = Setup { local_id: 8, remote_id: 7, ..setup };
    let link = || Arc::new(Link::new(NOW));
    (
        Keys::new(Role::Client, &split, &setup, link()),
        Keys::new(Role::Server, &split, &back, link()),
    )
}

fn header(datagram: &[u8]) -> Header {
    match Datagram::parse(datagram) {
        Ok(Datagram::Sealed(header)) => header,
        other => panic!("{other:?}"),
    }
}

fn open(keys: &Keys, now: Duration, datagram: &mut [u8]) -> Result<Opened, OpenError> {
    let header = header(datagram);
    keys.open(now, &header, datagram)
}

#[test]
fn every_bit_of_a_sealed_datagram_counts() {
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let (client, server) = pair(suite);
        let mut data = Vec::new();
        client.seal_frame(NOW, &[3; 40], true, &mut data).unwrap();
        let control = client.seal_control(NOW, Control::Rekey).unwrap();
        for good in [data, control] {
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Ok(Datagram::Sealed(header)) = Datagram::parse(&bad) {
                    let result = server.open(NOW, &header, &mut bad);
                    assert_eq!(result, Err(OpenError::Forged), "bit {bit}");
                }
            }
            let mut bytes = good.clone();
            let opened = open(&server, NOW, &mut bytes).unwrap();
            assert_eq!(opened.range(), HEADER_LEN..good.len() - TAG_LEN);
            assert_eq!(open(&server, NOW, &mut good.clone()), Err(OpenError::Replayed));
            assert!(open(&client, NOW, &mut good.clone()).is_err(), "reflected");
        }
    }
}

#[test]
fn the_first_and_the_newest_are_told() {
    let (client, server) = pair(Suite::Aes256Gcm);
    let mut sealed = Vec::new();
    for _ in 0..3 {
        sealed.push(client.seal_control(NOW, Control::Rekey).unwrap());
    }
    assert!(!server.is_confirmed());
    let mut told = |i: usize| {
        let opened = open(&server, NOW, &mut sealed[i]).unwrap();
        (opened.first, opened.newest)
    };
    assert_eq!(told(1), (true, true));
    assert_eq!(told(0), (false, false));
    assert_eq!(told(2), (false, true));
    assert!(server.is_confirmed());
}

#[test]
fn a_session_began_when_the_peer_was_first_heard() {
    let (client, server) = pair(Suite::Aes256Gcm);
    let mut sealed = client.seal_control(NOW, Control::Rekey).unwrap();
    open(&server, NOW, &mut sealed).unwrap();
    // A control thread that is busy learns of it later.
    let live = Live::new(NOW + Duration::from_secs(13), Arc::new(server), 1472);
    assert_eq!(live.since(), NOW);
    // A client's keys are confirmed by what comes after.
    let live = Live::new(NOW, Arc::new(client), 1472);
    assert_eq!(live.since(), NOW);
}

#[test]
fn keys_end_by_age_and_by_count() {
    let (client, server) = pair(Suite::Aes256Gcm);
    let mut sealed = client.seal_control(NOW, Control::Rekey).unwrap();
    let late = NOW + REJECT_IDLE_AFTER;
    assert_eq!(open(&server, late, &mut sealed), Err(OpenError::Expired));
    assert_eq!(client.reserve(late, 1).unwrap_err(), SealError::Expired);

    assert!(!client.wants_rekey(NOW));
    client.reserve(NOW, REKEY_AFTER_PACKETS).unwrap();
    assert!(client.wants_rekey(NOW));
    let rest = REJECT_AFTER_PACKETS - client.sealed();
    assert_eq!(client.reserve(NOW, rest + 1).unwrap_err(), SealError::Expired);
    let used = client.sealed();
    client.reserve(NOW, rest).unwrap();
    assert_eq!(client.sealed(), used + rest);
    assert_eq!(client.reserve(NOW, 1).unwrap_err(), SealError::Expired);
    assert_eq!(client.reserve(NOW, u64::MAX).unwrap_err(), SealError::Expired);
}

/// Whatever was sealed under keys, it was so less than three minutes before these end, at either end.
#[test]
fn keys_end_soon_after_their_first_frame() {
    let second = Duration::from_secs(1);
    for (first_frame, end) in [(0, 180), (119, 180), (120, 180), (121, 181), (500, 560), (850, 900)]
    {
        let (client, server) = pair(Suite::Aes256Gcm);
        let (first_frame, end) = (NOW + second * first_frame, NOW + second * end);
        let mut frame = Vec::new();
        client.seal_frame(first_frame, &[3; 40], false, &mut frame).unwrap();
        open(&server, first_frame, &mut frame).unwrap();
        for (seals, opens) in [(&client, &server), (&server, &client)] {
            let mut sealed = seals.seal_control(end - second, Control::Rekey).unwrap();
            open(opens, end - second, &mut sealed.clone()).unwrap();
            assert_eq!(open(opens, end, &mut sealed), Err(OpenError::Expired));
            assert_eq!(seals.reserve(end, 1).unwrap_err(), SealError::Expired);
            assert!(!seals.wants_rekey(end - second * 46) && seals.wants_rekey(end - second * 45));
        }
    }
}

#[test]
fn larger_datagrams_count_for_more() {
    let (mut keys, _) = pair(Suite::Aes256Gcm);
    keys.setup.max_frame = 9014;
    assert!(keys.reserve(NOW, REJECT_AFTER_PACKETS / 4).is_err());
    assert!(keys.reserve(NOW, REJECT_AFTER_PACKETS / 5).is_ok());
}

#[test]
fn threads_share_keys_without_using_a_counter_twice() {
    let (client, server) = pair(Suite::Aes256Gcm);
    let (threads, each) = (4, 500);
    let sealed: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let seal = || {
            let mut all = Vec::new();
            for _ in 0..each {
                let mut batch = client.reserve(NOW, 4).unwrap();
                for _ in 0..4 {
                    let mut out = Vec::new();
                    batch.seal_parts([&[0; 30], &[0; 38]], false, &mut out).unwrap();
                    all.push(out);
                }
            }
            all
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(seal)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut counters: Vec<u64> = sealed.iter().map(|datagram| header(datagram).counter).collect();
    counters.sort_unstable();
    assert!(counters.into_iter().eq(0..threads * each * 4));

    // The same datagrams given to every thread: each is taken once.
    let taken: usize = std::thread::scope(|scope| {
        let count = || {
            let opens = |datagram: &&Vec<u8>| open(&server, NOW, &mut (*datagram).clone()).is_ok();
            sealed.iter().take(WINDOW_SAFE).filter(opens).count()
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken, WINDOW_SAFE.min(sealed.len()));
}

/// So few datagrams that none falls out of the window while threads race.
const WINDOW_SAFE: usize = 1500;

#[test]
fn layouts_that_cannot_be_are_refused() {
    let (client, _) = pair(Suite::Aes256Gcm);
    let mut out = Vec::new();
    assert_eq!(client.seal_frame(NOW, &[0; 13], false, &mut out), Err(SealError::TooShort));
    assert_eq!(client.seal_frame(NOW, &[0; 1515], false, &mut out), Err(SealError::TooLong));
    assert!(out.is_empty());
    let mut one = client.reserve(NOW, 1).unwrap();
    assert_eq!(one.seal(Kind::Control, &mut [0; OVERHEAD]), Err(SealError::Layout));
    assert_eq!(one.seal(Kind::Control, &mut [0; OVERHEAD + 4]), Ok(()));
    assert_eq!(one.seal(Kind::Control, &mut [0; OVERHEAD + 4]), Err(SealError::Expired));
}

proptest! {
    #[test]
    fn a_frame_of_any_length_gets_through(len in 14..=1514_usize, checksum in any::<bool>(), aes in any::<bool>()) {
        let (client, server) = pair(if aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 });
        let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut out = Vec::new();
        let segment = client.seal_frame(NOW, &frame, checksum, &mut out).unwrap();
        let mut got = None;
        for datagram in out.chunks_mut(segment) {
            prop_assert!(got.is_none() && datagram.len() <= 1200);
            let header = header(datagram);
            let frame = server.receive(NOW, &header, datagram).unwrap().content.into_frames().next();
            got = frame.map(|frame| (frame.bytes().to_vec(), frame.partial_checksum));
        }
        prop_assert_eq!(got, Some((frame, checksum)));
    }

    /// What an authenticated but misbehaving peer sends.
    #[test]
    fn frames_that_were_not_agreed_on_are_dropped(
        len in 1..1600_usize, index in 0..15_u8, last in any::<bool>(), csum in any::<bool>(),
        caps in 0..4_u32,
    ) {
        let (client, mut server) = pair(Suite::Aes256Gcm);
        server.setup.caps = Caps(caps);
        let fragment = Fragment { index, last };
        let mut datagram = vec![0; len + OVERHEAD];
        let mut batch = client.reserve(NOW, 20).unwrap();
        for _ in 0..index {
            batch.counters.next();
        }
        batch.seal(Kind::Data { fragment, partial_checksum: csum }, &mut datagram).unwrap();
        let header = header(&datagram);
        let frame = server.receive(NOW, &header, &mut datagram).unwrap().content.into_frames().next();
        let good = fragment == Fragment::WHOLE
            && (14..=1514).contains(&len)
            && (!csum || server.setup.caps.contains(Caps::CSUM));
        prop_assert_eq!(frame.is_some(), good);
    }

    #[test]
    fn frames_get_through_in_as_few_datagrams_as_take_them(
        lens in prop::collection::vec(prop_oneof![14..=100_usize, 14..=1168_usize], 1..40),
        checksums in any::<u64>(), caps in 0..8_u32,
    ) {
        // Mostly like the frame before.
        let checksum = |index: usize| checksums & checksums >> 5 >> index & 1 == 1;
        let (mut client, mut server) = pair(Suite::Aes256Gcm);
        (client.setup.caps, server.setup.caps) = (Caps(caps | 2), Caps(caps | 2));
        let frames: Vec<Vec<u8>> =
            lens.iter().enumerate().map(|(i, &len)| vec![i as u8; len]).collect();
        let (mut out, mut sizes) = (Vec::new(), Vec::new());
        let mut open: Option<Bundle<'_>> = None;
        for (index, frame) in frames.iter().enumerate() {
            let (parts, partial) = (frame.split_at(9), checksum(index));
            if open.as_mut().is_none_or(|open| !open.push(parts.into(), partial, &mut out)) {
                sizes.extend(open.take().map(|full| full.seal(NOW, &mut out).unwrap()));
                open = Some(Bundle::begin(&client, parts.into(), partial, &mut out));
            }
        }
        sizes.extend(open.map(|last| last.seal(NOW, &mut out).unwrap()));
        prop_assert_eq!(sizes.iter().sum::<usize>(), out.len());

        let (mut rest, mut got, mut room) = (&mut out[..], Vec::new(), 0);
        for size in sizes {
            prop_assert!(size <= 1200);
            let (datagram, behind) = rest.split_at_mut(size);
            rest = behind;
            let header = header(datagram);
            let received = server.receive(NOW, &header, datagram).unwrap();
            let before = got.len();
            for frame in received.content.into_frames() {
                prop_assert_eq!(frame.partial_checksum, checksum(got.len()));
                got.push(frame.bytes().to_vec());
            }
            let count = got.len() - before;
            prop_assert_eq!(matches!(header.kind, Kind::Bundle { .. }), count > 1);
            prop_assert!(count == 1 || caps & 4 != 0);
            // None would have found room in the datagram before.
            let alike = before > 0 && checksum(before) == checksum(before - 1);
            prop_assert!(caps & 4 == 0 || !alike || ENTRY_HEAD + got[before].len() > room);
            let first = if count == 1 { ENTRY_HEAD } else { 0 };
            room = 1200 - size - first.min(1200 - size);
        }
        prop_assert_eq!(got, frames);
    }
}

/// What an authenticated but misbehaving peer sends.
#[test]
fn a_bundle_is_frames_to_its_end_or_nothing() {
    let entries = |lens: &[(u16, usize)]| -> Vec<u8> {
        let entry = |&(said, len)| [&u16::to_be_bytes(said)[..], &vec![0xaa; len]].concat();
        lens.iter().flat_map(entry).collect()
    };
    let honest = entries(&[(14, 14), (15, 15), (60, 60)]);
    let all = Caps::ALL;
    let cases = [
        (honest.clone(), all, false, 3),
        (honest.clone(), all, true, 3),
        (honest.clone(), Caps::BUNDLE, true, 0),
        (honest.clone(), Caps::CSUM.union(Caps::FRAG), false, 0),
        (entries(&[(14, 14), (14, 14)]), all, false, 2),
        (entries(&[(60, 60)]), all, false, 0),
        (entries(&[(60, 60), (13, 13)]), all, false, 0),
        (entries(&[(60, 60), (0, 0)]), all, false, 0),
        (entries(&[(0, 0), (60, 60)]), all, false, 0),
        (entries(&[(60, 60), (61, 60)]), all, false, 0),
        (entries(&[(60, 60), (59, 60)]), all, false, 0),
        (entries(&[(u16::MAX, 60), (60, 60)]), all, false, 0),
        ([&honest[..], &[0]].concat(), all, false, 0),
        (honest[..honest.len() - 1].to_vec(), all, false, 0),
        // As many as there may be, and one more.
        (entries(&[(14, 14); 64]), all, false, 64),
        (entries(&[(14, 14); 65]), all, false, 0),
        // As long as a frame may be, and longer.
        (entries(&[(1_000, 1_000), (76, 76)]), all, false, 2),
        (entries(&[(1_000, 1_000), (77, 77)]), all, false, 0),
    ];
    for (number, (plaintext, caps, partial_checksum, frames)) in cases.into_iter().enumerate() {
        let (client, mut server) = pair(Suite::Aes256Gcm);
        (server.setup.caps, server.setup.max_frame) = (caps, 1_080);
        let mut datagram = [&[0; HEADER_LEN][..], &plaintext, &[0; TAG_LEN]].concat();
        let mut counter = client.reserve(NOW, 1).unwrap();
        counter.seal(Kind::Bundle { partial_checksum }, &mut datagram).unwrap();
        let header = header(&datagram);
        let received = server.receive(NOW, &header, &mut datagram).unwrap();
        assert!(received.first && received.newest, "a sign of life all the same");
        assert_eq!(matches!(received.content, Content::Bad), frames == 0, "case {number}");
        let got: Vec<_> = received.content.into_frames().map(Frame::into_bytes).collect();
        assert_eq!(got.len(), frames, "case {number}");
        let again: Vec<u8> = got
            .iter()
            .flat_map(|frame| [&(frame.len() as u16).to_be_bytes()[..], frame].concat())
            .collect();
        assert!(frames == 0 || again == plaintext, "case {number}");
    }
}
