//! Frames that were copied out of a batch, since they wait for longer than that.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::VnetHeader;

use crate::frames::store::FrameStore;
use crate::frames::tags::HiddenTags;
use crate::sessions::audience::Audience;
use crate::sessions::directory::SLOTS;
use crate::sessions::port::LeafId;
use crate::sessions::vlan_members::VlanAudience;

/// VLANs whose members are known apart, of those that frames wait for.
const MAX_VLANS: usize = 16;

/// Frames in the order in which they were copied. Its memory is kept for the next ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct FrameCopies {
    bytes: Vec<u8>,
    copies: Vec<FrameCopy>,
    /// Frames that are not for everybody.
    limited: usize,
    /// Who may get any of them, where all are for VLANs, and not for too many.
    vlans: Vec<VlanAudience>,
    is_by_more: bool,
}

#[derive(Debug, Clone)]
struct FrameCopy {
    start: usize,
    /// Those stand in front of the frame.
    hidden: HiddenTags,
    vnet: VnetHeader,
    headers: Headers,
    since: Duration,
    /// `None` for everybody.
    receivers: Option<Audience>,
}

impl FrameCopy {
    /// Where its bytes are.
    fn range(&self) -> Range<usize> {
        let start = self.start + self.hidden.len();
        start..start + self.headers.frame_len()
    }
}

impl FrameCopies {
    /// Copies frame `index` of `frames`, which waits since `now` and is for these, or with `None` for
    /// everybody.
    pub(crate) fn push(
        &mut self,
        frames: &impl FrameStore,
        index: usize,
        receivers: Option<&Audience>,
        now: Duration,
    ) {
        let (vnet, headers) = (*frames.vnet(index), *frames.headers(index));
        let (start, hidden) = (self.bytes.len(), HiddenTags::default());
        let receivers = receivers.cloned();
        self.limited += usize::from(receivers.is_some());
        self.note(receivers.as_ref());
        self.copies.push(FrameCopy { start, hidden, vnet, headers, since: now, receivers });
        self.bytes.extend_from_slice(frames.get(index));
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.copies.clear();
        self.limited = 0;
        self.vlans.clear();
        self.is_by_more = false;
    }

    /// Notes who may get a frame.
    fn note(&mut self, receivers: Option<&Audience>) {
        match receivers {
            Some(Audience::Vlan(members)) if !self.is_by_more => {
                if self.vlans.iter().any(|known| known.is_same(members)) {
                    return;
                }
                self.is_by_more = self.vlans.len() == MAX_VLANS;
                self.vlans.push(members.clone());
            }
            _ => self.is_by_more = true,
        }
    }

    /// The first slot from `slot` on whose client may get any of them; [`SLOTS`] where there is none.
    pub(crate) fn next_slot(&self, slot: usize) -> usize {
        if self.is_by_more {
            return slot;
        }
        self.vlans.iter().map(|members| members.next(slot)).min().unwrap_or(SLOTS)
    }

    /// Whether most slots are passed over.
    pub(crate) fn is_for_few(&self) -> bool {
        !self.is_by_more
    }

    /// Bytes of all frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Since when frame `index` waits.
    pub(crate) fn since(&self, index: usize) -> Duration {
        self.copies[index].since
    }

    /// How many get frame `index`, where everybody is so many.
    pub(crate) fn receivers(&self, index: usize, everybody: usize) -> usize {
        self.copies[index].receivers.as_ref().map_or(everybody, Audience::count)
    }

    /// Whether any of these frames is for that client.
    pub(crate) fn is_any_for(&self, mut run: Range<usize>, client: LeafId) -> bool {
        self.limited == 0 || run.any(|index| self.is_for(index, client))
    }

    /// Takes the first frames of `rest` that follow one another and are for that client out of it.
    pub(crate) fn next_run(&self, rest: &mut Range<usize>, client: LeafId) -> Option<Range<usize>> {
        if self.limited == 0 {
            let all = rest.clone();
            rest.start = rest.end;
            return Some(all).filter(|all| !all.is_empty());
        }
        let start = rest.find(|&index| self.is_for(index, client))?;
        let more = rest.clone().take_while(|&index| self.is_for(index, client)).count();
        rest.start = start + 1 + more;
        Some(start..rest.start)
    }

    fn is_for(&self, index: usize, client: LeafId) -> bool {
        self.copies[index].receivers.as_ref().is_none_or(|receivers| receivers.contains(client))
    }
}

impl FrameStore for FrameCopies {
    fn len(&self) -> usize {
        self.copies.len()
    }

    fn vnet(&self, index: usize) -> &VnetHeader {
        &self.copies[index].vnet
    }

    fn headers(&self, index: usize) -> &Headers {
        &self.copies[index].headers
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.copies[index].range()]
    }

    fn get_mut(&mut self, index: usize) -> (&mut [u8], &Headers) {
        let copy = &self.copies[index];
        (&mut self.bytes[copy.range()], &copy.headers)
    }

    fn take_off_tags(&mut self, index: usize, tags: u8) {
        let copy = &mut self.copies[index];
        let room = &mut self.bytes[copy.start..copy.range().end];
        copy.hidden.set(tags, room, &mut copy.vnet, &mut copy.headers);
    }
}

/// Who changes a frame that others have too gets a copy of all.
impl FrameStore for Arc<FrameCopies> {
    fn len(&self) -> usize {
        FrameStore::len(&**self)
    }

    fn vnet(&self, index: usize) -> &VnetHeader {
        FrameStore::vnet(&**self, index)
    }

    fn headers(&self, index: usize) -> &Headers {
        FrameStore::headers(&**self, index)
    }

    fn get(&self, index: usize) -> &[u8] {
        FrameStore::get(&**self, index)
    }

    fn get_mut(&mut self, index: usize) -> (&mut [u8], &Headers) {
        Self::make_mut(self).get_mut(index)
    }

    fn take_off_tags(&mut self, index: usize, tags: u8) {
        if self.copies[index].hidden.count() != tags {
            Self::make_mut(self).take_off_tags(index, tags);
        }
    }
}
