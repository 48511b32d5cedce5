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
//! * An address is known per VLAN (the outer tag's id; untagged and priority-tagged frames are
//!   VLAN 0) for [`ageing`](field@Config::ageing) after its last frame, to the nanosecond.
//! * Sources are learned from both sides, so that a leaf cannot take the address of a gateway
//!   that speaks. The root takes any learned address at once; a leaf takes one that lives
//!   elsewhere as [`MovePolicy`] says.
//! * A leaf's frame is dropped if its source may not be learned: a group, zero, protected, held or
//!   frozen address, or one over a limit. No frame passes from a source that the root cannot
//!   answer to.
//! * Each dropped frame has one [`DropReason`].
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
//!      source: at leaf 42, last heard of 2s ago, held for 3s\n\
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
//! # Not here
//! Storm control, and spanning trees: root and leaves cannot form a loop through this bridge, and
//! a loop outside it shows as moves.

#![forbid(unsafe_code)]

mod address;
mod bridge;
mod claim;
mod config;
mod entry;
mod explain;
mod explaining;
mod fdb;
mod header;
mod key;
mod limit;
mod list;
mod port;
mod purpose;
#[cfg(feature = "serde")]
mod seconds;
mod statics;
mod table;
mod verdict;
mod writer;

pub use acton_frame::Ethernet;
pub use bridge::Bridge;
pub use config::{Config, MovePolicy};
pub use entry::Entry;
pub use explain::{Explanation, Step, Verdict};
pub use limit::{Room, Share};
pub use port::{Owner, Port};
pub use statics::StaticError;
pub use verdict::{BumKind, DropReason, FromLeaf, FromRoot, Learned};
