//! `acton top` on a terminal, of a tunnel that runs, goes away and comes back.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "top/picture.rs"]
mod picture;
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Acton, Mode, World, control, said, tcp_transfer, wait_until};

testbed::main! {
    a_terminal_shows_what_runs_and_that_it_went_away,
    without_a_terminal_it_says_so,
}

/// `acton top` on a terminal.
struct Screen {
    child: Child,
    keys: File,
    parser: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    fn start(end: &Acton, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_acton"), "top", "--interval", "0.2"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm")
            .env("ACTON_CONTROL", control(end))
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal())
            .spawn()
            .unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut output = File::from(pty.master.try_clone().unwrap());
        let reader = Arc::clone(&parser);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                reader.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { child, keys: File::from(pty.master), parser }
    }

    fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(&format!("the screen shows '{text}'"), || self.text().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_terminal_shows_what_runs_and_that_it_went_away() {
    let world = World::new(3).speaking(Mode::Secure);
    let names = ["berlin", "oslo", "rome"];
    let invites = names.map(|name| world.keys.named_invite(name, &[]));
    let server = world.start_server(&[]);
    server.wait_for(said::LISTENING);
    let clients: Vec<_> = invites
        .iter()
        .zip(0..)
        .map(|(invite, i)| {
            let state = world.keys.client_state(i);
            let client = world.run_client(i, &["client", invite, "--state", &state]);
            client.wait_for(said::CONNECTED);
            client
        })
        .collect();
    let mut screen = Screen::start(&server, 24, 80);
    screen.wait_for("3 up");
    screen.wait_for("berlin");
    for (client, megabytes) in [(0, 4), (1, 1), (2, 2), (0, 16), (1, 8)] {
        tcp_transfer(&world.clients[client], &world.server, support::ROOT_V4, megabytes << 20);
    }
    screen.wait_for("session 2 up");
    if picture::is_asked() {
        thread::scope(|scope| {
            scope.spawn(|| {
                tcp_transfer(&world.clients[1], &world.server, support::ROOT_V4, 192 << 20);
            });
            scope.spawn(|| {
                tcp_transfer(&world.server, &world.clients[0], support::leaf(0)[0], 64 << 20);
            });
            // Some looks later the charts have grown.
            thread::sleep(std::time::Duration::from_secs(3));
            picture::write(&screen.parser.lock().unwrap());
        });
    }
    screen.press("x");
    screen.wait_for("drops:");
    screen.press("f");
    screen.wait_for(&support::CLIENT_MAC.to_string());
    screen.press("/oslo\r");
    screen.wait_for("1 with 'oslo'");
    screen.press("\r");
    screen.wait_for("round trip");
    screen.press("\x1b");
    wait_until("the table is back", || !screen.text().contains("round trip"));
    // It is killed and comes back at the same place.
    let path = control(&server).to_owned();
    server.kill();
    screen.wait_for("AWAY");
    let again = world.start_server(&["--control", path.to_str().unwrap()]);
    again.wait_for(said::LISTENING);
    wait_until("it is back", || !screen.text().contains("AWAY"));
    screen.press("q");
    let status = screen.child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    // The terminal is as it was: its own screen is back.
    wait_until("the screen is left", || !screen.parser.lock().unwrap().screen().alternate_screen());
    for client in clients {
        kill(Pid::from_raw(client.id() as i32), Signal::SIGTERM).unwrap();
    }
}

fn without_a_terminal_it_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_acton")).args(["top"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("needs a terminal"), "{said}");
}
