//! What the settings name as the root's.

use std::net::IpAddr;

use pnet_base::MacAddr;

use crate::settings::ServerSettings;

/// What no client may use, on any VLAN, beside what is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Named {
    pub(super) macs: Vec<MacAddr>,
    pub(super) addresses: Vec<IpAddr>,
}

impl Named {
    pub(crate) fn of(settings: &ServerSettings) -> Self {
        Self {
            macs: settings.protected_macs.clone(),
            addresses: settings.protected_addresses.clone(),
        }
    }
}
