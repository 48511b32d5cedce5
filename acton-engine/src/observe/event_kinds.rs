//! The kinds of events: their names, and what is said of them to those who read events.

use super::event::EventKind;

/// What one kind of event is, for those who read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventDescription {
    /// Its stable name.
    pub name: String,
    /// When it comes.
    pub meaning: &'static str,
    /// Its fields, in their order: the name and what it says.
    pub fields: Vec<(&'static str, &'static str)>,
}

/// Every kind of event.
pub fn event_kinds() -> impl Iterator<Item = EventDescription> {
    EventKind::DESCRIPTIONS.iter().map(|(kind, meaning, fields)| EventDescription {
        name: serialised_name(kind),
        meaning: meaning.trim_start(),
        fields: fields.iter().map(|(name, meaning)| (*name, meaning.trim_start())).collect(),
    })
}

/// What serde calls a variant in snake case.
fn serialised_name(variant: &str) -> String {
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

pub(super) type Description = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Keeps what the enum says of itself for those who read its events.
macro_rules! described {
    (
        $(#[$about:meta])*
        pub enum $name:ident {$(
            $(#[doc = $meaning:literal])*
            $kind:ident {$(
                $(#[doc = $says:literal])*
                $(#[cfg_attr($($attribute:tt)*)])?
                $field:ident: $type:ty,
            )*},
        )*}
    ) => {
        $(#[$about])*
        pub enum $name {$(
            $(#[doc = $meaning])*
            $kind {$(
                $(#[doc = $says])*
                $(#[cfg_attr($($attribute)*)])?
                $field: $type,
            )*},
        )*}

        impl $name {
            /// Each variant, its meaning, and its fields with theirs.
            pub(super) const DESCRIPTIONS: &[Description] = &[$((
                stringify!($kind),
                concat!($($meaning),*),
                &[$((stringify!($field), concat!($($says),*))),*],
            )),*];
        }
    };
}
pub(super) use described;

impl EventKind {
    /// The name of the kind, as it is serialised.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionUp { .. } => "session_up",
            Self::SessionDown { .. } => "session_down",
            Self::SessionMoved { .. } => "session_moved",
            Self::Rekeyed { .. } => "rekeyed",
            Self::Replaced { .. } => "replaced",
            Self::Duplicate { .. } => "duplicate",
            Self::SessionRefused { .. } => "session_refused",
            Self::ClockApart { .. } => "clock_apart",
            Self::MacLearnt { .. } => "mac_learnt",
            Self::MacMoved { .. } => "mac_moved",
            Self::MacHeld { .. } => "mac_held",
            Self::MacFrozen { .. } => "mac_frozen",
            Self::MacNoRoom { .. } => "mac_no_room",
            Self::RootMacs { .. } => "root_macs",
            Self::RootAddresses { .. } => "root_addresses",
            Self::RootUnknown { .. } => "root_unknown",
            Self::LimitReached { .. } => "limit_reached",
            Self::LoopFound { .. } => "loop_found",
            Self::LanReflects { .. } => "lan_reflects",
            Self::LoopOver { .. } => "loop_over",
            Self::BudgetActs { .. } => "budget_acts",
            Self::PolicyActs { .. } => "policy_acts",
            Self::QuerierHeard { .. } => "querier_heard",
            Self::QuerierLost { .. } => "querier_lost",
            Self::SessionsFull { .. } => "sessions_full",
            Self::SourceFull { .. } => "source_full",
            Self::ListRead { .. } => "list_read",
            Self::ListFailed { .. } => "list_failed",
            Self::NetworkKeyRead { .. } => "network_key_read",
            Self::NetworkKeyFailed { .. } => "network_key_failed",
            Self::MacNotKept { .. } => "mac_not_kept",
            Self::ClientDecided { .. } => "client_decided",
            Self::AuthorizeLost { .. } => "authorize_lost",
            Self::AuthorizeBack { .. } => "authorize_back",
            Self::AccountingOn { .. } => "accounting_on",
            Self::AccountingOff { .. } => "accounting_off",
            Self::AccountingStart { .. } => "accounting_start",
            Self::AccountingInterim { .. } => "accounting_interim",
            Self::AccountingStop { .. } => "accounting_stop",
            Self::Connecting { .. } => "connecting",
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::Refused { .. } => "refused",
            Self::NetworkKeyTold { .. } => "network_key_told",
            Self::Unreadable { .. } => "unreadable",
            Self::Unreachable { .. } => "unreachable",
            Self::NothingListens { .. } => "nothing_listens",
            Self::OtherMode { .. } => "other_mode",
            Self::AskedToMove { .. } => "asked_to_move",
            Self::MovedToServer { .. } => "moved_to_server",
            Self::Draining { .. } => "draining",
            Self::Uplink { .. } => "uplink",
            Self::WayChanged { .. } => "way_changed",
            Self::LinksChanged { .. } => "links_changed",
            Self::ServerRestarted { .. } => "server_restarted",
            Self::MtuUnfit { .. } => "mtu_unfit",
            Self::SettingsApplied { .. } => "settings_applied",
            Self::CaptureBegan { .. } => "capture_began",
            Self::CaptureEnded { .. } => "capture_ended",
            Self::Carrier { .. } => "carrier",
            Self::Failed { .. } => "failed",
            Self::Suppressed { .. } => "suppressed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_described_by_its_name() {
        let kinds: Vec<_> = event_kinds().collect();
        let sentences = kinds
            .iter()
            .flat_map(|kind| kind.fields.iter().map(|(_, says)| *says).chain([kind.meaning]));
        assert!(sentences.clone().all(|sentence| sentence.ends_with('.')), "{kinds:?}");
        let carrier = kinds.iter().find(|kind| kind.name == EventKind::Carrier { up: true }.name());
        assert_eq!(carrier.unwrap().fields, [("up", "Whether it has one.")]);
    }
}
