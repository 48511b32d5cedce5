//! What it costs a server that the sessions' accounts are told, and how evenly they come.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::server::Server;
use crate::{IDLE, Result};

/// Seconds between two accounts of a session: ten times as often as one would want.
const INTERVAL: u64 = 30;
/// How often clients are tended.
const TEND: Duration = Duration::from_secs(2);

/// Who decides that all may come in, and notes when accounts of sessions that go on came.
#[derive(Clone, Default)]
struct Program(Arc<Mutex<Vec<Instant>>>);

impl Program {
    fn listen(&self, path: PathBuf) -> Result<()> {
        let (listener, program) = (UnixListener::bind(path)?, self.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = program.hear(&stream) {
                    eprintln!("the program: {error}");
                }
            }
        });
        Ok(())
    }

    fn hear(&self, mut stream: &std::os::unix::net::UnixStream) -> Result<()> {
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line: Value = serde_json::from_str(&line?)?;
            if line["accounting"]["event"] == "accounting_interim" {
                self.times().push(Instant::now());
            }
            if let Some(question) = line.get("question") {
                let answer = json!({ "id": question["id"], "allow": true, "valid-for": 86_400 });
                writeln!(stream, "{}", json!({ "answer": answer }))?;
            }
        }
        Ok(())
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Compares an idle server that tells accounts with one that does not.
pub(crate) fn compare(clients: usize) -> Result<()> {
    println!("{clients} idle sessions, an account of each every {INTERVAL} s");
    for interval in [0, INTERVAL] {
        let program = Program::default();
        // The server waits for whoever listens there.
        let (socket, interval_text) = (program_socket(interval), interval.to_string());
        program.listen(socket.clone())?;
        let socket_text = socket.display().to_string();
        let options = ["--authorize", &socket_text, "--accounting-interval", &interval_text];
        let server = Server::start_with(clients, None, &options)?;
        let mut crowd = Crowd::new(&server)?;
        for number in 0..clients {
            crowd.join()?;
            if number % 1_000 == 0 {
                crowd.tend()?;
            }
        }
        // The first account comes within an interval and a half.
        tend(&mut crowd, Duration::from_secs(interval * 3 / 2 + 3))?;
        let (before, start) = (server.processor_time()?, Instant::now());
        program.times().clear();
        tend(&mut crowd, IDLE)?;
        let share = (server.processor_time()? - before).as_secs_f64() / IDLE.as_secs_f64();
        let times: Vec<_> = program.times().iter().map(|it| it.duration_since(start)).collect();
        let memory = server.memory()?;
        println!(
            "interval {interval:2} s: {:5.2} % of a processor, {memory:5.1} MiB",
            share * 100.0
        );
        if interval > 0 {
            let (second, tenth) = (most(&times, 1_000), most(&times, 100));
            let mean = times.len() as f64 / IDLE.as_secs_f64();
            println!("accounts: {mean:.0} a second, at most {second} in one, {tenth} in 0.1 s");
        }
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}

/// Keeps the sessions for so long.
fn tend(crowd: &mut Crowd, time: Duration) -> Result<()> {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        crowd.tend()?;
        thread::sleep(left.min(TEND));
    }
    Ok(())
}

fn program_socket(interval: u64) -> PathBuf {
    std::env::temp_dir().join(format!("acton-accounts-{}-{interval}", std::process::id()))
}

/// The most that came in one slot of so many milliseconds.
fn most(times: &[Duration], slot: u128) -> usize {
    let mut counts = std::collections::HashMap::new();
    for time in times {
        *counts.entry(time.as_millis() / slot).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or_default()
}
