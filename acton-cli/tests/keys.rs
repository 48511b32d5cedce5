//! The commands about keys, as their user has them: a state directory, arguments, pipes.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use acton_engine::keys::{
    ClientList, Invite, KeyError, Origin, State, Watched, encode_key, encode_secret, parse_key,
    parse_secret,
};
use acton_proto::handshake::{Random, SystemRandom, public_key};
use support::PublicProgram;

/// A server's and a client's state directory, removed when dropped.
struct World {
    directory: PathBuf,
}

impl World {
    fn new() -> Self {
        let mut number = [0; 8];
        SystemRandom.fill(&mut number);
        let name = format!("acton-keys-{:016x}", u64::from_ne_bytes(number));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn state(&self, who: &str) -> State {
        State::new(self.path(who))
    }

    /// `acton` with the state directory of `who`.
    fn command(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = acton(arguments);
        command.env("ACTON_STATE", self.path(who));
        command
    }

    /// Runs it to its end and demands success.
    #[track_caller]
    fn run(&self, who: &str, arguments: &[&str]) -> Said {
        let output = self.command(who, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Said::from(output)
    }

    /// Runs it to its end and demands a failure that is told on standard error alone.
    #[track_caller]
    fn fails(&self, who: &str, arguments: &[&str]) -> String {
        refused(&mut self.command(who, arguments))
    }

    #[track_caller]
    fn invite(&self, arguments: &[&str]) -> String {
        let fixed = ["invite", "--host", "192.0.2.1"];
        self.run("server", &[&fixed, arguments].concat()).out
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What a command printed, without the end of the last line.
struct Said {
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        Self { out: text(output.stdout), err: text(output.stderr) }
    }
}

fn acton(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

#[track_caller]
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    let Said { out, err } = Said::from(output);
    assert_eq!(out, "");
    assert!(err.starts_with("acton: "), "{err}");
    err
}

/// Runs a command with `input` on its standard input.
fn pipe(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn parse(url: &str) -> Invite {
    url.parse().unwrap()
}

#[test]
fn keygen_and_pubkey_agree() {
    let private = Said::from(acton(&["keygen"]).output().unwrap()).out;
    assert_ne!(private, Said::from(acton(&["keygen"]).output().unwrap()).out);
    assert_eq!(private.len(), 44);
    let public = Said::from(pipe(&mut acton(&["pubkey"]), &format!("{private}\n"))).out;
    assert_eq!(public, encode_key(&public_key(&parse_secret(&private).unwrap())));
    // RFC 7748, section 6.1: Alice's keys.
    let known = pipe(&mut acton(&["pubkey"]), "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=");
    assert_eq!(Said::from(known).out, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    let wrong = pipe(&mut acton(&["pubkey"]), &private[1..]);
    assert_eq!(wrong.status.code(), Some(1));
    let err = Said::from(wrong).err;
    assert!(err.contains("44 characters") && !err.contains(&private[1..20]), "{err}");
}

#[test]
fn the_first_invite_makes_private_files_and_later_ones_are_the_same() {
    let world = World::new();
    let first = world.run("server", &["invite", "--host", "server.example", "-p", "99"]);
    assert!(first.out.starts_with("acton://server.example:99/#"), "{}", first.out);
    assert!(first.err.contains("Made the server's keys"), "{}", first.err);
    let second = world.run("server", &["invite", "--host", "server.example:99"]);
    assert_eq!((second.out, second.err.as_str()), (first.out.clone(), ""));
    let state = world.path("server");
    assert_eq!(mode(&state), 0o700);
    for file in ["server.key", "network.key"] {
        assert_eq!(mode(&state.join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 2);
    let identity = world.state("server").server_identity().unwrap();
    let invite = parse(&first.out);
    assert_eq!(invite.server_key, identity.public_key);
    assert_eq!(invite.network_key, Some(identity.network_key));
    assert_eq!((invite.client_key, invite.psk), (None, None));
    let file = fs::read_to_string(state.join("server.key")).unwrap();
    assert_eq!(file, format!("{}\n", *encode_secret(&identity.private_key)));
}

#[test]
fn an_invite_without_a_host_says_what_it_is_for() {
    let world = World::new();
    let output = world.command("server", &["invite"]).output().unwrap();
    let success = output.status.success();
    let Said { out, err } = Said::from(output);
    assert!(err.contains("--host HOST"), "{err}");
    // Where this machine has loopback alone there is none to give.
    assert_eq!(success, out.starts_with("acton://"), "{out} {err}");
}

#[test]
fn join_stores_what_the_client_then_uses() {
    let world = World::new();
    let url = world.invite(&[]);
    let file = world.path("downloaded");
    fs::write(&file, format!("{url}\n")).unwrap();
    type Join<'a> = &'a dyn Fn(&str) -> Output;
    let joins: [(&str, Join<'_>); 4] = [
        ("argument", &|who| world.command(who, &["join", &url]).output().unwrap()),
        ("stdin", &|who| pipe(&mut world.command(who, &["join", "-"]), &url)),
        ("file", &|who| {
            world.command(who, &["join", "--file", file.to_str().unwrap()]).output().unwrap()
        }),
        ("env", &|who| world.command(who, &["join"]).env("ACTON_INVITE", &url).output().unwrap()),
    ];
    for (who, join) in joins {
        let output = join(who);
        assert!(output.status.success(), "{who}: {output:?}");
        let Said { out, err } = Said::from(output);
        assert!(!format!("{out}{err}").contains(&url[24..60]), "the invite is printed");
        for file in ["invite", "client.key"] {
            assert_eq!(mode(&world.path(who).join(file)), 0o600, "{who}: {file}");
        }
        let credentials = world.state(who).client_credentials(None, 1).unwrap();
        let server = world.state("server").server_identity().unwrap();
        assert_eq!(credentials.server.to_string(), "192.0.2.1:8080");
        assert_eq!(credentials.server_key, server.public_key);
        assert_eq!(credentials.network_key, Some(server.network_key));
        assert_eq!(credentials.origin, Origin::Stored(world.path(who).join("invite")));
        // What join says is what the server's list would need.
        assert!(out.contains(&encode_key(&public_key(&credentials.private_key))), "{out}");
    }
    let other = world.run("other-server", &["invite", "--host", "192.0.2.2"]).out;
    world.run("argument", &["join", &other]);
    let credentials = world.state("argument").client_credentials(None, 1).unwrap();
    assert_eq!(credentials.server.to_string(), "192.0.2.2:8080");
}

#[test]
fn a_bad_invite_is_told_and_not_stored() {
    let world = World::new();
    let url = world.invite(&[]);
    let cut = &url[..url.len() - 1];
    assert!(world.fails("client", &["join", cut]).contains("cut short"));
    assert!(world.fails("client", &["join", "192.0.2.1"]).contains("acton://"));
    assert!(world.fails("client", &["join"]).contains("ACTON_INVITE"));
    assert!(world.fails("client", &["join", "--file", "/none"]).contains("/none"));
    let secret = &cut[cut.len() - 20..];
    assert!(!world.fails("client", &["join", cut]).contains(secret));
    assert!(!world.path("client").exists());
    assert!(world.fails("server", &["invite", "--host", "a/b"]).contains("a/b"));
}

#[test]
fn the_servers_own_host_needs_no_invite() {
    let world = World::new();
    world.invite(&[]);
    let credentials = world.state("server").client_credentials(Some("127.0.0.1"), 8080).unwrap();
    let server = world.state("server").server_identity().unwrap();
    assert_eq!(credentials.server.to_string(), "127.0.0.1:8080");
    assert_eq!(credentials.server_key, server.public_key);
    assert_eq!(credentials.network_key, Some(server.network_key));
}

#[test]
fn a_named_invite_lists_its_client_and_revoke_takes_it_off() {
    let world = World::new();
    let list = world.path("server").join("clients");
    let first = world.run("server", &["invite", "--host", "192.0.2.1", "--name", "laptop"]);
    assert!(first.err.contains("only the clients that it lists"), "{}", first.err);
    assert_eq!(mode(&list), 0o600);
    let second = world.run("server", &["invite", "--host", "192.0.2.1", "--name", "b", "--psk"]);
    assert_eq!(second.err, "");

    let mut watched = Watched::new(&list).unwrap();
    for (name, url) in [("laptop", &first.out), ("b", &second.out)] {
        world.run(name, &["join", url]);
        let credentials = world.state(name).client_credentials(None, 1).unwrap();
        assert!(!world.path(name).join("client.key").exists());
        let listed = watched.list().unwrap().get(&public_key(&credentials.private_key)).unwrap();
        assert_eq!((listed.name.as_str(), &listed.psk), (name, &credentials.psk));
        assert_eq!(credentials.psk.is_some(), name == "b");
    }
    assert!(world.fails("server", &["invite", "--host", "a"]).contains("--name"));
    let again = world.fails("server", &["invite", "--host", "a", "--name", "laptop"]);
    assert!(again.contains("acton revoke laptop"), "{again}");

    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, format!("{text}# the end")).unwrap();
    assert!(world.run("server", &["revoke", "laptop"]).out.contains("clients left: 1"));
    assert!(watched.poll().is_none(), "a change counts once it rests");
    let revoked = watched.poll().unwrap().unwrap();
    assert!(revoked.find("laptop").is_none() && revoked.find("b").is_some());
    assert!(fs::read_to_string(&list).unwrap().ends_with("# the end"));
    assert!(world.fails("server", &["revoke", "laptop"]).contains("no client 'laptop'"));
    // The last one off leaves a list that admits nobody, not an open door.
    assert!(world.run("server", &["revoke", "b"]).err.contains("Nobody gets in"));
    assert!(watched.poll().is_none());
    assert!(watched.poll().unwrap().unwrap().is_empty());
    assert!(world.fails("server", &["invite", "--host", "a"]).contains("--name"));
}

#[test]
fn a_lost_list_opens_nothing() {
    let world = World::new();
    world.invite(&["--name", "a"]);
    let list = world.path("server").join("clients");
    let network = world.path("server").join("network.key");
    assert!(world.state("server").requires_list().unwrap());
    let saved = fs::read_to_string(&list).unwrap();
    fs::remove_file(&list).unwrap();
    // Before anything of the network is touched, so that it needs no privilege to be told.
    for arguments in [&["server"][..], &["invite", "--host", "a"]] {
        let said = world.fails("server", arguments);
        for part in ["is gone", "acton invite --name NAME", "delete the line 'listed' in"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(said.contains(network.to_str().unwrap()), "{said}");
    }
    fs::write(&list, saved).unwrap();
    let said = world.run("server", &["revoke", "a"]).err;
    assert!(said.contains("line 'listed'"), "{said}");
    // On purpose.
    fs::remove_file(&list).unwrap();
    let text = fs::read_to_string(&network).unwrap();
    fs::write(&network, text.lines().next().unwrap()).unwrap();
    world.invite(&[]);
}

/// The first start of a server, which makes its keys and says so, and then finds that no TAP can be
/// called so.
fn first_start(world: &World, who: &str) -> Command {
    world.command(who, &["server", "-l", "127.0.0.1", "-p", "8099", "-t", "a-name-far-too-long"])
}

#[test]
fn the_first_start_tells_a_terminal_alone_its_invite() {
    let world = World::new();
    let output = first_start(&world, "piped").output().unwrap();
    let Said { out, err } = Said::from(output);
    assert!(out.contains("Made this server's keys") && out.contains("`acton invite`"), "{out}");
    assert!(!out.contains("acton://") && !err.contains("acton://"), "{out}{err}");

    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut command = first_start(&world, "terminal");
    command.stdout(terminal.slave).stderr(Stdio::null());
    command.status().unwrap();
    drop(command); // the last who has the terminal open
    let (mut shown, mut master) = (Vec::new(), fs::File::from(terminal.master));
    // At its end a terminal fails with EIO.
    let _ = master.read_to_end(&mut shown);
    let shown = String::from_utf8(shown).unwrap();
    let url = shown.split('\'').find(|part| part.starts_with("acton://")).unwrap_or_default();
    let identity = world.state("terminal").server_identity().unwrap();
    assert_eq!(parse(url).network_key, Some(identity.network_key), "{shown}");
}

#[test]
fn a_key_log_is_its_users_alone() {
    let world = World::new();
    let url = world.invite(&[]);
    let log = world.path("log");
    let start = |path: &Path| {
        // After its keys it would find that no TAP can be called so.
        let arguments = ["client", &url, "-t", "a-name-far-too-long", "--key-log"];
        let mut command = world.command("client", &arguments);
        refused(command.arg(path).env("ACTON_LOG_LEVEL", "off"))
    };
    assert!(!start(&log).contains("key log /"), "one that is made");
    assert_eq!(mode(&log), 0o600);
    assert!(!start(&log).contains("key log /"), "one that was made");
    for wrong in [0o640, 0o604, 0o620] {
        set_mode(&log, wrong);
        assert!(start(&log).contains("chmod 600"), "{wrong:o}");
    }
    set_mode(&log, 0o600);
    let link = world.path("link");
    std::os::unix::fs::symlink(&log, &link).unwrap();
    assert!(start(&link).contains("symbolic link"));
    let dangling = world.path("dangling");
    std::os::unix::fs::symlink(world.path("none"), &dangling).unwrap();
    assert!(start(&dangling).contains("symbolic link"));
    fs::hard_link(&log, world.path("other-name")).unwrap();
    assert!(start(&log).contains("hard link"));
    assert!(start(&world.directory).contains("key log "));
    let fifo = world.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(start(&fifo).contains("key log "));
    if nix::unistd::geteuid().is_root() {
        let foreign = world.path("foreign");
        fs::write(&foreign, "").unwrap();
        set_mode(&foreign, 0o600);
        std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
        assert!(start(&foreign).contains("belongs to user 65534"));
    }
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
}

#[test]
fn an_invite_in_a_file_that_others_read_is_told() {
    let world = World::new();
    let file = world.path("invite");
    fs::write(&file, world.invite(&[])).unwrap();
    for (bits, told) in [(0o644, true), (0o640, true), (0o600, false)] {
        set_mode(&file, bits);
        let said = world.run("client", &["join", "--file", file.to_str().unwrap()]).err;
        assert_eq!(said.contains("chmod go-rwx"), told, "{said}");
    }
}

#[test]
fn a_client_may_keep_its_private_key_to_itself() {
    let world = World::new();
    let own = world.state("client").client_key().unwrap();
    let key = encode_key(&public_key(&own));
    let list = world.path("list");
    let list_argument = list.to_str().unwrap();
    let url = world.invite(&["--name", "n", "--key", &key, "--clients", list_argument]);
    assert_eq!(parse(&url).client_key, None);
    assert_eq!(ClientList::load(&list).unwrap().find("n").unwrap().key, public_key(&own));
    world.run("client", &["join", &url]);
    assert_eq!(world.state("client").client_credentials(None, 1).unwrap().private_key, own);
    assert!(!world.path("server").join("clients").exists());
    let same_key =
        ["invite", "--host", "a", "--name", "m", "--key", &key, "--clients", list_argument];
    assert!(world.fails("server", &same_key).contains("that key already"));
    world.run("server", &["revoke", "n", "--clients", list_argument]);
    assert!(ClientList::load(&list).unwrap().is_empty());
    assert!(parse_key(&key).is_ok());
}

#[test]
fn a_list_with_a_mistake_is_left_alone() {
    let world = World::new();
    world.invite(&["--name", "a"]);
    let list = world.path("server").join("clients");
    let text = format!("{}bob KEY\n", fs::read_to_string(&list).unwrap());
    fs::write(&list, &text).unwrap();
    for arguments in [&["revoke", "a"][..], &["invite", "--host", "a", "--name", "c"]] {
        let said = world.fails("server", arguments);
        assert!(said.contains("clients, line 3: ") && said.contains("write: KEY NAME"), "{said}");
    }
    assert_eq!(fs::read_to_string(&list).unwrap(), text);
}

#[test]
fn what_others_can_read_is_refused() {
    let world = World::new();
    let url = world.invite(&[]);
    world.run("client", &["join", &url]);
    let key = world.path("server").join("server.key");
    set_mode(&key, 0o644);
    let said = world.fails("server", &["invite", "--host", "a"]);
    assert!(said.contains(&format!("chmod go-rwx {}", key.display())), "{said}");
    set_mode(&key, 0o600);
    world.invite(&[]);
    set_mode(&world.path("client").join("invite"), 0o640);
    let error = world.state("client").client_credentials(None, 1).unwrap_err();
    assert!(matches!(error, KeyError::Open { mode: 0o640, .. }), "{error}");
    set_mode(&world.path("client"), 0o757);
    assert!(world.fails("client", &["join", &url]).contains("chmod go-w "));
}

#[test]
fn first_starts_at_once_agree_on_one_key() {
    for _ in 0..5 {
        let world = World::new();
        let start = |_| -> Child {
            let mut command = world.command("server", &["invite", "--host", "192.0.2.1"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (0..8).map(start).collect();
        let urls: Vec<_> = children
            .into_iter()
            .map(|child| {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{output:?}");
                Said::from(output).out
            })
            .collect();
        assert!(urls.iter().all(|url| *url == urls[0]), "{urls:?}");
        assert_eq!(world.invite(&[]), urls[0]);
        assert_eq!(fs::read_dir(world.path("server")).unwrap().count(), 2);
    }
}

#[test]
fn invites_at_once_lose_no_client() {
    let world = World::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    let start = |name| -> Child {
        let mut command = world.command("server", &["invite", "--host", "a", "--name", name]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let made = names.map(start).map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    });
    let list = ClientList::load(&world.path("server").join("clients")).unwrap();
    for (name, output) in names.iter().zip(made) {
        let key = parse(&Said::from(output).out).client_key.unwrap();
        assert_eq!(list.get(&public_key(&key)).unwrap().name, *name);
    }
    assert_eq!(list.len(), names.len());
}

#[test]
fn an_ordinary_user_is_told_what_to_do() {
    let world = World::new();
    world.invite(&[]);
    set_mode(&world.path("server"), 0);
    // Root reads everything, so become nobody, who may not come as far as cargo's directory.
    set_mode(&world.directory, 0o755);
    let program = PublicProgram::new();
    let mut command = Command::new(program.path());
    command.args(["invite", "--host", "a", "--state"]).arg(world.path("server"));
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534);
    }
    let said = refused(&mut command);
    set_mode(&world.path("server"), 0o700);
    assert!(said.contains("run as root, or choose another state directory"), "{said}");
}

#[test]
fn an_error_that_cannot_be_said_is_an_exit_code() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = acton(&["revoke", "--state", "/nonexistent", "x"]);
    assert_eq!(command.stderr(full).status().unwrap().code(), Some(1));
}

#[test]
fn an_invite_that_cannot_be_written_says_that_its_client_is_listed() {
    let world = World::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = world.command("server", &["invite", "--host", "a", "--name", "alice"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = Said::from(output).err;
    assert!(said.contains("acton revoke alice"), "{said}");
    world.run("server", &["revoke", "alice"]);
    world.run("server", &["invite", "--host", "a", "--name", "alice"]);
}
