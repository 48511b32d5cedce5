//! Servers with a list of clients, each of which has what is said of it there.

use std::fs;

use super::{Acton, Mode, Wire, World, said, shell};

/// A world in secure mode whose server has a list of clients, `site-0` and so on.
pub(crate) struct Site {
    pub(crate) world: World,
    /// Of each client.
    pub(crate) invites: Vec<String>,
}

impl Site {
    /// With what the list says by default, and of each client.
    pub(crate) fn new(default: &str, policies: &[&str]) -> Self {
        Self::of(World::new(policies.len() as u8).speaking(Mode::Secure), default, policies)
    }

    /// As [`new`](Self::new), of a world that is there.
    pub(crate) fn of(world: World, default: &str, policies: &[&str]) -> Self {
        let _ = world.keys.server();
        let invites = list_clients(&world, "server", "192.0.2.1", default, policies);
        Self { world, invites }
    }

    /// Starts client `i` with its invite, and `more` on its command line, and waits until it is connected.
    pub(crate) fn join_with(&self, i: u8, more: &[&str]) -> Acton {
        let (invite, state) = (&self.invites[usize::from(i)], self.world.keys.client_state(i));
        let client =
            self.world.run_client(i, &[&["client", invite, "--state", &state], more].concat());
        client.wait_for(said::CONNECTED);
        client
    }

    pub(crate) fn join(&self, i: u8) -> Acton {
        self.join_with(i, &[])
    }

    pub(crate) fn join_all(&self) -> Vec<Acton> {
        (0..self.invites.len() as u8).map(|i| self.join(i)).collect()
    }

    pub(crate) fn client_wires(&self) -> Vec<Wire> {
        (0..self.invites.len() as u8).map(|i| self.world.client_wire(i)).collect()
    }

    /// Changes the list of clients, which the server reads again soon.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let list = self.world.keys.path("server").join("clients");
        let text = fs::read_to_string(&list).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&list, text.replace(from, to)).unwrap();
    }
}

/// Lists clients for the server with that state; the invite of each, to the server at `host`.
pub(crate) fn list_clients(
    world: &World,
    state: &str,
    host: &str,
    default: &str,
    policies: &[&str],
) -> Vec<String> {
    let list = world.keys.path(state).join("clients");
    fs::write(&list, format!("[default]\n{default}\n")).unwrap();
    shell(&world.server, &format!("chmod 600 {}", list.display()));
    let invite = |(i, policy): (usize, &&str)| {
        let name = format!("site-{i}");
        let invite = world.keys.acton(state, &["invite", "--host", host, "--name", &name]);
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, format!("{text}{policy}\n")).unwrap();
        invite
    };
    policies.iter().enumerate().map(invite).collect()
}
