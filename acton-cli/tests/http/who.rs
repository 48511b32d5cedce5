//! Who may ask, and as whom the tunnel runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::browser::{HTTP, PORT, get, get_with, send};
use super::support::{Acton, Mode, World, said, shell, wait_until};

const TOKEN: &str = "kFq0x2Yd8sLm3Vb7Nc5R";

pub(super) fn others_than_this_host_need_a_token() {
    let world = World::new(0).speaking(Mode::Secure);
    for address in ["0.0.0.0:9273", "192.0.2.1:9273", "[::]:9273"] {
        let (status, log) = world.start_server(&["--http", address]).end();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("needs --http-token FILE"), "{log}");
    }
    let file = std::env::temp_dir().join(format!("acton-http-token-{}", std::process::id()));
    fs::write(&file, "short\n").unwrap();
    let path = file.to_str().unwrap();
    let (status, log) = world.start_server(&["--http", HTTP, "--http-token", path]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("a token is one line of 16"), "{log}");

    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let listen = format!("0.0.0.0:{PORT}");
    let server = world.serve(&["--http", &listen, "--http-token", path]);
    for path in ["/metrics", "/health", "/status.json", "/events", "/fdb.json", "/history.json"] {
        let denied = get(&world.server, path);
        assert_eq!((denied.status, &*denied.code()), (401, "unauthorized"), "{path}");
        assert!(denied.head.contains("WWW-Authenticate: Bearer"), "{}", denied.head);
    }
    let wrong = format!("Authorization: Bearer {}\r\n", TOKEN.to_lowercase());
    assert_eq!(get_with(&world.server, "/metrics", &wrong).status, 401);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(get_with(&world.server, "/metrics", &right).status, 200);
    // The page asks for it, and has nothing to tell without.
    assert_eq!(get(&world.server, "/").status, 200);
    // Whatever name leads here: it takes the token.
    let named = format!("GET /health HTTP/1.1\r\nHost: acton.example\r\n{right}\r\n");
    assert_eq!(send(&world.server, named.as_bytes()).status, 200);
    assert!(!server.stop().contains(TOKEN));
    fs::remove_file(file).unwrap();
}

/// As at boot: the tunnel does not wait for the address, and is shown there once it has come.
pub(super) fn an_address_may_come_later() {
    let world = World::new(0).speaking(Mode::Secure);
    let file = world.keys.path("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let addresses = ["192.0.2.99:9273", "[2001:db8::99]:9274"];
    let servers = addresses.map(|address| {
        let name = format!("s{}", address.len());
        let port = address.len().to_string();
        let token = file.to_str().unwrap();
        let more = ["--tap-name", &name, "--port", &port, "--http", address, "--http-token", token];
        let server = world.start_server(&more);
        server.wait_for("no interface of this host has that address");
        server.wait_for(said::LISTENING);
        server
    });
    let connects = |address: &str| world.server.run(|| TcpStream::connect(address));
    for (address, net) in addresses.into_iter().zip(["192.0.2.99/24", "2001:db8::99/64 nodad"]) {
        assert!(connects(address).is_err());
        shell(&world.server, &format!("ip address add {net} dev eth0"));
        // The kernel has the route to it a moment later.
        let mut stream = None;
        wait_until("the address is there", || {
            stream = connects(address).ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"HTTP/1.1 401", "{}", answer.escape_ascii());
    }
    drop(servers);
}

/// What becomes of a port that this user may not have, or another program has.
pub(super) fn a_port_that_is_not_to_be_had_is_told_with_what_helps() {
    let world = World::new(0);
    shell(&world.server, "ip link set lo up");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.args([env!("CARGO_BIN_EXE_acton"), "server", "--plain", "--http", "127.0.0.1:80"]);
    let (status, log) = Acton::spawn("server", &world.server, &mut command).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ports below 1024 take root or CAP_NET_BIND_SERVICE"), "{log}");
    let _taken = world.server.run(|| TcpListener::bind(HTTP)).unwrap();
    let (status, log) = world.start_server(&["--http", HTTP]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("as another program does (`ss -tlnp` says which)"), "{log}");
}

pub(super) fn pages_of_other_sites_get_nothing() {
    let world = World::new(0);
    let _server = world.serve(&["--http", HTTP]);
    for host in ["evil.example", "evil.example:9273", "localhost.evil.example:9273"] {
        let request = format!("GET /status.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let denied = send(&world.server, request.as_bytes());
        assert_eq!((denied.status, &*denied.code()), (421, "host"), "{host}");
    }
    let cross = get_with(&world.server, "/status.json", "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!((cross.status, &*cross.code()), (403, "forbidden"));
    let own = get_with(
        &world.server,
        "/status.json",
        "Origin: http://127.0.0.1:9273\r\nSec-Fetch-Site: same-origin\r\n",
    );
    assert_eq!(own.status, 200);
    assert!(!own.head.to_lowercase().contains("access-control"), "{}", own.head);
    for line in ["nosniff", "Cross-Origin-Resource-Policy: same-origin", "X-Frame-Options: DENY"] {
        assert!(own.head.contains(line), "{}", own.head);
    }
}

pub(super) fn it_runs_confined_and_as_another_user() {
    let world = World::new(0);
    let server = world.serve(&["--http", HTTP, "--sandbox", "require", "--user", "nobody"]);
    assert_eq!(get(&world.server, "/status.json").status, 200);
    assert_eq!(get(&world.server, "/metrics").status, 200);
    let log = server.stop();
    assert!(log.contains("shown at http://127.0.0.1:9273/"), "{log}");
    // A port that somebody has is an error before anything is made.
    let taken = world.server.run(|| TcpListener::bind(HTTP)).unwrap();
    let (status, log) = world.start_server(&["--http", HTTP]).end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("--http 127.0.0.1:9273: cannot listen there"), "{log}");
    drop(taken);
}
