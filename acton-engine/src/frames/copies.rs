//! Frames that were copied out of a batch, since they wait for longer than that.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::FrameVlan;
use acton_frame::Headers;
use acton_tap::VnetHeader;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::frames::store::FrameStore;
use crate::frames::tags::HiddenTags;
use crate::sessions::audience::{Audience, For};
use crate::sessions::port::{LeafId, slot};
use crate::sessions::slot_set::{SlotSet, SlotUnion};

/// In the place of an audience: a frame is for everybody.
const EVERYBODY: u32 = u32::MAX;

/// Frames in the order in which they were copied. Its memory is kept for the next ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct FrameCopies {
    bytes: Vec<u8>,
    copies: Vec<FrameCopy>,
    /// Whose each of them is, by the number of the audience: what is asked for each receiver lies close.
    whose: Vec<u32>,
    /// The audiences, and how many are in each.
    audiences: Vec<(Audience, usize)>,
    /// The latest ones of what is for some.
    latest: HashMap<For, Latest, RandomState>,
    /// The slots of all of them.
    slots: SlotUnion,
    /// Those who are looked at for every VLAN, once there is an audience that they are in.
    wide: Option<Arc<SlotSet>>,
    /// Frames that are for everybody.
    for_all: usize,
}

/// The numbers of the latest audiences of a flow, of which frames may go to those in few VLANs alone: while a
/// budget lets some frames pass to all of them the two take turns, and are noted once each.
///
/// Both, and frames of the VLAN for everybody, are one entry, by which [`FrameCopies::has`] knows that frames
/// of the flow wait, whomever they are for: a client in few VLANs gets those of each kind, and the one for few
/// must not overtake the one for everybody.
#[derive(Debug, Default, Clone, Copy)]
struct Latest {
    whole: Option<u32>,
    few: Option<u32>,
}

impl Latest {
    fn of(&mut self, is_of_few: bool) -> &mut Option<u32> {
        if is_of_few { &mut self.few } else { &mut self.whole }
    }
}

/// Members of an audience of which each is kept with it, at most; of one with more each client is looked for.
const LISTED: usize = 64;

/// Which frames are for a client, by their audience. Its memory is kept for the next ones.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// By the number of the audience.
    is_in: Vec<bool>,
    /// Those that are.
    numbers: Vec<u32>,
    /// Slots of members, each with the audience that it is in, in order.
    members: Vec<(u32, u32)>,
    /// Audiences whose members are not all in `members`.
    others: Vec<u32>,
}

impl Wanted {
    /// Begins with `frames` in place of others. This takes as long as their audiences have members, so that
    /// to find those of a client does not take longer the more audiences there are.
    pub(crate) fn begin(&mut self, frames: &FrameCopies) {
        let Self { is_in, numbers, members, others } = self;
        is_in.clear();
        is_in.resize(frames.audiences.len(), false);
        numbers.clear();
        members.clear();
        others.clear();
        for (number, (audience, _)) in (0..).zip(&frames.audiences) {
            if audience.own_count() <= LISTED {
                audience.for_each_own(|slot| members.push((slot as u32, number)));
            } else {
                others.push(number);
            }
        }
        members.sort_unstable();
    }

    /// Takes those of `frames` that are for that client in place of another's.
    pub(crate) fn find(&mut self, frames: &FrameCopies, client: LeafId) {
        let Self { is_in, numbers, members, others } = self;
        numbers.drain(..).for_each(|number| is_in[number as usize] = false);
        let mut look = |number| {
            if frames.audiences[number as usize].0.contains(client) {
                is_in[number as usize] = true;
                numbers.push(number);
            }
        };
        if frames.wide.as_ref().is_some_and(|wide| wide.contains(slot(client))) {
            return (0..frames.audiences.len() as u32).for_each(look);
        }
        let slot = slot(client) as u32;
        let first = members.partition_point(|(other, _)| *other < slot);
        let own = members[first..].iter().take_while(|(other, _)| *other == slot);
        own.map(|(_, number)| number).chain(&*others).for_each(|number| look(*number));
    }

    #[inline]
    fn has(&self, audience: u32) -> bool {
        // `EVERYBODY` is beyond all.
        self.is_in.get(audience as usize).is_none_or(|is_in| *is_in)
    }
}

#[derive(Debug, Clone)]
struct FrameCopy {
    start: usize,
    /// Those stand in front of the frame.
    hidden: HiddenTags,
    vnet: VnetHeader,
    headers: Headers,
    since: Duration,
}

