//! Why a tunnel could not start or had to end.

use std::io;
use std::net::SocketAddr;

use crate::capture::desk::MAX_CAPTURES;

/// Why a tunnel could not start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The TAP could not be made or set up.
    #[error(transparent)]
    Tap(#[from] acton_tap::Error),
    /// The UDP socket could not be made.
    #[error("UDP {address}: {}", bind_advice(.source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The TAP was deleted while the tunnel ran.
    #[error("TAP {name} was deleted while acton used it; start acton again to make it anew")]
    TapGone {
        /// Its name.
        name: String,
    },
    /// A system call failed that the tunnel cannot do without.
    #[error("cannot {step}")]
    System {
        /// What acton was about to do.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker thread panicked, which is a fault of acton's own.
    #[error("a worker thread panicked, a fault in acton: please report what it printed")]
    WorkerPanicked,
    /// The tunnel has ended, so that it takes no orders.
    #[error("the tunnel has ended")]
    Ended,
    /// The tunnel's control thread was to wait for itself.
    #[error(
        "this is the tunnel's own control thread, which cannot wait for itself: apply settings from \
         another thread"
    )]
    ControlThread,
    /// What was asked for is a server's to do.
    #[error("this is a client: only a server has sessions and MACs to choose from")]
    NotServer,
    /// What was asked for is known where IGMP and MLD are listened to.
    #[error(
        "this server does not listen to IGMP and MLD: --multicast-snooping, or multicast-snooping = true \
         in its settings, turns that on"
    )]
    NotSnooping,
    /// Plain mode has no message that asks a client to go elsewhere.
    #[error("a server in plain mode cannot ask its clients to go elsewhere: stop it, or kick them")]
    PlainDrain,
    /// Plain mode has no message that asks a client to send test frames.
    #[error(
        "a server in plain mode cannot ask its clients to test isolation: it takes keys (`acton server` without \
         --plain)"
    )]
    PlainIsolation,
    /// Two tests of isolation would hear one another.
    #[error("a test of isolation is on already: wait until it is over, two minutes at most")]
    IsolationRuns,
    /// No session goes by that name.
    #[error("no session '{0}'; `acton status` lists them")]
    NoSession(String),
    /// Nothing is dropped for a reason of that name.
    #[error("no reason '{0}' to drop; `acton drops --all` lists them")]
    NoReason(String),
    /// There are as many captures as there may be.
    #[error("{MAX_CAPTURES} captures run, as many as may: end one and try again")]
    CapturesFull,
    /// A MAC cannot be put where it was to go.
    #[error(transparent)]
    Mac(#[from] acton_bridge::StaticError),
    /// There is no room to remember one more MAC.
    #[error("no room to keep {0} at the root: as many MACs are kept there as there is room for")]
    NoRoom(pnet_base::MacAddr),
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// Whether a setting is wrong whatever the machine.
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::Setting(_) | Self::Tap(acton_tap::Error::Name { .. }))
    }

    pub(crate) fn other_end() -> Self {
        Self::Setting("these settings are of the other end of a tunnel".to_owned())
    }

    pub(crate) fn other_mode() -> Self {
        Self::Setting(
            "these settings are of the other mode: plain or secure is for a new start to choose"
                .to_owned(),
        )
    }

    pub(crate) fn system(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { step, source }
    }
}

fn bind_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use by another program; stop that one or choose another with --port"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address; choose another with --listen".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied: a port under 1024 needs CAP_NET_BIND_SERVICE; run as root or \
             choose another with --port"
                .to_owned()
        }
        _ => "cannot be bound".to_owned(),
    }
}
