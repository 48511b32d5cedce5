//! The contenders, a file each, and how one is brought up.

mod acton;
mod acton_0_1_1;
mod fastd;
mod frame_loop;
mod n2n;
mod openvpn;
mod process;
mod quicktun;
mod scratch;
mod socat;
mod tinc;
mod veth;
mod vpncloud;
mod vtun;
mod vxlan;

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use acton_netns::Namespace;
use acton_tap::Interface;

use crate::Result;
use crate::world::{Network, OVERLAY, PORT, UdpTable, Underlay, World, run};
pub(crate) use acton::BEFORE;
pub(crate) use frame_loop::End as LoopEnd;
pub(crate) use process::Process;
use scratch::Scratch;

/// Something that joins two hosts by an Ethernet.
pub(crate) trait Contender {
    /// Starts both ends; the overlay's devices and addresses may come a little later.
    fn start(&self, world: &World) -> Result<Vec<Process>>;

    /// How long it takes, once it has joined the two, to find the way that it stays with.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }

    /// The network it makes.
    fn network(&self) -> Network {
        OVERLAY
    }
}

/// A contender, told its name, or why this machine does not have it.
type Find = fn(&str) -> Result<Box<dyn Contender>>;

/// The name of each, and how it is found, in the order of the table.
pub(crate) const ALL: [(&str, Find); 32] = [
    (VETH, |_| veth::find()),
    (VXLAN, |_| vxlan::find()),
    ("acton", |name| acton::find(name, acton::SECURE)),
    ("acton-before", |name| acton::find(name, acton::SECURE_BEFORE)),
    ("acton-policed", |name| acton::find(name, acton::POLICED)),
    ("acton-policed-before", |name| acton::find(name, acton::POLICED_BEFORE)),
    ("acton-watched", |name| acton::find(name, acton::WATCHED)),
    ("acton-shown", |name| acton::find(name, acton::SHOWN)),
    ("acton-unsandboxed", |name| acton::find(name, acton::UNSANDBOXED)),
    ("acton-one-worker", |name| acton::find(name, acton::ONE_WORKER)),
    ("acton-chacha", |name| acton::find(name, acton::CHACHA)),
    ("acton-mtu-1500", |name| acton::find(name, acton::DEFAULT_MTU)),
    ("acton-plain", |name| acton::find(name, acton::PLAIN)),
    ("acton-plain-one-worker", |name| acton::find(name, acton::PLAIN_ONE_WORKER)),
    ("acton-plain-before", |name| acton::find(name, acton::PLAIN_BEFORE)),
    ("acton-plain-unsandboxed", |name| acton::find(name, acton::PLAIN_UNSANDBOXED)),
    (LOOP, |_| frame_loop::find()),
    (PREDECESSOR, |_| acton_0_1_1::find()),
    ("socat", |_| socat::find()),
    ("quicktun-raw", |_| quicktun::find("raw")),
    ("quicktun-nacl", |_| quicktun::find("nacltai")),
    ("openvpn-none", |name| openvpn::find(name, "none")),
    ("openvpn-aes-256-gcm", |name| openvpn::find(name, "AES-256-GCM")),
    ("fastd-null", |name| fastd::find(name, "null")),
    ("fastd-aes-128-gcm", |name| fastd::find(name, "aes128-gcm")),
    ("tinc-none", |name| tinc::find(name, tinc::NONE)),
    ("tinc-aes-256-cbc", |name| tinc::find(name, tinc::AES)),
    ("vtun", vtun::find),
    ("n2n", |_| n2n::find()),
    ("vpncloud-plain", |_| vpncloud::find("plain")),
    ("vpncloud-aes-128", |_| vpncloud::find("aes128")),
    ("vpncloud-aes-256", |_| vpncloud::find("aes256")),
];

/// acton or the one before, in plain mode or not, one end of it (as its subcommand is called) under
/// callgrind.
pub(crate) fn acton_under_callgrind(
    plain: bool,
    end: &'static str,
    before: bool,
) -> Result<Box<dyn Contender>> {
    let variant = match (plain, before) {
        (true, false) => acton::PLAIN,
        (true, true) => acton::PLAIN_BEFORE,
        (false, false) => acton::SECURE,
        (false, true) => acton::SECURE_BEFORE,
    };
    acton::find("acton-callgrind", variant.under_callgrind(end))
}

/// Whether there is another acton to compare with.
pub(crate) fn has_before() -> bool {
    env::var_os(BEFORE).is_some()
}

