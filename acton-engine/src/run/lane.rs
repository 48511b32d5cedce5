//! Shares of a control thread's queue: who floods one fills its share and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A share of the queue: so many messages may wait in it.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    waiting: Arc<AtomicUsize>,
    places: usize,
}

/// A message's place in its lane, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Lane {
    pub(crate) fn new(places: usize) -> Self {
        Self { waiting: Arc::default(), places }
    }

    /// A place, if one is free.
    pub(crate) fn enter(&self) -> Option<Place> {
        let place = |waiting: usize| (waiting < self.places).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        Some(Place(Arc::clone(&self.waiting)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_has_so_many_places_and_gets_them_back() {
        let lane = Lane::new(2);
        let (first, second) = (lane.enter(), lane.clone().enter());
        assert!(first.is_some() && second.is_some() && lane.enter().is_none());
        drop(first);
        assert!(lane.enter().is_some());
    }
}
