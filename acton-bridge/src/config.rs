//! What a bridge can be told.

use std::time::Duration;

use pnet_base::MacAddr;

use crate::range::MacRange;

/// Each limit is clamped to this many addresses (1,048,576).
pub(crate) const MOST_MACS: usize = 1 << 20;

/// The settings of a [`Bridge`](crate::Bridge).
///
/// The table is made for all limits at once, at some 50 bytes an address: the defaults take 5.3 MB,
/// and 4.3 MB more as it fills. A limit above 1,048,576 counts as that.
///
/// ```
/// use std::time::Duration;
/// use acton_bridge::{Config, MovePolicy};
///
/// let config = Config::default()
///     .ageing(Duration::from_secs(60))
///     .max_macs_per_leaf(4)
///     .moves(MovePolicy::FirstFrame);
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How long an address is known after its last frame. Default 300 s. With zero, nothing is
    /// known for longer than the instant of its frame.
    pub ageing: Duration,
    /// Learned addresses of all leaves together, at least 1. Default 65,536.
    pub max_macs: usize,
    /// Learned addresses of one leaf; 0 for no limit but `max_macs`. Default 256: a site of many
    /// hosts.
    pub max_macs_per_leaf: usize,
    /// Addresses learned from the root, counted apart so that they never crowd out those of the
    /// leaves. Beyond it the root's frames are forwarded but not learned from. Default 16,384.
    pub max_macs_root: usize,
    /// Addresses [pinned](crate::Bridge::pin) to the root. Default 16,384.
    pub max_pinned: usize,
    /// Static entries and protected addresses together. Default 1,024, and never less than
    /// `protected` needs.
    pub max_static: usize,
    /// When a leaf may take over another leaf's address. Default [`MovePolicy::guarded`].
    pub moves: MovePolicy,
    /// Addresses that all leaves share, as routers with VRRP do: they move from leaf to leaf with their
    /// first frame and never freeze. For those that single leaves share there is
    /// [`Bridge::set_leaf_shared`](crate::Bridge::set_leaf_shared). Looked at where an address is about
    /// to move, one by one. Default none.
    pub shared: Vec<MacRange>,
    /// Forward 01-80-C2-00-00-00 to -0F (STP, LACP, LLDP, ...), but never PAUSE. Default off.
    pub forward_reserved: bool,
    /// Addresses that no leaf may send from, on any VLAN, such as gateways. Default none.
    pub protected: Vec<MacAddr>,
}

/// When an address that belongs to one leaf becomes that of another leaf that sends from it.
///
/// Under either policy the root takes an address at once, and a leaf never takes one of the root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MovePolicy {
    /// For leaves that have an identity: only once the owner is silent. Until then frames from
    /// the new place are dropped.
    Guarded {
        /// The silence after which an address may move; never before it ages out where this is
        /// longer than [`Config::ageing`](field@Config::ageing).
        hold: Duration,
        /// The number of moves `within` a time that freezes an address where the last of them put
        /// it, for another such time; then only the root can take it, or a leaf once it aged out
        /// (RFC 7432 section 15.1). 0 never freezes.
        freeze_after: u32,
        /// The time counted from the first of those moves.
        within: Duration,
    },
    /// For leaves without one: with the first frame.
    FirstFrame,
}

impl MovePolicy {
    /// The guarded policy: an address stays with its leaf until it ages out or the leaf is
    /// [purged](crate::Bridge::purge). With a shorter hold, 5 moves within 180 s freeze it.
    pub const fn guarded() -> Self {
        Self::Guarded { hold: Duration::MAX, freeze_after: 5, within: Duration::from_secs(180) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ageing: Duration::from_secs(300),
            max_macs: 65_536,
            max_macs_per_leaf: 256,
            max_macs_root: 16_384,
            max_pinned: 16_384,
            max_static: 1_024,
            moves: MovePolicy::guarded(),
            shared: Vec::new(),
            forward_reserved: false,
            protected: Vec::new(),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty,)+) => {
        impl Config {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}

setters! {
    ageing: Duration,
    max_macs: usize,
    max_macs_per_leaf: usize,
    max_macs_root: usize,
    max_pinned: usize,
    max_static: usize,
    moves: MovePolicy,
    shared: Vec<MacRange>,
    forward_reserved: bool,
    protected: Vec<MacAddr>,
}
