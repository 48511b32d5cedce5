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
mod config;
mod fdb;
mod key;
mod list;
mod port;
mod statics;
mod table;
mod verdict;
mod writer;

pub use acton_frame::Ethernet;
pub use bridge::{Bridge, Entry};
pub use config::{Config, MovePolicy};
pub use port::{Owner, Port};
pub use statics::StaticError;
pub use verdict::{BumKind, DropReason, FromLeaf, FromRoot, Learned};
