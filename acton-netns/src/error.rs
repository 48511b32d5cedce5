use std::io;

/// What kept a namespace, or a device in one, from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// unshare(2) refused a network namespace.
    #[error(
        "cannot make a network namespace: needs CAP_SYS_ADMIN; run as root or in a user namespace"
    )]
    Create(#[source] io::Error),
    /// setns(2) refused to take the calling thread into a namespace.
    #[error(
        "cannot enter a network namespace: needs CAP_SYS_ADMIN there and here; \
         run as root or in the user namespace that made it"
    )]
    Enter(#[source] io::Error),
    /// A thread, which every entry into a namespace needs, could not be started.
    #[error("cannot start a thread to work in a network namespace")]
    Thread(#[source] io::Error),
    /// unshare(2) refused a user namespace.
    #[error("cannot make a user namespace: {hint}")]
    UserNamespace {
        /// What to do about it.
        hint: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The identity maps of a fresh user namespace could not be written.
    #[error(
        "cannot write {file}: is /proc mounted, and does an AppArmor or SELinux policy restrict \
         user namespaces?"
    )]
    IdentityMap {
        /// The file under `/proc/self`.
        file: &'static str,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A device name that the kernel would not take.
    #[error(
        "'{0}' is no device name: 1 to 15 bytes without '/', ':' and white space, not '.' or '..'"
    )]
    DeviceName(String),
    /// A prefix length beyond the address's own length in bits.
    #[error("/{prefix_len} is no prefix length for {address}")]
    PrefixLength {
        /// The address it was given for.
        address: std::net::IpAddr,
        /// The length in bits.
        prefix_len: u8,
    },
    /// rtnetlink(7) refused a request.
    #[error("{device}: cannot {step}")]
    Netlink {
        /// What was asked for.
        step: &'static str,
        /// The device concerned, or the gateway of a route.
        device: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}
