//! VLAN tags taken off frames that lie in a buffer, and put on again.

use acton_frame::field::ethernet::TAG_LEN;
use acton_frame::{Headers, Tags, hide_tag, show_tag};
use acton_tap::{Checksum, VnetHeader};

/// How many tags of a frame in a buffer are taken off: they stand in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HiddenTags(u8);

impl HiddenTags {
    /// Bytes of them.
    #[inline]
    pub(crate) fn len(self) -> usize {
        usize::from(self.0) * TAG_LEN
    }

    /// How many there are.
    #[inline]
    pub(crate) fn count(self) -> u8 {
        self.0
    }

    /// Has so many tags be taken off the frame in `room`, which begins with those that are off and ends
    /// with the frame; what is known of the frame follows.
    #[inline]
    pub(crate) fn set(
        &mut self,
        tags: u8,
        room: &mut [u8],
        vnet: &mut VnetHeader,
        headers: &mut Headers,
    ) {
        if self.0 != tags {
            self.change(tags, room, vnet, headers);
        }
    }

    #[inline(never)]
    fn change(&mut self, tags: u8, room: &mut [u8], vnet: &mut VnetHeader, headers: &mut Headers) {
        let before = self.len();
        while self.0 < tags {
            hide_tag(&mut room[self.len()..]);
            self.0 += 1;
        }
        while self.0 > tags {
            self.0 -= 1;
            show_tag(&mut room[self.len()..]);
        }
        let moved = |offset: u16| (usize::from(offset) + before).saturating_sub(self.len()) as u16;
        if let Checksum::Partial { start, .. } = &mut vnet.checksum {
            *start = moved(*start);
        }
        // 0 says nothing.
        if vnet.header_len != 0 {
            vnet.header_len = moved(vnet.header_len);
        }
        *headers = Headers::parse(&room[self.len()..]);
    }
}

/// A frame of a client's as it is written to the TAP: with these tags, in place of the one that it may
/// have, which names no VLAN.
pub(crate) fn tagged(frame: &[u8], headers: &Headers, tags: Tags) -> Vec<u8> {
    if tags.is_empty() || headers.tags() == 0 {
        return tags.in_front_of(frame);
    }
    let mut frame = frame.to_vec();
    hide_tag(&mut frame);
    tags.in_front_of(frame.get(TAG_LEN..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use acton_frame::Tag;

    use super::*;

    fn packet(tags: Tags) -> Vec<u8> {
        let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 48];
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([0, 9, 0, 9, 0, 28, 0, 0]);
        packet.extend([7; 20]);
        tags.in_front_of(&packet)
    }

    #[test]
    fn tags_come_off_and_on_again_with_what_is_known_of_the_frame() {
        let (outer, inner) = (Tag { tpid: 0x88a8, tci: 1_000 }, Tag { tpid: 0x8100, tci: 0xe011 });
        let states = [Tags::two(outer, inner), Tags::one(inner), Tags::NONE];
        let known = |tags: Tags| {
            let start = 34 + tags.len() as u16;
            let checksum = Checksum::Partial { start, offset: 6 };
            let vnet = VnetHeader { checksum, header_len: start + 8, ..VnetHeader::default() };
            (vnet, Headers::parse(&packet(tags)))
        };
        let mut room = packet(states[0]);
        let (mut vnet, mut headers) = known(states[0]);
        let mut hidden = HiddenTags::default();
        for tags in [1, 2, 1, 0, 2, 0, 0, 1, 1] {
            hidden.set(tags, &mut room, &mut vnet, &mut headers);
            let state = states[usize::from(tags)];
            assert_eq!((vnet, headers), known(state));
            assert_eq!(room[hidden.len()..], packet(state));
        }
        // What the kernel does not say stays unsaid.
        let mut vnet = VnetHeader::default();
        hidden.set(0, &mut room, &mut vnet, &mut headers);
        assert_eq!(vnet, VnetHeader::default());
    }

    #[test]
    fn a_priority_tag_gives_way() {
        let priority = Tags::one(Tag { tpid: 0x8100, tci: 0xe000 });
        let tags = Tags::one(Tag { tpid: 0x8100, tci: 0xe064 });
        for before in [Tags::NONE, priority] {
            let frame = packet(before);
            assert_eq!(tagged(&frame, &Headers::parse(&frame), tags), packet(tags));
        }
        let frame = packet(priority);
        assert_eq!(tagged(&frame, &Headers::parse(&frame), Tags::NONE), frame);
    }
}
