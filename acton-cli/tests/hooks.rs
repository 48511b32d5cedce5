//! Hooks: a program of the operator's that is given each event, and those of contrib/hooks with the
//! tools that they use.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{
    Acton, Mode, PORT, ROOT_V4, SERVER_V4, World, ping_until_answered, said, shell, wait_until,
};

testbed::main! {
    a_hook_has_each_event_in_order_as_variables_and_json,
    a_hook_runs_as_who_started_acton_and_the_tunnel_stays_confined,
    a_hook_that_takes_too_long_is_killed_with_its_children,
    one_that_fails_is_told_once_and_counted,
    one_that_does_not_keep_up_is_told_once_and_what_is_left_out_counted,
    a_tunnel_that_is_killed_takes_its_hooks_along,
    without_the_process_that_starts_hooks_the_tunnel_goes_on,
    what_cannot_be_a_hook_is_refused,
    a_client_has_its_address_by_dhcp: ["udhcpc", "dnsmasq"],
    a_tap_is_a_port_of_a_bridge_while_there_is_a_session,
    the_firewall_knows_who_has_a_session: ["nft"],
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("acton-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A hook of this directory, as a script; `$here` is the directory.
    fn hook(&self, script: &str) -> String {
        let path = self.0.join("hook");
        fs::write(&path, format!("#!/bin/sh\nhere='{}'\n{script}\n", self.0.display())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Waits until this file has this line.
    #[track_caller]
    fn wait_for(&self, name: &str, line: &str) {
        wait_until(line, || self.read(name).lines().any(|it| it == line));
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/hooks").join(name);
    fs::canonicalize(path).unwrap().to_str().unwrap().to_owned()
}

fn status(world: &World, end: &Acton) -> String {
    let program = env!("CARGO_BIN_EXE_acton");
    let control = support::control(end).display();
    shell(&world.server, &format!("{program} status --control {control}"))
}

/// Whether this process is there and no zombie.
fn lives(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// The process that starts the hooks of this one.
fn starter(end: &Acton) -> Pid {
    let find = || {
        let processes = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_its = |process: &i32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2));
            parent == Some(end.id().to_string().as_str())
        };
        processes.into_iter().find(is_its)
    };
    Pid::from_raw(find().expect("a process that starts hooks"))
}

fn a_hook_has_each_event_in_order_as_variables_and_json() {
    let (world, directory) = (World::new(1), Directory::new("order"));
    let hook = directory.hook(
        "json=$(cat)\n\
         echo \"$ACTON_NUMBER $ACTON_EVENT $ACTON_ROLE $ACTON_TAP $ACTON_NAME\" >> $here/log\n\
         [ \"$ACTON_EVENT\" != session_up ] || {\n\
           echo \"$ACTON_SESSION $ACTON_CLIENT $ACTON_BY $(pwd)\" > $here/up; echo \"$json\" > $here/json\n\
         }",
    );
    let server = world.serve(&["--hook", &hook, "--name", "office"]);
    let client = world.join(0, &["--hook", &hook, "--name", "branch"]);
    client.stop();
    // Also what comes last is given to it before acton ends.
    directory.read("log").lines().find(|line| line.contains("disconnected client client")).unwrap();
    server.wait_for(said::BYE);
    server.stop();
    let log = directory.read("log");
    let of = |role: &str| {
        let lines = log.lines().filter(|line| line.contains(role));
        lines.map(|line| line.split(' ').collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    // A client has one session, so that all its events are in order.
    let client = of(" client client branch");
    let numbers: Vec<u64> = client.iter().map(|line| line[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{log}");
    for event in ["connecting", "connected", "disconnected"] {
        assert!(client.iter().any(|line| line[1] == event), "{log}");
    }
    let server = of(" server server office");
    let at = |event| server.iter().position(|line| line[1] == event).unwrap();
    assert!(at("session_up") < at("session_down"), "{log}");
    let up = directory.read("up");
    let up: Vec<_> = up.trim().split(' ').collect();
    let [session, client, by, place] = up[..] else { panic!("{up:?}") };
    assert_eq!((session, by, place), ("0", "hello", "/"));
    let json: serde_json::Value = serde_json::from_str(&directory.read("json")).unwrap();
    assert_eq!((&json["event"], &json["client"]), (&"session_up".into(), &client.into()));
    assert!(json["text"].as_str().unwrap().contains("session 0 up"), "{json}");
}

fn a_hook_runs_as_who_started_acton_and_the_tunnel_stays_confined() {
    let (world, directory) = (World::new(0), Directory::new("rights"));
    let hook = directory.hook(
        "[ \"$ACTON_EVENT\" != root_macs ] || {\n\
           grep CapEff /proc/self/status > $here/rights; id -u >> $here/rights\n\
           ls -l /proc/self/fd > $here/open; env > $here/env; echo ready >> $here/rights\n\
         }",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(["server", "--plain", "--user", "nobody", "--sandbox", "require"]);
    let state = directory.0.join("state");
    command.arg("--state").arg(&state).args(["--hook", &hook]).env("ACTON_INVITE", "secret");
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    directory.wait_for("rights", "ready");
    let rights = directory.read("rights");
    let rights: Vec<_> = rights.lines().collect();
    assert_eq!(rights[1], "0", "{rights:?}");
    assert!(!rights[0].ends_with("\t0000000000000000"), "{rights:?}");
    let open = directory.read("open");
    assert!(open.contains("memfd:acton-event"), "{open}");
    assert!(!open.contains("socket:") && !open.contains("tun"), "nothing of the tunnel's: {open}");
    let environment = directory.read("env");
    assert!(environment.contains("ACTON_EVENT=root_macs"), "{environment}");
    assert!(!environment.contains("secret"), "{environment}");
    let log = server.stop();
    assert!(!log.contains("not confined") && !log.contains("ERROR"), "{log}");
}

fn a_hook_that_takes_too_long_is_killed_with_its_children() {
    let (world, directory) = (World::new(0), Directory::new("late"));
    let hook = directory
        .hook("sleep 1000 & echo $$ $! > $here/pids.new\nmv $here/pids.new $here/pids\nwait");
    let server = world.serve(&["--hook", &hook, "--hook-timeout", "0.2"]);
    server.wait_for("not done in time and killed; --hook-timeout gives more");
    let pids = directory.read("pids");
    assert_eq!(pids.split_whitespace().count(), 2);
    wait_until("they have ended", || !pids.split_whitespace().any(lives));
    let status = status(&world, &server);
    assert!(status.contains(" timed out"), "{status}");
    server.stop();
}

fn one_that_fails_is_told_once_and_counted() {
    let (world, directory) = (World::new(2), Directory::new("fails"));
    let hook = directory.hook("[ ! -e $here/fail ] || exit 3");
    fs::write(directory.0.join("fail"), "").unwrap();
    let server = world.serve(&["--hook", &hook]);
    server.wait_for("root_macs (event 1): exit code 3; until it does well again");
    world.join(0, &[]).stop();
    let failed = |count: u64| {
        wait_until("so many have failed", || {
            let status = status(&world, &server);
            let line = status.lines().find(|line| line.contains("  hook ")).unwrap().to_owned();
            let words: Vec<_> = line.split([' ', ',']).collect();
            words.windows(2).any(|it| it[1] == "failed" && it[0].parse::<u64>().unwrap() >= count)
        });
    };
    failed(3);
    let text = status(&world, &server);
    assert!(text.contains("exit code 3"), "health says so: {text}");
    assert_eq!(server.log().matches("until it does well again").count(), 1);
    fs::remove_file(directory.0.join("fail")).unwrap();
    let client = world.join(1, &[]);
    wait_until("it does well again", || !status(&world, &server).contains("exit code 3"));
    // That it fails anew is worth another line.
    fs::write(directory.0.join("fail"), "").unwrap();
    client.stop();
    wait_until("it is told again", || {
        server.log().matches("until it does well again").count() == 2
    });
    server.stop();
}

fn one_that_does_not_keep_up_is_told_once_and_what_is_left_out_counted() {
    // Eight are at work, 1,024 of a kind wait: of so many sessions the last ones are left out.
    const SESSIONS: u16 = 1_100;
    let (world, directory) = (World::new(1), Directory::new("slow"));
    let hook = directory.hook("exec sleep 1000");
    let server = world.serve(&[
        "--hook",
        &hook,
        "--hook-timeout",
        "1000",
        "--max-sessions-per-source",
        "4096",
        "--keepalive",
        "600",
    ]);
    world.clients[0].run(|| {
        for i in 0..SESSIONS {
            let socket = UdpSocket::bind(("0.0.0.0", 20_000 + i)).unwrap();
            let answered = || {
                socket.send_to(b"HELLO", (SERVER_V4, PORT)).unwrap();
                socket.recv(&mut [0; 64]).is_ok()
            };
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            wait_until("it has a session", answered);
        }
    });
    let counted = |what: &str| {
        let status = status(&world, &server);
        let line = status.lines().find(|line| line.contains("  hook ")).unwrap();
        let count =
            line.split(", ").find_map(|part| part.strip_suffix(what)?.split(' ').next_back());
        count.map_or(0, |count| count.replace(',', "").parse::<u32>().unwrap())
    };
    wait_until("all are given, wait or are left out", || {
        counted(" left out") >= u32::from(SESSIONS) - 1_024 - 8
    });
    assert!(counted(" waiting") >= 1_024, "{}", status(&world, &server));
    let log = server.log();
    assert_eq!(log.matches("does not keep up").count(), 1, "{log}");
    server.kill();
}

fn a_tunnel_that_is_killed_takes_its_hooks_along() {
    let (world, directory) = (World::new(0), Directory::new("killed"));
    let hook =
        directory.hook("echo $$ > $here/pid.new\nmv $here/pid.new $here/pid\nexec sleep 1000");
    let server = world.serve(&["--hook", &hook]);
    wait_until("it runs", || !directory.read("pid").is_empty());
    let (process, hook) = (starter(&server), directory.read("pid"));
    assert!(lives(&hook) && lives(&process.to_string()));
    // A service manager that signals all of a service: the tunnel says when it is over.
    kill(process, Signal::SIGTERM).unwrap();
    server.kill();
    wait_until("both have ended", || !lives(&hook) && !lives(&process.to_string()));
}

fn without_the_process_that_starts_hooks_the_tunnel_goes_on() {
    let (world, directory) = (World::new(1), Directory::new("gone"));
    let hook = directory.hook("true");
    let server = world.serve(&["--hook", &hook]);
    kill(starter(&server), Signal::SIGKILL).unwrap();
    server.wait_for("the process that starts it has ended");
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let status = status(&world, &server);
    assert!(status.contains("the process that starts the hook"), "{status}");
    server.stop();
}

fn what_cannot_be_a_hook_is_refused() {
    let (world, directory) = (World::new(0), Directory::new("refused"));
    let hook = directory.hook("true");
    let refused = |path: &str, why: &str| {
        let (status, log) = world.start_server(&["--hook", path]).end();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(why), "{log}");
    };
    refused("/nowhere/hook", "--hook /nowhere/hook: No such file");
    fs::set_permissions(&hook, Permissions::from_mode(0o644)).unwrap();
    refused(&hook, "chmod +x");
    fs::set_permissions(&hook, Permissions::from_mode(0o777)).unwrap();
    refused(&hook, "chmod go-w");
}

fn a_client_has_its_address_by_dhcp() {
    let world = World::new(1).speaking(Mode::Plain);
    let server = world.serve(&[]);
    let lan = "--interface=server --bind-interfaces --dhcp-range=10.9.0.100,10.9.0.110,1h";
    let options =
        "--keep-in-foreground --port=0 --leasefile-ro --conf-file=/dev/null --user=root --pid-file";
    let mut dhcp = Command::new("dnsmasq");
    let mut dhcp = world
        .server
        .spawn(dhcp.args(lan.split(' ')).args(options.split(' ')).arg("--log-facility=/dev/null"))
        .unwrap();
    // Not by `join`, which gives it addresses.
    let arguments = ["client", "192.0.2.1", "--plain", "--hook", &example("dhcp")];
    // A name that no other's file of process numbers in /run has.
    let tap = format!("d{}", std::process::id());
    let client =
        Acton::start("client", &world.clients[0], &[&arguments[..], &["-t", &tap]].concat());
    client.wait_for(said::CONNECTED);
    wait_until("it has an address of the range", || {
        shell(&world.clients[0], &format!("ip -4 address show dev {tap}")).contains("10.9.0.10")
            || shell(&world.clients[0], &format!("ip -4 address show dev {tap}"))
                .contains("10.9.0.11")
    });
    ping_until_answered(&world.clients[0], ROOT_V4);
    let pidfile = PathBuf::from(format!("/run/acton/dhcp-{tap}.pid"));
    let pid = fs::read_to_string(&pidfile).unwrap();
    client.stop();
    wait_until("udhcpc ends with acton", || !lives(&pid));
    let _ = fs::remove_file(pidfile);
    server.stop();
    dhcp.kill().unwrap();
    dhcp.wait().unwrap();
}

fn a_tap_is_a_port_of_a_bridge_while_there_is_a_session() {
    let world = World::new(1);
    shell(&world.clients[0], "ip link add br0 type bridge");
    let server = world.serve(&[]);
    let client = world.join(0, &["--hook", &example("bridge")]);
    let is_port = || shell(&world.clients[0], "ip link show client").contains("master br0");
    wait_until("it is a port", is_port);
    server.stop();
    wait_until("it is none", || !is_port());
    let server = world.serve(&[]);
    wait_until("it is a port again", is_port);
    let log = client.stop();
    assert!(!log.contains("until it does well again"), "{log}");
    server.stop();
}

fn the_firewall_knows_who_has_a_session() {
    let world = World::new(2);
    shell(&world.server, "nft add table inet acton; nft add chain inet acton clients");
    let server = world.serve(&["--hook", &example("nftables"), "--listen", "::"]);
    let rules = || shell(&world.server, "nft list chain inet acton clients");
    let first = world.join(0, &[]);
    let second = world.join_at(1, "2001:db8::1", &[]);
    wait_until("both are let in", || {
        let rules = rules();
        rules.contains("ip saddr 192.0.2.10 accept")
            && rules.contains("ip6 saddr 2001:db8::b accept")
    });
    first.stop();
    wait_until("one is not any more", || !rules().contains("192.0.2.10"));
    assert!(rules().contains("2001:db8::b"), "{}", rules());
    let log = server.stop();
    // It was told of that too before it ended.
    assert!(!rules().contains("accept"), "{}", rules());
    assert!(!log.contains("until it does well again"), "{log}");
    second.stop();
}