impl FrameCopy {
    /// Where its bytes are.
    fn range(&self) -> Range<usize> {
        let start = self.start + self.hidden.len();
        start..start + self.headers.frame_len()
    }
}

impl FrameCopies {
    /// Copies frame `index` of `frames`, which waits since `now` and is for these, who are so many, or with
    /// `None` for everybody. Where clients go `by_vlan`, what is for those in its VLAN alone comes after it.
    pub(crate) fn push(
        &mut self,
        frames: &impl FrameStore,
        index: usize,
        receivers: Option<(&Audience, usize)>,
        by_vlan: bool,
        now: Duration,
    ) {
        let (vnet, headers) = (*frames.vnet(index), *frames.headers(index));
        let (start, hidden) = (self.bytes.len(), HiddenTags::default());
        let whose = receivers.map_or(EVERYBODY, |receivers| self.note(receivers));
        if whose == EVERYBODY {
            self.for_all += 1;
            if by_vlan {
                let vlan = FrameVlan::of(&headers, frames.get(index));
                self.latest.entry(For::Vlan(vlan)).or_default();
            }
        }
        self.whose.push(whose);
        self.copies.push(FrameCopy { start, hidden, vnet, headers, since: now });
        self.bytes.extend_from_slice(frames.get(index));
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.copies.clear();
        self.whose.clear();
        self.audiences.clear();
        self.latest.clear();
        self.slots.clear();
        self.wide = None;
        self.for_all = 0;
    }

    /// The number of an audience, which is another one once others are in it.
    fn note(&mut self, (audience, count): (&Audience, usize)) -> u32 {
        let latest = self.latest.entry(audience.gets()).or_default().of(audience.is_of_few());
        if let Some(known) = *latest
            && self.audiences[known as usize].0.is_same(audience)
        {
            return known;
        }
        let number = self.audiences.len() as u32;
        *latest = Some(number);
        audience.add_own_to(&mut self.slots);
        if let Some(wide) = audience.wide().filter(|_| self.wide.is_none()) {
            self.slots.add(wide);
            self.wide = Some(Arc::clone(wide));
        }
        self.audiences.push((audience.clone(), count));
        number
    }

    /// Has those get them, too, who came into an audience since it was noted.
    pub(crate) fn look_again(&mut self) {
        for (audience, _) in &self.audiences {
            if let Audience::Vlan(..) = audience {
                audience.add_own_to(&mut self.slots);
            }
        }
        if let Some(wide) = &self.wide {
            self.slots.add(wide);
        }
    }

    /// Whether any of them is of what an audience gets, though it be for others of it or for everybody.
    pub(crate) fn has(&self, what: For) -> bool {
        self.latest.contains_key(&what)
    }

    /// The slots whose clients may get any of them; `None` for all.
    pub(crate) fn slots(&self) -> Option<&SlotUnion> {
        (self.for_all == 0).then_some(&self.slots)
    }

    /// How many audiences were noted.
    #[cfg(test)]
    pub(crate) fn audiences(&self) -> usize {
        self.audiences.len()
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
        self.audiences.get(self.whose[index] as usize).map_or(everybody, |(_, count)| *count)
    }

    /// The sum over the frames of `run` of what `of` says of an audience and how many are in it, and of this
    /// for everybody. Each audience is asked about once.
    pub(crate) fn sum(
        &self,
        run: Range<usize>,
        everybody: usize,
        of: impl Fn(&Audience, usize) -> usize,
    ) -> u64 {
        let of_each: Vec<_> = self.audiences.iter().map(|(some, count)| of(some, *count)).collect();
        let of_frame = |whose: &u32| *of_each.get(*whose as usize).unwrap_or(&everybody) as u64;
        self.whose[run].iter().map(of_frame).sum()
    }

    /// Takes the first frames of `rest` that follow one another and that a client wants out of it.
    pub(crate) fn next_run(
        &self,
        rest: &mut Range<usize>,
        wanted: &Wanted,
    ) -> Option<Range<usize>> {
        if self.audiences.is_empty() {
            let all = rest.clone();
            rest.start = rest.end;
            return Some(all).filter(|all| !all.is_empty());
        }
        let mut whose = self.whose[rest.clone()].iter();
        let Some(before) = whose.position(|&whose| wanted.has(whose)) else {
            rest.start = rest.end;
            return None;
        };
        let start = rest.start + before;
        let more = whose.take_while(|&&whose| wanted.has(whose)).count();
        rest.start = start + 1 + more;
        Some(start..rest.start)
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
