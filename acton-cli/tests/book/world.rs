//! The hosts of a page: each has a network namespace and files of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::output;
use super::page::{Command, Ending};

/// How long a wait may take before the test is called hung. No measure of anything.
const HANG: Duration = Duration::from_secs(180);

/// Files of its own for a host: what a page writes stays in its world. acton under test is in /media,
/// since the directory that it was built in may be one of those that are covered.
const FILES: &str = "\
    mount --bind \"$0\" /media; mount -t tmpfs none /mnt; cp -a /etc /mnt/etc; mount --bind /mnt/etc /etc
    rm -rf /etc/acton; mount -t tmpfs none /tmp; mount -t tmpfs none /run
    mount -t tmpfs none /var/lib; mkdir /var/lib/misc; echo there; exec cat";

/// Commands that only look: they are given again until they show what the page shows.
const ONLY_LOOK: &[&str] = &[
    "acton status",
    "acton fdb",
    "acton groups",
    "acton drops",
    "acton events",
    "acton trace",
    "ping ",
    "ip ",
    "bridge ",
    "grep ",
    "cat /",
];

pub(crate) struct World {
    hosts: HashMap<String, Host>,
    background: Vec<Background>,
    /// The invite that was printed last.
    invite: Option<String>,
    /// Where networks' bridges are.
    _switch: Namespace,
}

struct Host {
    namespace: Namespace,
    /// Holds the mounts, until its standard input is closed.
    files: Child,
    interfaces: u32,
}

/// A program that runs beside the commands that follow.
struct Background {
    host: String,
    text: String,
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new(lines: &[String]) -> Self {
        let switch = Namespace::new().unwrap();
        let mut hosts = HashMap::new();
        let mut first = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            match line.split_once("# ") {
                Some((host, command)) => first.push((host, command)),
                None => connect(&switch, &mut hosts, number, line),
            }
        }
        let mut world = Self { hosts, background: Vec::new(), invite: None, _switch: switch };
        for (host, text) in first {
            world.follow(&Command {
                at: "in its world".into(),
                host: host.into(),
                text: text.into(),
                shown: vec!["...".into()],
                ending: Ending::Succeeds,
            });
        }
        world
    }

    /// Does what the page says there, and holds it to what it shows.
    pub(crate) fn follow(&mut self, command: &Command) {
        let text = self.with_invite(&command.text);
        if command.ending == Ending::NotRun {
            return;
        }
        if let Some(program) = text.strip_prefix("kill %") {
            return self.stop(&command.host, program);
        }
        if let Some(text) = text.strip_suffix(" &") {
            return self.start(command, text);
        }
        let looks = ONLY_LOOK.iter().any(|begin| text.starts_with(begin));
        let shown: Vec<_> = command.shown.iter().map(String::as_str).collect();
        let start = Instant::now();
        loop {
            let result = self.program(&command.host, &text).output().unwrap();
            let out = String::from_utf8_lossy(&result.stdout).into_owned();
            let said = out.clone() + &String::from_utf8_lossy(&result.stderr);
            let lines: Vec<_> = said.lines().map(str::trim_end).collect();
            let ended = result.status.success() == (command.ending == Ending::Succeeds);
            if ended && output::matches(&shown, &lines) {
                let invite = out.lines().find(|line| line.starts_with("acton://"));
                self.invite = invite.map(str::to_owned).or(self.invite.take());
                return;
            }
            if !looks || start.elapsed() > HANG {
                self.report(command, &format!("{}\n{said}", result.status));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends what runs in the background.
    pub(crate) fn end(mut self) {
        while let Some(program) = self.background.pop() {
            program.stop();
        }
    }

    fn with_invite(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("acton://") else { return text.to_owned() };
        let Some((_, after)) = rest.split_once("#...") else { return text.to_owned() };
        format!("{before}{}{after}", self.invite.as_deref().expect("an invite was printed"))
    }

    fn start(&mut self, command: &Command, text: &str) {
        let mut program = self.program(&command.host, &format!("exec env {text}"));
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), &said),
            collect(child.stderr.take().unwrap(), &said),
        ];
        let (host, text) = (command.host.clone(), text.to_owned());
        self.background.push(Background { host, text, child, said, readers });
        let shown: Vec<_> = command.shown.iter().map(String::as_str).collect();
        let start = Instant::now();
        loop {
            let ended = self.background.last_mut().unwrap().has_ended();
            let said = self.background.last().unwrap().said.lock().unwrap().clone();
            if output::has_said(&shown, &said.lines().map(str::trim_end).collect::<Vec<_>>()) {
                return;
            }
            if ended || start.elapsed() > HANG {
                self.report(command, &said);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self, host: &str, program: &str) {
        let found = |one: &Background| one.host == host && one.text.starts_with(program);
        let at = self.background.iter().position(found).expect("it runs");
        self.background.remove(at).stop();
    }

    /// A command on a host, with the acton under test.
    fn program(&self, host: &str, text: &str) -> Program {
        let files = self.hosts.get(host).unwrap_or_else(|| panic!("no host {host}")).files.id();
        let path = format!("/media:{}", std::env::var("PATH").unwrap());
        let mut program = Program::new("nsenter");
        program.args(["--target", &files.to_string(), "--net", "--mount", "sh", "-ec", text]);
        program.env_clear().env("PATH", path).env("LANG", "C").stdin(Stdio::null());
        // Wide enough for every table.
        program.env("COLUMNS", "100").current_dir("/");
        program
    }

    fn report(&mut self, command: &Command, said: &str) -> ! {
        for program in &self.background {
            eprintln!("--- {}# {}\n{}", program.host, program.text, program.said.lock().unwrap());
        }
        let Command { at, host, text, shown, ending } = command;
        let shown = shown.join("\n");
        panic!("{at}: {host}# {text}\n--- {ending:?}, shown:\n{shown}\n--- but:\n{said}");
    }
}

impl Background {
    /// Whether it has ended and all that it said is there.
    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some() && self.readers.iter().all(JoinHandle::is_finished)
    }

    fn stop(mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(id, Signal::SIGTERM);
        self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for program in &mut self.background {
            let _ = program.child.kill();
            let _ = program.child.wait();
        }
        for host in self.hosts.values_mut() {
            drop(host.files.stdin.take());
            let _ = host.files.wait();
        }
    }
}

