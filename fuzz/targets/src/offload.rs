//! acton-tap's offloads: super-frames of any headers cut up, frames of any headers joined.

use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Sum, Trust, partial_checksum};
use acton_tap::{Checksum, Offloads, VnetHeader};

use crate::input::Input;

/// TCP and UDP over IPv4 and IPv6, without payload.
const TEMPLATES: [&[u8]; 4] = [
    b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45\0\0\x28\0\x07\x40\0\x40\x06\0\0\xc0\0\x02\x01\xc0\0\x02\x02\
      \x04\0\0\x50\0\0\0\x01\0\0\0\x01\x50\x10\x01\0\0\0\0\0",
    b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45\0\0\x1c\0\x07\x40\0\x40\x11\0\0\xc0\0\x02\x01\xc0\0\x02\x02\
      \x04\0\0\x35\0\x08\0\0",
    b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd\x60\0\0\0\0\x14\x06\x40\
      \xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\
      \x04\0\0\x50\0\0\0\x01\0\0\0\x01\x50\x10\x01\0\0\0\0\0",
    b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd\x60\0\0\0\0\x08\x11\x40\
      \xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\
      \x04\0\0\x35\0\x08\0\0",
];

/// Offset of the IP header, behind the VLAN tags.
fn network(frame: &[u8]) -> usize {
    let tagged = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8]));
    (12..).step_by(4).find(|&at| !tagged(at)).map_or(0, |at| at + 2)
}

/// Where the checksum of a whole TCP or UDP packet is, and the sum of its pseudo-header.
fn transport(frame: &[u8]) -> Option<(usize, usize, Sum)> {
    let Some(Checksum::Partial { start, offset }) = partial_checksum(frame) else { return None };
    let (start, offset) = (usize::from(start), usize::from(offset));
    let ip = network(frame);
    let addresses = if frame[ip] >> 4 == 4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 };
    let protocol = if offset == 16 { 6 } else { 17 };
    Some((start, offset, Sum::pseudo_header(&frame[addresses], protocol, frame.len() - start)))
}

