//! A learning Ethernet bridge with ageing and E-Tree rules, without I/O.
//!
//! One *root* and many *leaves*: a leaf talks to the root, never to another leaf (the E-Tree of
//! MEF 6.3 and RFC 8317). The bridge takes the bytes of a frame, the side it came from and the
//! time, and says where it goes; sending and counting are the caller's. Whoever has parsed
//! a frame already passes its [`Ethernet`] header in place of its bytes.
//!
//! ```
//! use std::time::Duration;
//! use acton_bridge::{Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned};
//!
//! fn frame(to: u8, from: u8) -> [u8; 14] {
//!     [2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x08, 0x00]
//! }
//!
//! let bridge = Bridge::<u32>::new(Config::default());
//! let now = Duration::from_secs(1);
//!
//! // Nobody knows station 9 yet, so a frame for it goes to all leaves.
//! let (verdict, _) = bridge.from_root(&frame(9, 1), now);
//! assert_eq!(verdict, FromRoot::Flood(BumKind::Unknown));
//!
//! // It answers from leaf 42, which is learned; the answer goes to the root.
//! let (verdict, learned) = bridge.from_leaf(42, &frame(1, 9), now);
//! assert_eq!(verdict, FromLeaf::Root { bum: None });
//! assert_eq!(learned, Learned::New);
//! let (verdict, _) = bridge.from_root(&frame(9, 1), now);
//! assert_eq!(verdict, FromRoot::Leaf(42));
//!
//! // Another leaf cannot reach it.
//! let (verdict, _) = bridge.from_leaf(43, &frame(9, 8), now);
//! assert_eq!(verdict, FromLeaf::Drop(DropReason::LeafToLeaf));
//!
//! // The leaf goes, and its addresses with it.
//! assert_eq!(bridge.purge(42), 1);
//! ```
//!
//! # Rules
//! * A leaf has an address on a VLAN (the outer tag's id; untagged and priority-tagged frames are
//!   VLAN 0). The root has it whole, on every VLAN: a switch behind it may tell addresses apart by
//!   VLAN or not, and a Linux bridge by default does not.
//! * What is heard is known for [`ageing`](field@Config::ageing) after its last frame, to the
//!   nanosecond.
//! * A leaf's frame is dropped if its source may not be the leaf's. No frame passes from a source
//!   that the root cannot answer to.
//! * Each dropped frame has one [`DropReason`].
//!
//! # Whose an address is
//! The first of these that speaks of an address decides. The root is trusted, leaves are not: none
//! of them takes anything from the root, and nothing from another leaf that is there.
//!
//! 1. What is said. [`Bridge::set_root_macs`] (the server's own, its gateways) and
//!    [`Bridge::protect`] give it to the root, [`Bridge::reserve`] to one leaf and
//!    [`Bridge::add_static`] to one leaf on one VLAN. None of it needs to be heard, ages, or is
//!    another's if others send from it.
//! 2. What the root is known to have: what it sends from, until that ages, and what
//!    [`Bridge::pin`] tells of, until it is undone. The root takes an address with its first frame,
//!    from all leaves on all VLANs; no leaf takes it back while it is known there.
//! 3. A [strict](Bridge::set_leaf_strict) leaf has nothing beyond what is reserved for it and what it
//!    [shares](Bridge::set_leaf_shared).
//! 4. The leaf that has it on the VLAN. It keeps it until the address ages out or the leaf is
//!    [purged](Bridge::purge), also if it is silent: another leaf that sends from it meanwhile is
//!    refused. Only where leaves' owners want it so, it moves earlier: with the first frame if it is
//!    one of the [shared](field@Config::shared) ones, if the leaf that takes it
//!    [shares](Bridge::set_leaf_shared) it, or if leaves have no identity; or after a hold
//!    ([`MovePolicy`]).
//! 5. Any leaf that sends from it, within its limits.
//!
//! # Why
//! [`Bridge::explain`] takes what [`from_root`](Bridge::from_root) or
//! [`from_leaf`](Bridge::from_leaf) takes, ends as they do, and changes nothing. It goes through the
//! same code and gives each fact that the verdict rests on, as data, or as text for people:
//!
//! ```
//! use std::time::Duration;
//! use acton_bridge::{Bridge, Config, Owner};
//!
//! let bridge = Bridge::<u32>::new(Config::default());
//! let frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x08, 0x00];
//! let _ = bridge.from_leaf(42, &frame, Duration::from_secs(10));
//!
//! // Two seconds later another leaf uses the same address.
//! let explanation = bridge.explain(Owner::Leaf(43), &frame, Duration::from_secs(12));
//! assert_eq!(
//!     explanation.to_string(),
//!     "header: from 02:00:00:00:00:09 to 02:00:00:00:00:01, untagged\n\
//!      source: at leaf 42, last heard of 2.0s ago, held for 298.0s\n\
//!      source: not protected\n\
//!      learned: nothing\n\
//!      verdict: dropped (source_held)",
//! );
//! ```
//!
//! Who tells of events needs no more than what a worker gets with each frame: [`Learned`] says that
//! an address is new, moved or was frozen, [`DropReason`] that it is held, frozen or one too many.
//! What the event is about is asked afterwards, away from the frames: [`Bridge::entry`] for who
//! holds the address and for how long, [`Bridge::room`] for a limit.
//!
//! With the feature `serde`, explanations, entries, limits and verdicts serialise: enums by names in
//! lower case with hyphens ([`DropReason::as_str`] for reasons), addresses as
//! `"02:00:00:00:00:01"`, times as seconds with a fraction.
//!
//! # Threads
//! Readers take no lock; a refresh of an address's time is one atomic exchange. Learning, moving and
//! removing take one short lock. A flood of forged sources from one leaf costs others nothing:
//! past its limit the leaf's new sources are refused without the lock.
//!
//! # Storm control
//! [`FloodClass::of`] says what a flooded frame is for, and a [`Bucket`] whether a [`Budget`] lets it
//! pass. Who asks them, and when, is the caller's: the bridge itself limits no frames.
//!
//! # Policies
//! A [`Policy`] says what a leaf may send: no word of servers and routers, frames of some kinds alone,
//! from some IP addresses, so much a second. [`CompiledPolicy::check`] names the [`Objection`] to a
//! frame. As with floods, who asks is the caller. A [`Circuit`] names the leaf to DHCP and PPPoE servers
//! behind the root: [`Circuit::mark`] in what it sends, [`CircuitEcho`] in what they answer.
//!
//! # Neighbours
//! A question for an IP address goes to everybody, and its answer comes from one. [`Neighbours`]
//! hears answers, so that the next question goes there alone, and knows which questions nobody is
//! known to answer. It changes no verdict of the bridge's: the caller asks it about frames that are
//! flooded, where it wants to. It also lists who has which address, with the MAC that told of it.
//!
//! # Multicast
//! [`Multicast`] listens to IGMP and MLD (RFC 4541), and knows which leaves asked for a group, so that it
//! goes to those alone. As with neighbours, it changes no verdict: the caller asks it.
//!
//! # Not here
//! Spanning trees: root and leaves cannot form a loop through this bridge, and a loop outside it
//! shows as moves.

