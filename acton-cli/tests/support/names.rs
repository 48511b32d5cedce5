use std::path::Path;
use std::process::Command;

use super::{Acton, World};

/// Starts client 0 for the server `tunnel.test`, in a mount namespace of its own, where `hosts` is
/// the file of the names of hosts.
pub(crate) fn start_with_hosts(world: &World, hosts: &Path) -> Acton {
    let script = format!(
        "mount --bind {} /etc/hosts && exec {} '{}' --keepalive 1 -a 10.9.0.10/24",
        hosts.display(),
        env!("CARGO_BIN_EXE_acton"),
        world.client_arguments(0, "tunnel.test").join("' '"),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]);
    Acton::spawn("client", &world.clients[0], &mut command)
}