/// A frame made of a template: tags, payload, right lengths; then changes.
fn frame(input: &mut Input<'_>, template: usize, payload: usize, sequence: u32) -> Vec<u8> {
    let mut frame = TEMPLATES[template].to_vec();
    let ip = 14;
    frame.resize(frame.len() + payload, sequence as u8);
    let length = frame.len() - ip;
    if template < 2 {
        frame[ip + 2..ip + 4].copy_from_slice(&(length as u16).to_be_bytes());
    } else {
        frame[ip + 4..ip + 6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    }
    let start = ip + if template < 2 { 20 } else { 40 };
    if template & 1 == 0 {
        frame[start + 4..start + 8].copy_from_slice(&sequence.to_be_bytes());
    } else {
        let length = frame.len() - start;
        frame[start + 4..start + 6].copy_from_slice(&(length as u16).to_be_bytes());
    }
    let bits = input.u8();
    for _ in 0..bits & 3 {
        let at = input.below(frame.len().min(256));
        frame[at] ^= input.u8();
    }
    for _ in 0..(bits >> 2 & 3).saturating_sub(1) {
        frame.splice(12..12, [0x81, 0, 0, 5]);
    }
    if bits & 0x10 != 0 {
        frame.truncate(input.u8().into());
    }
    let id = (sequence >> 8) as u16;
    if bits & 0x20 == 0 && frame.len() > 40 && network(&frame) == ip && template < 2 {
        frame[ip + 4..ip + 6].copy_from_slice(&id.to_be_bytes());
    }
    // The header's own checksum, where there is a whole one.
    let ip = network(&frame);
    if frame.get(ip).is_some_and(|first| first >> 4 == 4) {
        let len = usize::from(frame[ip] & 15) * 4;
        if len >= 20 && frame.len() >= ip + len {
            frame[ip + 10..ip + 12].fill(0);
            let sum = Sum::of(&frame[ip..ip + len]).checksum();
            frame[ip + 10..ip + 12].copy_from_slice(&sum);
        }
    }
    frame
}

/// A vnet header and a frame from a TAP. Nothing is lost in cutting, and no frame but the last is
/// shorter than the first; where the kernel's sum was right, so are the checksums.
pub fn segment(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let bits = input.u8();
    let max_frame = usize::from(input.u16() % 4096);
    let Ok(mut header) = VnetHeader::decode(&input.array()) else { return false };
    let payload = usize::from(input.u16());
    let mut frame = match bits & 1 {
        0 => frame(&mut input, usize::from(bits >> 1 & 3), payload.min(65_000), 0x0102_0304),
        _ => input.chunk().to_vec(),
    };
    let sums = bits & 8 != 0;
    if sums && let Some((start, offset, pseudo)) = transport(&frame) {
        frame[start + offset..start + offset + 2].copy_from_slice(&pseudo.folded());
        header.checksum = Checksum::Partial { start: start as u16, offset: offset as u16 };
    }
    let fill = if bits & 16 == 0 { Fill::Full } else { Fill::Partial };
    let Ok(mut segments) = Segments::new(&header, &frame, max_frame, fill) else { return false };
    let (count, first) = (segments.len(), segments.frame_len());
    let right = sums && fill == Fill::Full && transport(&frame).is_some();
    let (mut head, mut seen, mut payload) = ([0; MAX_HEAD], 0, Vec::new());
    while let Some(segment) = segments.next_in(&mut head) {
        seen += 1;
        assert!(segment.frame_len() == first || seen == count && segment.frame_len() <= first);
        payload.extend_from_slice(segment.payload);
        if right {
            let whole = [segment.head, segment.payload].concat();
            let (start, _, pseudo) = transport(&whole).expect("cut of what was whole");
            assert!(pseudo.plus(&whole[start..]).is_valid(), "a wrong checksum");
        }
    }
    assert_eq!((seen, segments.len()), (count, 0));
    assert!(frame.ends_with(&payload));
    count > 1
}

/// Takes out what may change when frames are joined and cut: the ids of IPv4, and so its checksum.
fn without_id(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let ip = network(&frame);
    if frame.get(ip).is_some_and(|first| first >> 4 == 4) && frame.len() >= ip + 20 {
        frame[ip + 4..ip + 6].fill(0);
        frame[ip + 10..ip + 12].fill(0);
    }
    frame
}

/// Frames from a tunnel. Each one taken is written once, and a super-frame cut up is the frames it
/// was made of.
pub fn coalesce(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let bits = input.u8();
    let trust = [Trust::Verify, Trust::Vouched, Trust::Partial][usize::from(bits & 3) % 3];
    let (mut frames, mut sequence) = (Vec::new(), [0x0100_u32; 4]);
    while !input.is_empty() && frames.len() < 200 {
        let (template, choice) = (input.below(4), input.u8());
        let payload = [100, 100, 100, 1448, 0, 37, 1448, 9000][usize::from(choice & 7)];
        let mut frame = frame(&mut input, template, payload, sequence[template]);
        sequence[template] = sequence[template].wrapping_add(payload as u32);
        // What is vouched for is right; what is to be verified may be wrong.
        let wrong = choice & 0x80 != 0 && trust == Trust::Verify;
        if !wrong && let Some((start, offset, pseudo)) = transport(&frame) {
            let at = start + offset..start + offset + 2;
            frame[at.clone()].copy_from_slice(&pseudo.folded());
            if trust != Trust::Partial {
                let sum = match Sum::of(&frame[start..]).checksum() {
                    [0, 0] if offset == 6 => [0xff; 2],
                    sum => sum,
                };
                frame[at].copy_from_slice(&sum);
            }
        }
        frames.push(frame);
    }

    let (mut written, mut joined) = (Vec::new(), false);
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut batch = coalescer.batch(|made| {
        let members: Vec<Vec<u8>> = made.members().map(|member| member.frame.to_vec()).collect();
        assert_eq!(members.len(), made.frames());
        if made.frames() > 1 {
            joined = true;
            let bytes: Vec<u8> = made.pieces().iter().flat_map(|piece| piece.to_vec()).collect();
            let (header, frame) = bytes.split_first_chunk().expect("a vnet header is in front");
            assert_eq!(VnetHeader::decode(header), Ok(made.header()));
            assert_eq!(frame.len(), made.frame_len());
            let fill = if trust == Trust::Partial { Fill::Partial } else { Fill::Full };
            let mut segments = Segments::new(&made.header(), frame, usize::MAX, fill)
                .expect("a super-frame that a TAP takes");
            let mut buffer = vec![0; segments.frame_len()];
            for member in &members {
                let len = segments.copy_next(&mut buffer).expect("as many frames as were joined");
                assert_eq!(without_id(&buffer[..len]), without_id(member));
            }
            assert!(segments.is_empty());
        }
        written.extend(members);
    });
    let mut taken: Vec<_> =
        frames.iter().filter(|frame| batch.push(frame, trust).is_ok()).cloned().collect();
    drop(batch);
    taken.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, taken);
    joined
}