/// What the others are compared with: the cable itself, and the kernel's own tunnel.
pub(crate) const VETH: &str = "veth";
/// See [`VETH`].
pub(crate) const VXLAN: &str = "vxlan";
/// What acton was before.
pub(crate) const PREDECESSOR: &str = "acton-0.1.1";
/// The plainest tunnel of a user program.
pub(crate) const LOOP: &str = "loop";

/// How long a contender may take to join the two.
const READY_WAIT: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// A contender at work.
#[derive(Debug)]
pub(crate) struct Overlay {
    // Dropped first: programs end before their network does.
    processes: Vec<Process>,
    pub(crate) world: World,
    pub(crate) network: Network,
}

impl Overlay {
    /// Builds a world, starts `contender` in it and waits until the two ends reach one another.
    pub(crate) fn start(contender: &dyn Contender, underlay: Underlay) -> Result<Self> {
        let world = World::new(underlay)?;
        let processes = contender.start(&world)?;
        let mut overlay = Self { processes, world, network: contender.network() };
        match overlay.wait_ready() {
            Ok(()) => {
                thread::sleep(contender.settle());
                Ok(overlay)
            }
            Err(error) => Err(format!("{error}\n{}", overlay.stop()).into()),
        }
    }

    /// The contender's programs by process group; none for what lives in the kernel.
    pub(crate) fn process_groups(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }

    /// The contender's programs.
    pub(crate) fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Ends the contender's programs and returns what they said.
    pub(crate) fn stop(mut self) -> String {
        self.processes.drain(..).map(Process::stop).collect()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let Network { device, mtu, .. } = self.network;
        let deadline = Instant::now() + READY_WAIT;
        for namespace in [&self.world.server, &self.world.client] {
            let set = || Interface::open(device).and_then(|interface| interface.set_mtu(mtu));
            while let Err(error) = namespace.run(set) {
                alive(&mut self.processes)?;
                if Instant::now() > deadline {
                    return Err(error.into());
                }
                thread::sleep(PAUSE);
            }
        }
        while !self.greet()? {
            alive(&mut self.processes)?;
            if Instant::now() > deadline {
                return Err("the two ends do not reach one another".into());
            }
        }
        Ok(())
    }

    /// Whether a datagram gets from the client to the server and back.
    fn greet(&self) -> io::Result<bool> {
        let Network { server, client, .. } = self.network;
        // A socket cannot be bound before its address is there.
        let bind = |namespace: &Namespace, address| {
            namespace.run(|| {
                let socket = UdpSocket::bind((address, 0))?;
                socket.set_read_timeout(Some(PAUSE))?;
                Ok::<_, io::Error>(socket)
            })
        };
        let (Ok(server), Ok(client)) =
            (bind(&self.world.server, server), bind(&self.world.client, client))
        else {
            thread::sleep(PAUSE);
            return Ok(false);
        };
        let (mut buffer, mut answered) = ([0; 8], false);
        if client.send_to(b"hello", server.local_addr()?).is_ok()
            && let Ok((_, from)) = server.recv_from(&mut buffer)
        {
            answered = server.send_to(b"hello", from).is_ok() && client.recv(&mut buffer).is_ok();
        }
        Ok(answered)
    }
}

fn alive(processes: &mut [Process]) -> Result<()> {
    match processes.iter_mut().find_map(Process::ended) {
        Some(status) => Err(format!("a program ended too early: {status}").into()),
        None => Ok(()),
    }
}

/// Waits until a program listens on [`PORT`] in the server's namespace.
fn wait_listening(world: &World, server: &mut Process) -> Result<()> {
    let mut table = UdpTable::of(&world.server)?;
    let deadline = Instant::now() + READY_WAIT;
    while table.drops(PORT)?.is_none() {
        if let Some(status) = server.ended() {
            return Err(format!("the server ended: {status}\n{}", server.said()).into());
        }
        if Instant::now() > deadline {
            return Err("the server does not listen".into());
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Makes a persistent TAP with its address, for a program that attaches to it.
fn tap(namespace: &Namespace, net: &str) -> Result<()> {
    let device = OVERLAY.device;
    run(namespace, &format!("ip tuntap add dev {device} mode tap"))?;
    run(namespace, &format!("ip address add {net} dev {device}"))?;
    run(namespace, &format!("ip link set {device} mtu {} up", OVERLAY.mtu))
}

/// Runs a program to its end, in no namespace of its own, and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
