//! The underlay itself, without a tunnel.

use super::{Contender, Process};
use crate::Result;
use crate::world::{Network, UNDERLAY, World};

struct BareVeth;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    Ok(Box::new(BareVeth))
}

impl Contender for BareVeth {
    fn start(&self, _: &World) -> Result<Vec<Process>> {
        Ok(Vec::new())
    }

    fn network(&self) -> Network {
        UNDERLAY
    }
}
