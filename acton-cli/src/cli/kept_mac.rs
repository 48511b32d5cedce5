//! The MAC of a TAP in plain mode.

use std::error::Error as _;

use acton_engine::TapSettings;
use acton_engine::keys::{KeptMac, State};
use acton_tap::Interface;

/// Has a TAP that is made anew have the MAC that is kept for it, for as long as what this returns
/// lives. One that is there keeps its own, and one whose name is none will not be made.
pub(super) fn keep_mac(state: &State, tap: &mut TapSettings) -> Option<KeptMac> {
    if tap.mac.is_some()
        || matches!(Interface::open(&tap.name), Ok(_) | Err(acton_tap::Error::Name { .. }))
    {
        return None;
    }
    match state.keep_mac(&tap.name) {
        Ok(kept) => {
            tap.default_mac = Some(kept.mac());
            Some(kept)
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            log::warn!(
                "TAP {} gets another MAC at each start: {error}{cause}; -m gives it one",
                tap.name
            );
            None
        }
    }
}
