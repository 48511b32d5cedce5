//! What is checked: each check's stable code, what it means and what helps. docs/DOCTOR.md is made of
//! this.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($name:ident => $text:literal: $meaning:literal, $help:literal;)*) => {
        /// A check. Its name is stable: it is an anchor of docs/DOCTOR.md, and where a running tunnel
        /// notices the same, the code of its health.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "`meaning` has each")]
        pub enum Code { $($name),* }

        impl Code {
            /// All of them, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What is amiss where it does not say ok, and what comes of it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),* }
            }

            /// What helps.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help),* }
            }
        }
    };
}

codes! {
    TunDevice => "tun_device":
        "/dev/net/tun cannot be opened, so that no TAP can be made.",
        "`modprobe tun`, or in a container the device node: `mkdir -p /dev/net && mknod -m 666 \
         /dev/net/tun c 10 200`; with systemd `DeviceAllow=/dev/net/tun rw`.";
    Capabilities => "capabilities":
        "Whoever runs this has no CAP_NET_ADMIN, which making and programming a TAP takes.",
        "Start acton as root or as a service, or give the program the capability with setcap.";
    UserNamespaces => "user_namespaces":
        "An ordinary user cannot make namespaces, which `acton lab` needs. A server or a client does not.",
        "Raise user.max_user_namespaces, or run the lab as root.";
    TapOffload => "tap_offload":
        "The kernel does not leave segmentation of TCP to acton, so that each frame takes a system call.",
        "Linux 4.20 or newer; for UDP in super-frames 6.2.";
    ReceiveBuffer => "receive_buffer":
        "Datagrams come faster than they are read, and the kernel drops them; or the buffer where they \
         wait is smaller than acton asks for.",
        "Raise net.core.rmem_max and restart; where the buffer is large, more processor time or `--workers`.";
    Conntrack => "conntrack":
        "The kernel's table of connections is full or nearly so, or forgets a session between two \
         keepalives, so that datagrams are dropped.",
        "Raise nf_conntrack_max or the time of UDP streams, or exempt acton's port (notrack).";
    Firewall => "firewall":
        "A rule or a policy of nftables on this host drops the tunnel's datagrams.",
        "Accept the UDP port.";
    NameResolution => "name_resolution":
        "The server's name has no address, or only one that this host cannot reach.",
        "Mend the name or the resolver, or give the address in place of the name.";
    Route => "route":
        "This host has no route to the server.",
        "Mend the network: an address, a default route.";
    Server => "server":
        "The server does not answer: it refuses (ICMP says that nobody listens), a router says that it \
         cannot be reached, or there is silence, which is a firewall, a wrong address or keys of \
         another network.",
        "Start the server or mend the port; open the port; make a new invite.";
    Clock => "clock":
        "The clock is wrong or differs from the server's. A clock that goes back makes the server \
         refuse handshakes as repeated ones.",
        "Let the host keep its time (systemd-timesyncd, chrony).";
    UdpGso => "udp_gso":
        "The kernel does not segment datagrams on the way to the server (as through IPsec), so that each \
         costs more.",
        "Keep the tunnel's own datagrams out of IPsec and other tunnels.";
    NicOffload => "nic_offload":
        "The outgoing interface does not merge what comes (GRO) or cut what goes (GSO), so that each \
         packet costs its own way through the kernel.",
        "Switch them on with ethtool.";
    LinkMtu => "link_mtu":
        "The link carries less than acton needs, 1,200 bytes of UDP payload.",
        "Raise the link's MTU.";
    PathMtu => "path_mtu":
        "The path carries smaller datagrams than the links at its ends. Large frames are cut in two \
         more often; TCP adapts by itself.",
        "Usually none: another tunnel or PPPoE is on the way. Where it should not be, look for the hop \
         with the small MTU (tracepath).";
    TapMtu => "tap_mtu":
        "The TAPs of the two ends have different MTUs: frames that one takes are too long for the other \
         and get lost.",
        "Give both the same MTU.";
    TapDown => "tap_down":
        "The TAP is down, or without a carrier though there is a session: no frame passes.",
        "`ip link set TAP up`.";
    TapBridge => "tap_bridge":
        "Somebody took the TAP out of the Linux bridge that the settings name, or that bridge is another \
         now: nothing passes between the tunnel and what is bridged.",
        "`ip link set TAP master BRIDGE`; and see that no network manager takes it out again.";
    Uplink => "uplink":
        "A link that `acton server --track` names carries nothing, or there is none of that name, so that \
         the server is of no use to its clients: it asks them to go to other servers of theirs, as `acton drain` does.",
        "`ip link show LINK` says why; the cable, the switch behind it, or the name of the link. Five \
         seconds after it carries something again, clients may come back.";
    TapQueue => "tap_queue":
        "The TAP's queue is so short that bursts from the LAN are dropped before acton reads them.",
        "`ip link set TAP txqueuelen 1000`.";
    Invite => "invite":
        "An invite cannot be read, there is none, or somebody asks a server with one of another server, \
         whom it does not answer.",
        "`acton invite` on the server makes one; `acton join` stores it.";
    Keys => "keys":
        "A file of keys is open to others, belongs to somebody else, or holds no key.",
        "chmod and chown, as told; where others may have read it, new keys (`acton rotate`).";
    SameKey => "same_key":
        "Two machines use one client key: each throws the other out.",
        "An invite for each: `acton invite --name NAME`.";
    SameMac => "same_mac":
        "Both ends, or two clients, use one MAC address, and frames of one of them are dropped.",
        "Give one of them another MAC (`--mac`) or TAP name; copies of a virtual machine have copies of \
         its MAC.";
    Loop => "loop":
        "Two LANs that the tunnel joins are joined by another way too. What is flooded is held back.",
        "Take one of the two ways out. STP does not see the tunnel.";
    Budget => "budget":
        "A storm: more is flooded than budgets let pass.",
        "Find who floods (`acton capture --drops`), or raise the budget (`--budget`).";
    Policy => "policy":
        "A client's policy drops much of what it sends or gets, or lets it use what DHCP gives it and no \
         lease was heard, or makes it `strict` without a MAC; or a client says what a DHCP server or an IPv6 \
         router does, and is not trusted to be one. That is over ten minutes after the last such frame.",
        "`acton capture NAME --drops` shows the frames, `acton status NAME` the policy; mend the list of \
         clients, or ask who sends them.";
    BridgeFilter => "bridge_filter":
        "Frames through the Linux bridge go through the rules of iptables (br_netfilter), as Docker has \
         it, which drop what should be bridged and take time.",
        "Switch net.bridge.bridge-nf-call-* off, unless the rules are meant.";
    BridgeStp => "bridge_stp":
        "STP keeps the TAP's port of the bridge from forwarding, for 30 s after a start or for good.",
        "`ip link set BRIDGE type bridge stp_state 0`, where the bridge has no loop of its own.";
    BridgeSnooping => "bridge_snooping":
        "The bridge snoops IGMP and MLD, and has heard nobody who asks for members: groups that were \
         learnt run out.",
        "`ip link set BRIDGE type bridge mcast_querier 1`.";
    NatMapping => "nat_mapping":
        "A NAT on the way forgets the session between two keepalives: the client comes from ever other \
         ports.",
        "`--keepalive` with fewer seconds.";
    VersionSkew => "version_skew":
        "The ends run different versions, or the program was replaced and the old one still runs.",
        "Restart what is older; both work together meanwhile.";
    Config => "config":
        "The file of settings would be refused, or says something else than what runs.",
        "`acton config check`, `acton reload`.";
    Reload => "reload":
        "The last reload was refused, and the settings stayed as they were.",
        "Mend what the refusal names, and `acton reload`.";
    Clients => "clients":
        "The list of clients was changed and cannot be taken, so that the one before holds: who was added \
         does not get in, and who was taken off still does. Where none was read before, it lets nobody in, \
         and who was in is out. A start would be refused; where no tunnel runs, the file is looked at as a \
         start would.",
        "Mend the file at the place that is named: it is read again by itself.";
    Hook => "hook":
        "The program that is given the tunnel's events failed, or is not started any more.",
        "See docs/HOOKS.md, and what the program says.";
    Authorize => "authorize":
        "The program that decides on clients does not answer: those on whom nothing is decided get no \
         session.",
        "See whether it runs and listens at its socket; docs/AUTHORIZE.md has what it is to say.";
    Session => "session":
        "The client has no session with its server.",
        "See what it says of `server`, `invite` and `clock`; `acton events` has the reasons.";
    Ended => "ended":
        "The tunnel has ended, or the one that was asked for does not answer.",
        "Start it again; its log says why it ended.";
}