#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "serde")]
mod as_text;
mod bridge;
mod budget;
mod claim;
mod config;
mod entry;
mod explain;
mod explaining;
mod fdb;
mod flood_class;
mod header;
mod key;
mod limit;
mod list;
mod multicast;
mod neighbour_message;
mod neighbours;
mod policy;
mod port;
mod purpose;
mod range;
#[cfg(feature = "serde")]
mod seconds;
mod sharing;
mod statics;
mod table;
mod unlearned;
mod verdict;
mod writer;

pub use acton_frame::Ethernet;
pub use bridge::Bridge;
pub use budget::{Bucket, Budget};
pub use config::{Config, MovePolicy};
pub use entry::Entry;
pub use explain::{Explanation, Step, Verdict};
pub use flood_class::FloodClass;
pub use limit::{Room, Share};
pub use multicast::{
    AllReason, Group, GroupAsk, GroupEntry, GroupMessage, GroupQuery, GroupRoute, GroupsSummary,
    IpFamily, KnownQuerier, MAX_GROUPS_PER_LEAF, Multicast, QuerierNews, Receivers, Reports, Wish,
    group_mac, group_query,
};
pub use neighbours::{Asked, Neighbour, Neighbours};
pub use policy::{
    AdvertisedPrefixes, AtRoot, Circuit, CircuitEcho, CircuitFacts, CircuitMark, CircuitProtocol,
    CircuitRefusal, CircuitTemplate, CircuitTemplateError, CompiledPolicy, Dhcp6Reply, EtherType,
    EtherTypeError, Finding, ForLeaf, FrameVlan, Grant, HeldNet, LeafFacts, LearntFrom, Lease,
    Leases, Objection, OuterTag, Policer, Policy, Rate, RootAddress, RootAddresses, Sources,
    TagPair, VlanError, VlanId, VlanRange, VlanSet, Vlans, neighbour_advertised,
};
pub use port::{Owner, Port};
pub use range::{MacRange, MacRangeError};
pub use statics::StaticError;
pub use verdict::{BumKind, DropReason, FromLeaf, FromRoot, Learned};

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
