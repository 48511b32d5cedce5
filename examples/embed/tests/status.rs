//! Runs the program and joins it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use acton_engine::keys::{Invite, State};
use acton_engine::{Client, TapSettings};

/// The program, killed when the test ends.
struct Embed(Child);

impl Drop for Embed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn it_prints_its_status_and_a_client_shows_up_in_it() {
    let directory = std::env::temp_dir().join(format!("acton-embed-{}", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_embed"));
    command.args(["127.0.0.1:8080", "10.99.0.1/24"]).arg(directory.join("server"));
    let mut embed = Embed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(embed.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = said.next().unwrap();
    let url = first.split('\'').nth(1).expect(&first);
    let client = State::new(directory.join("client"));
    client.store_invite(&url.parse::<Invite>().unwrap()).unwrap();
    let credentials = client.client_credentials(None, 8080).unwrap();
    let running = Client::secure(credentials.server.clone(), credentials.into())
        .tap(TapSettings::new("joined"))
        .start()
        .unwrap();
    let lines = BufReader::new(embed.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut statuses = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let status = statuses.find(|status| status["sessions"][0]["state"] == "up").unwrap();
    assert_eq!((&status["schema"], &status["role"]), (&2.into(), &"server".into()));
    assert_eq!(status["protocol"], "acton/1");
    assert!(said.any(|line| line.starts_with("SessionUp")));
    running.handle().stop();
    running.wait().unwrap();
    assert!(statuses.any(|status| status["sessions"][0]["state"] == "closed"));
    std::fs::remove_dir_all(directory).unwrap();
}

testbed::main! {
    it_prints_its_status_and_a_client_shows_up_in_it,
}
