//! Doubly linked lists of slots by index, one an owner, so that what belongs to an owner is found
//! without a scan.

use std::iter;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// A slot's neighbours in the list it is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    before: u32,
    after: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

/// Whatever keeps the links of each slot.
pub(crate) trait Linked {
    fn links(&self, index: u32) -> &Links;
    fn links_mut(&mut self, index: u32) -> &mut Links;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    first: u32,
    last: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The slots, first to last.
    pub(crate) fn iter(self, slots: &impl Linked) -> impl Iterator<Item = u32> {
        self.iter_by(|index| slots.links(index))
    }

    /// The slots, first to last, where `links` gives the links of each.
    pub(crate) fn iter_by<'a>(self, links: impl Fn(u32) -> &'a Links) -> impl Iterator<Item = u32> {
        iter::successors(self.first(), move |&index| {
            let after = links(index).after;
            (after != NONE).then_some(after)
        })
    }

    pub(crate) fn push(&mut self, slots: &mut impl Linked, index: u32) {
        *slots.links_mut(index) = Links { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = index,
            last => slots.links_mut(last).after = index,
        }
        self.last = index;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, slots: &mut impl Linked, index: u32) {
        let Links { before, after } = *slots.links_mut(index);
        match before {
            NONE => self.first = after,
            before => slots.links_mut(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => slots.links_mut(after).before = before,
        }
        self.len -= 1;
    }

    /// Makes the first slot the last.
    pub(crate) fn rotate(&mut self, slots: &mut impl Linked) {
        if let Some(index) = self.first() {
            self.remove(slots, index);
            self.push(slots, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Linked for Vec<Links> {
        fn links(&self, index: u32) -> &Links {
            &self[index as usize]
        }

        fn links_mut(&mut self, index: u32) -> &mut Links {
            &mut self[index as usize]
        }
    }

    fn drain(mut list: List, slots: &mut Vec<Links>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(index) = list.first() {
            order.push(index);
            list.remove(slots, index);
        }
        assert_eq!(list.len(), 0);
        order
    }

    #[test]
    fn slots_leave_from_the_front_the_middle_and_the_back() {
        for removed in 0..3 {
            let mut slots = vec![Links::default(); 3];
            let mut list = List::default();
            (0..3).for_each(|index| list.push(&mut slots, index));
            list.remove(&mut slots, removed);
            assert_eq!(list.len(), 2);
            let rest: Vec<u32> = (0..3).filter(|&index| index != removed).collect();
            assert_eq!(list.iter(&slots).collect::<Vec<_>>(), rest);
            assert_eq!(drain(list, &mut slots), rest);
        }
    }

    #[test]
    fn rotation_visits_every_slot() {
        let mut slots = vec![Links::default(); 3];
        let mut list = List::default();
        list.rotate(&mut slots);
        (0..3).for_each(|index| list.push(&mut slots, index));
        list.rotate(&mut slots);
        assert_eq!(drain(list, &mut slots), [1, 2, 0]);
    }
}
