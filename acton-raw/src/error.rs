//! What can go wrong while a socket is opened or its filter changed.
//!
//! Sending and receiving return [`std::io::Error`] as the kernel gave it.

use std::io;

use thiserror::Error;

/// A packet socket could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be that of an interface.
    #[error(
        "'{interface}' cannot be an interface name: give 1 to 15 bytes without '/', ':' or white space"
    )]
    InterfaceName {
        /// The name as it was given.
        interface: String,
    },

    /// No interface has this name.
    #[error("{interface}: no such interface in this network namespace; `ip link` lists them")]
    NoSuchInterface {
        /// The interface asked for.
        interface: String,
    },

    /// The interface's frames have no Ethernet header.
    #[error(
        "{interface}: not an Ethernet interface (hardware type {hardware_type}); choose one that \
         `ip link` shows as link/ether or link/loopback"
    )]
    NotEthernet {
        /// The interface asked for.
        interface: String,
        /// Its `ARPHRD_` number (`linux/if_arp.h`).
        hardware_type: u16,
    },

    /// The process may not open packet sockets.
    #[error(
        "{interface}: permission denied opening a packet socket: needs CAP_NET_RAW; run as root \
         or in a user namespace"
    )]
    Permission {
        /// The interface asked for.
        interface: String,
    },

    /// The filter cannot be a BPF program.
    #[error("{interface}: the filter is not usable")]
    Filter {
        /// The interface asked for.
        interface: String,
        /// What is wrong with the filter.
        #[source]
        source: FilterError,
    },

    /// A step of opening the socket failed.
    #[error("{interface}: cannot {step}")]
    Step {
        /// The interface asked for.
        interface: String,
        /// The step, as the end of a sentence, and what it depends on.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// A filter has no program the kernel would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The program has more instructions than the kernel takes.
    #[error(
        "a BPF program of {instructions} instructions is over the kernel's limit of 4096; use \
         fewer terms"
    )]
    TooLong {
        /// Instructions in the program.
        instructions: usize,
    },

    /// The program has no instruction.
    #[error("a BPF program needs at least one instruction; end it with a return")]
    Empty,
}