/// Adds to a host an interface on a network: `HOST NETWORK [ADDRESS/BITS...]`.
fn connect(switch: &Namespace, hosts: &mut HashMap<String, Host>, number: usize, line: &str) {
    let mut words = line.split_whitespace();
    let (name, network) = (words.next().unwrap(), words.next().unwrap());
    let host = hosts.entry(name.to_owned()).or_insert_with(Host::new);
    let device = format!("eth{}", host.interfaces);
    host.interfaces += 1;
    let port = format!("port{number}");
    veth(&host.namespace, &device, switch, &port, &Veth::new()).unwrap();
    switch.run(|| {
        testbed::sh(&format!(
            "ip link show {network} >/dev/null 2>&1 ||
             ip link add {network} type bridge mcast_snooping 0
             ip link set {network} up; ip link set {port} master {network}"
        ));
    });
    for address in words {
        let (address, bits) = address.split_once('/').unwrap();
        let (address, bits) = (address.parse().unwrap(), bits.parse().unwrap());
        host.namespace.add_address(&device, address, bits).unwrap();
    }
}

impl Host {
    fn new() -> Self {
        let namespace = Namespace::new().unwrap();
        let mut program = Program::new("unshare");
        let acton = Path::new(env!("CARGO_BIN_EXE_acton")).parent().unwrap();
        program
            .args(["--mount", "sh", "-ec", FILES])
            .arg(acton)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut files = namespace.spawn(&mut program).unwrap();
        let mut line = String::new();
        BufReader::new(files.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n", "no files of its own for a host");
        files.stdin.as_mut().unwrap().flush().unwrap();
        Self { namespace, files, interfaces: 0 }
    }
}

/// Appends what a program says to `said` on a thread of its own.
fn collect(output: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
