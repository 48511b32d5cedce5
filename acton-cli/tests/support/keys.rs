use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use acton_engine::ServerName;
use acton_engine::keys::{ServerIdentity, State};
use acton_proto::handshake::Secret;

use super::PORT;

/// The state directories of one world's server and clients, removed when dropped. Nothing of the
/// machine's own `/etc/acton` is ever read.
pub(crate) struct KeyRing {
    directory: PathBuf,
}

impl KeyRing {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("acton-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    /// A file or directory of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The value of `--state` for the server.
    pub(crate) fn server_state(&self) -> String {
        text(&self.path("server"))
    }

    /// The value of `--state` for client `i`.
    pub(crate) fn client_state(&self, i: u8) -> String {
        text(&self.path(&format!("client-{i}")))
    }

    /// The server's keys; the first call makes them.
    pub(crate) fn server(&self) -> ServerIdentity {
        State::new(self.path("server")).server_identity().unwrap()
    }

    /// The private key of client `i`, which it makes when it first starts.
    pub(crate) fn client_key(&self, i: u8) -> Secret {
        let text = fs::read(self.path(&format!("client-{i}")).join("client.key")).unwrap();
        let key = data_encoding::BASE64.decode(text.trim_ascii()).unwrap();
        Secret::new(key.try_into().unwrap())
    }

    /// An invite for everybody, to the server at this address.
    pub(crate) fn invite(&self, server: &str) -> String {
        let server = ServerName::parse(server, PORT).unwrap();
        self.server().invite(server).url().to_string()
    }

    /// An invite for one client, who is listed by this name from now on.
    #[track_caller]
    pub(crate) fn named_invite(&self, name: &str, more: &[&str]) -> String {
        let fixed = ["invite", "--host", "192.0.2.1", "--name", name];
        self.acton("server", &[&fixed, more].concat())
    }

    /// Runs a command about keys with the state directory of `who`, and returns what it printed.
    #[track_caller]
    pub(crate) fn acton(&self, who: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
        command.args(arguments).env_clear().env("ACTON_STATE", self.path(who));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