impl Code {
    /// The address of what docs/DOCTOR.md says of it, behind the `#`.
    #[must_use]
    pub const fn anchor(self) -> &'static str {
        self.name()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// docs/DOCTOR.md.
#[cfg(test)]
fn reference() -> String {
    let mut text = String::from(
        "# What acton doctor checks\n\n\
         `acton doctor` looks at this host, at its files of keys and settings, at the way to the server, and\n\
         at the tunnel that runs, if one does. Each check says `ok`, `warning`, `FAILED`, `unknown` (it could\n\
         not look, and says why) or `skipped` (there is nothing to look at). The exit code is 1 where one\n\
         failed, 2 where the command line is wrong, else 0. `--json` prints an object with `schema` and\n\
         `findings`, each with `code`, `verdict`, `about`, `measured`, `wanted`, and `fix` (a command) or\n\
         `advice`. `--bundle FILE` writes a tar for a report of a fault, without keys.\n\n\
         To see whether the server answers, it asks for a session with a key of its own, and says goodbye at\n\
         once; a client that runs is not disturbed.\n\n\
         Each code is also what `acton status` calls the same thing under `health`. This file is made from\n\
         `acton-cli/src/doctor/code.rs` by a test.\n",
    );
    for code in Code::ALL {
        let join = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!(
            "\n## {}\n\n{}\n\n**What helps:** {}\n",
            code.anchor(),
            join(code.meaning()),
            join(code.help())
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_says_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/DOCTOR.md");
        if std::env::var_os("SNAPSHOTS").is_some_and(|it| it == "write") {
            std::fs::write(path, reference()).unwrap();
        }
        let is = std::fs::read_to_string(path).unwrap();
        assert!(is == reference(), "run this test once with SNAPSHOTS=write, and look at the diff");
    }

    #[test]
    fn names_are_words_and_each_is_one_alone() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert!(code.name().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            assert!(Code::ALL[..at].iter().all(|other| other.name() != code.name()), "{code}");
            assert!(code.meaning().ends_with('.') && code.help().ends_with('.'), "{code}");
        }
    }
}
