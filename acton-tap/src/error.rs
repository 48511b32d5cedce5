//! What can go wrong with a TAP or an interface.

use std::io;

use nix::errno::Errno;
use thiserror::Error;

use crate::adopt::FdProblem;

/// Why a TAP or an interface could not be made, read or changed.
///
/// A message names the device, the step and what to do; the kernel's own error is the
/// [source](std::error::Error::source).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be an interface's.
    #[error("interface name {name:?} {problem}")]
    Name {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The number of queues is not 1 to 256.
    #[error("{0} queues: a TAP has 1 to 256")]
    QueueCount(usize),

    /// Offloads without the header that describes them: frames would arrive with unmarked partial
    /// checksums.
    #[error("offloads need the vnet header: ask for vnet_header(true) too")]
    OffloadsWithoutHeader,

    /// There is no `/dev/net/tun`.
    #[error(
        "/dev/net/tun: not there: load the kernel's module (modprobe tun) or give this container \
         the device"
    )]
    NoTunDevice {
        /// The error of `open`.
        source: io::Error,
    },

    /// The file mode of `/dev/net/tun` keeps this user out.
    #[error(
        "/dev/net/tun: permission denied: its file mode keeps this user out; run as root, or have \
         it opened to all (chmod 666: making a TAP still needs CAP_NET_ADMIN)"
    )]
    TunDeviceClosed {
        /// The error of `open`.
        source: io::Error,
    },

    /// The kernel wants a capability that the caller lacks.
    #[error(
        "{device}: permission denied: needs CAP_NET_ADMIN to {step}; run as root or in a user \
         namespace"
    )]
    Permission {
        /// The interface or device file.
        device: String,
        /// What was to be done.
        step: String,
        /// The kernel's error.
        source: io::Error,
    },

    /// The TAP exists and another program holds its queue.
    #[error("{name}: in use by another program; choose another name or stop that program")]
    Busy {
        /// The TAP.
        name: String,
    },

    /// An interface of that name exists, and [`exclusive`](crate::Builder::exclusive) was asked.
    #[error("{name}: an interface of that name exists; choose another name or remove it")]
    Exists {
        /// The interface.
        name: String,
    },

    /// An interface of that name exists and is not a TAP.
    #[error("{name}: exists and is not a TAP but another kind of interface; choose another name")]
    NotTap {
        /// The interface.
        name: String,
    },

    /// The TAP exists with a single queue.
    #[error(
        "{name}: exists with a single queue; ask for one, or remove it and let it be made anew"
    )]
    SingleQueue {
        /// The TAP.
        name: String,
    },

    /// A descriptor that was passed is not what was asked for.
    #[error("{name}: {problem}")]
    Descriptor {
        /// The interface, or `descriptor` and its number where that is not known.
        name: String,
        /// What is wrong with it.
        problem: FdProblem,
    },

    /// Another step that the kernel refused.
    #[error("{device}: cannot {step}{}{advice}", if advice.is_empty() { "" } else { ": " })]
    Os {
        /// The interface or device file.
        device: String,
        /// What was to be done.
        step: String,
        /// What the kernel's error means here; may be empty.
        advice: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn os(device: &str, step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (device, step, source) = (device.to_owned(), step.into(), source.into());
        let advice = match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM) => return Self::Permission { device, step, source },
            Some(Errno::ENODEV | Errno::ENXIO) => "no such interface in this network namespace",
            Some(Errno::EBADFD) => "the interface is gone",
            Some(Errno::EEXIST) => "it has that already",
            Some(Errno::EADDRNOTAVAIL) => "it has no such address",
            Some(Errno::EINVAL | Errno::ERANGE) => "the kernel does not take that value",
            Some(Errno::EOPNOTSUPP) => "this kind of interface cannot",
            _ => "",
        };
        Self::Os { device, step, advice, source }
    }

    /// Says `advice` in place of what the error commonly means, if the error is `errno`.
    pub(crate) fn advise(mut self, errno: Errno, saying: &'static str) -> Self {
        if let Self::Os { advice, source, .. } = &mut self {
            if source.raw_os_error() == Some(errno as i32) {
                *advice = saying;
            }
        }
        self
    }

    /// The kind of the error, for a caller that handles some of them.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Name { .. }
            | Self::QueueCount(_)
            | Self::OffloadsWithoutHeader
            | Self::Descriptor { .. } => io::ErrorKind::InvalidInput,
            Self::NoTunDevice { source }
            | Self::TunDeviceClosed { source }
            | Self::Permission { source, .. }
            | Self::Os { source, .. } => source.kind(),
            Self::Busy { .. } => io::ErrorKind::ResourceBusy,
            Self::Exists { .. } | Self::NotTap { .. } | Self::SingleQueue { .. } => {
                io::ErrorKind::AlreadyExists
            }
        }
    }

    /// The kernel's error number (errno(3)), if the kernel was asked.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoTunDevice { source }
            | Self::TunDeviceClosed { source }
            | Self::Permission { source, .. }
            | Self::Os { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_says_what_to_do() {
        let error = Error::os("/dev/net/tun", "create acton0", Errno::EPERM);
        assert_eq!(
            error.to_string(),
            "/dev/net/tun: permission denied: needs CAP_NET_ADMIN to create acton0; run as root \
             or in a user namespace"
        );
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn advice_fits_the_errno_only() {
        let advised =
            |errno| Error::os("t0", "set the MTU to 9", errno).advise(Errno::EINVAL, "68 at least");
        assert_eq!(advised(Errno::EINVAL).to_string(), "t0: cannot set the MTU to 9: 68 at least");
        assert_eq!(advised(Errno::ENOMEM).to_string(), "t0: cannot set the MTU to 9");
    }
}
