//! The server under measurement, which this program is when started with `--serve`: all that the
//! benchmark uses of the engine.

use std::io;
use std::net::SocketAddr;

use acton_engine::{Server, ServerKeys, TapSettings};
use acton_proto::handshake::Secret;

use crate::Result;

/// Everybody knows these keys: nobody but this benchmark reaches the server.
pub(crate) const PRIVATE_KEY: [u8; 32] = [1; 32];
pub(crate) const NETWORK_KEY: [u8; 32] = [2; 32];

/// What it says once it listens.
pub(crate) const READY: &str = "ready";

/// Serves until standard input ends. Each line there is a question: how many sessions are open?
pub(crate) fn run(address: SocketAddr, max_sessions: usize) -> Result<()> {
    let [private_key, network_key] = [PRIVATE_KEY, NETWORK_KEY].map(Secret::new);
    let keys = ServerKeys { private_key, network_key: Some(network_key) };
    let running = Server::secure(keys)
        .listen(address)
        .tap(TapSettings::new("acton%d"))
        .max_sessions(max_sessions)
        .max_sessions_per_source(max_sessions)
        .start()?;
    println!("{READY}");
    for question in io::stdin().lines() {
        question?;
        let sessions = running.status().sessions;
        println!("{}", sessions.iter().filter(|session| session.session_for.is_some()).count());
    }
    Ok(())
}
