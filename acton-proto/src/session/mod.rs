//! What two ends with keys do with them.
//!
//! [`Keys`] seal and open datagrams in place. They are shared between threads in an
//! [`Arc`](std::sync::Arc): nothing a datagram needs is behind a lock, but for the replay window,
//! whose lock is held for a few nanoseconds. [`Link`] is what outlives a rekey: when the peer was
//! last heard, how large a datagram the path carries, frames in reassembly.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use acton_proto::{handshake::Split, session::{Keys, Link, Role, Setup, Suite}};
//! # use acton_proto::wire::{Caps, Datagram};
//! # let split = Split { to_server: [1; 32], to_client: [2; 32] };
//! # let setup = |local_id, remote_id| Setup { suite: Suite::Aes256Gcm, local_id, remote_id,
//! #     caps: Caps::ALL, max_frame: 1514, born: Duration::ZERO };
//! # let keys = |role, a, b| Keys::new(role, &split, &setup(a, b), Arc::new(Link::new(Duration::ZERO)));
//! let (client, server) = (keys(Role::Client, 1, 2), keys(Role::Server, 2, 1));
//! let now = Duration::from_secs(1);
//!
//! let mut datagrams = Vec::new();
//! let segment = client.seal_frame(now, &[7; 60], false, &mut datagrams)?;
//! for datagram in datagrams.chunks_mut(segment) {
//!     let Ok(Datagram::Sealed(header)) = Datagram::parse(datagram) else { unreachable!() };
//!     let mut frames = server.receive(now, &header, datagram)?.content.into_frames();
//!     assert_eq!(frames.next().unwrap().bytes(), [7; 60]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod bundle;
mod fragment;
mod frame;
mod key_log;
mod keys;
mod ledger;
mod link;
mod live;
mod outbox;
mod path_mtu;
mod replay;
mod rtt;
mod sealed_stats;
mod statistics;
mod suite;

pub use bundle::Bundle;
pub use frame::{Content, Frame, Frames, Received};
pub use key_log::{KeyLog, KeyLogEntry};
pub use keys::{Keys, OpenError, Opened, Reservation, SealError, Setup};
pub(crate) use ledger::Ledger;
pub use link::Link;
pub(crate) use live::Live;
pub(crate) use outbox::Outbox;
pub use path_mtu::BASE_PMTU;
pub use replay::WINDOW;
pub use sealed_stats::SealedStats;
pub(crate) use statistics::{Beyond, Heard, overdue_after};
pub use statistics::{LinkState, LinkStatistics, SessionEnd};
pub use suite::{Role, Suite};

use std::time::Duration;

/// For how long the keys before the current ones still open datagrams that were on their way.
pub const KEEP_PREVIOUS: Duration = Duration::from_secs(10);
/// Age at which the client makes new keys, if the ones in use carried frames.
pub const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Age at which keys that carried frames before [`REKEY_AFTER`] neither seal nor open any more.
pub const REJECT_AFTER: Duration = Duration::from_secs(180);
/// The same after the first frame, of keys that carried it later: so keys carry frames for no longer
/// than [`REJECT_AFTER`], and there is as much time for a handshake.
pub const REJECT_AFTER_LATE_USE: Duration = Duration::from_secs(60);
/// Age at which keys neither seal nor open any more, whatever they carried.
pub const REJECT_IDLE_AFTER: Duration = Duration::from_secs(900);
/// How long before their end a server asks for keys in the place of some that it does not want to
/// lose.
pub(crate) const REKEY_BEFORE_END: Duration = Duration::from_secs(45);
/// Datagrams of up to 2 KiB sealed under one key after which new keys are made.
pub const REKEY_AFTER_PACKETS: u64 = 1 << 26;
/// Datagrams of up to 2 KiB after which a key seals no more: 2^28 of 2^7 AES blocks each keep the
/// chance to tell AES-GCM from random below 2^-57 (RFC 9001, appendix B.1).
pub const REJECT_AFTER_PACKETS: u64 = 1 << 28;
