//! A program that decides on clients, as a test has it decide.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::support::wait_until;

/// What is answered to a question, but for its id; `None` where nothing is.
type Decide = dyn Fn(&Value) -> Option<Value> + Send + Sync;

pub(crate) struct Program {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    questions: Mutex<Vec<Value>>,
    accounts: Mutex<Vec<Value>>,
    /// The connection that there is.
    stream: Mutex<Option<UnixStream>>,
    stopped: Mutex<bool>,
}

impl Program {
    pub(crate) fn start(
        path: &Path,
        decide: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::<Shared>::default();
        let (decide, its) =
            (Arc::<Decide>::from(Box::new(decide) as Box<Decide>), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                if *its.stopped.lock().unwrap() {
                    return;
                }
                *its.stream.lock().unwrap() = Some(stream.try_clone().unwrap());
                let (its, decide) = (Arc::clone(&its), Arc::clone(&decide));
                thread::spawn(move || its.serve(stream, &*decide));
            }
        });
        Self { path: path.to_owned(), shared }
    }

    /// What it was asked so far.
    pub(crate) fn questions(&self) -> Vec<Value> {
        self.shared.questions.lock().unwrap().clone()
    }

    /// The accounts that it heard, of this kind.
    pub(crate) fn accounts(&self, kind: &str) -> Vec<Value> {
        let accounts = self.shared.accounts.lock().unwrap();
        accounts.iter().filter(|account| account["event"] == kind).cloned().collect()
    }

    /// The account of this kind and number, once it has come: it goes a way of its own, and nobody waits
    /// for it.
    #[track_caller]
    pub(crate) fn account(&self, kind: &str, number: usize) -> Value {
        let mut accounts = Vec::new();
        wait_until(&format!("{kind} {number} has come"), || {
            accounts = self.accounts(kind);
            accounts.len() > number
        });
        accounts.swap_remove(number)
    }

    /// All accounts that it heard.
    pub(crate) fn all_accounts(&self) -> Vec<Value> {
        self.shared.accounts.lock().unwrap().clone()
    }

    /// Says a line of its own accord.
    pub(crate) fn say(&self, line: &Value) {
        let stream = self.shared.stream.lock().unwrap();
        writeln!(stream.as_ref().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Program {
    /// As where it is killed: the connection is gone, and so is the listener.
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap() = true;
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        if let Some(stream) = self.shared.stream.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, stream: UnixStream, decide: &Decide) {
        let mut answers = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["schema"], 1);
            if let Some(account) = line.get("accounting") {
                self.accounts.lock().unwrap().push(account.clone());
                continue;
            }
            let question = &line["question"];
            self.questions.lock().unwrap().push(question.clone());
            let Some(mut answer) = decide(question) else { continue };
            answer["id"] = question["id"].clone();
            if writeln!(answers, "{}", json!({ "answer": answer })).is_err() {
                return;
            }
        }
    }
}
