//! Gives a tunnel's events to a hook, through the process that starts it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Event, Handle};
use parking_lot::{Condvar, Mutex};

use super::environment::Giver;
use super::queue::Queue;
use super::starter::HookStarter;
use super::wire::{Ended, Job, Outcome, send};
use crate::control::{EventRecord, HookReport};

/// The hook of a tunnel that runs. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Hooks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    time_out: Duration,
    giver: Giver,
    socket: Mutex<UnixStream>,
    state: Mutex<State>,
    /// Something ended.
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue<Arc<Event>>,
    /// Of the events that a hook is at work on: the lane, and what kind it is.
    running: BTreeMap<u64, (Option<usize>, &'static str)>,
    done: u64,
    failed: u64,
    timed_out: u64,
    left_out: u64,
    last_failure: Option<String>,
    /// It was told that events are left out, and they have not all been given since.
    told_left_out: bool,
    /// The process that starts hooks has ended.
    gone: bool,
    /// All events were given that there will be, as far as there was time.
    finished: bool,
}

impl HookStarter {
    /// Gives it the events of a tunnel, from the first one on until the tunnel ends. `name` is the
    /// instance's.
    ///
    /// # Errors
    /// Where the system makes no threads.
    pub(crate) fn follow(self, handle: Handle, name: String) -> io::Result<Hooks> {
        let Self { program, time_out, socket, process } = self;
        let answers = socket.try_clone()?;
        let giver = Giver { name, handle };
        let (socket, state) = (Mutex::new(socket), Mutex::default());
        let shared = Shared { program, time_out, giver, socket, state, news: Condvar::new() };
        let hooks = Hooks(Arc::new(shared));
        let (events, ends) = (hooks.clone(), hooks.clone());
        thread::Builder::new().name("acton-hook".to_owned()).spawn(move || events.0.feed())?;
        thread::Builder::new()
            .name("acton-hook-ends".to_owned())
            .spawn(move || ends.0.hear(answers, process))?;
        Ok(hooks)
    }
}

impl Hooks {
    /// What came of the events so far.
    pub(crate) fn report(&self) -> HookReport {
        let state = self.0.state.lock();
        HookReport {
            program: self.0.program.display().to_string(),
            available: !state.gone,
            done: state.done,
            failed: state.failed,
            timed_out: state.timed_out,
            left_out: state.left_out,
            waiting: state.queue.waiting() as u64,
            last_failure: state.last_failure.clone(),
        }
    }

    /// Waits until all events of a tunnel that has ended were given to the hook, for as long as it may
    /// take for one, and ends the process that starts it.
    pub(crate) fn finish(&self) {
        let mut state = self.0.state.lock();
        while !state.finished {
            self.0.news.wait(&mut state);
        }
    }
}

impl Shared {
    /// Reads events until there are no more.
    fn feed(&self) {
        let mut next = 1;
        for event in self.giver.handle.events(0) {
            let number = event.number;
            if !self.take(event, number - next) {
                break;
            }
            next = number + 1;
            self.begin();
        }
        let mut state = self.state.lock();
        let until = Instant::now() + self.time_out;
        while !state.gone && !state.queue.is_empty() {
            if self.news.wait_until(&mut state, until).timed_out() {
                log::warn!(
                    "hook {}: {} events are left out, for the tunnel has ended",
                    self.program.display(),
                    state.queue.waiting()
                );
                break;
            }
        }
        state.finished = true;
        drop(state);
        // Whose end is the other process's too.
        let _ = self.socket.lock().shutdown(Shutdown::Both);
        self.news.notify_all();
    }

    /// Has an event wait for its turn, after some that came too fast to be read; `false` where none of
    /// them will have any.
    fn take(&self, event: Arc<Event>, missed: u64) -> bool {
        let mut state = self.state.lock();
        let (lane, kind) = (event.kind.session(), event.kind.name());
        let left_out = missed + u64::from(!state.queue.push(lane, kind, event));
        state.left_out += left_out;
        if left_out > 0 && !state.told_left_out {
            state.told_left_out = true;
            log::warn!(
                "hook {} does not keep up: {} events wait, and some are left out from now on (acton \
                 status counts them)",
                self.program.display(),
                state.queue.waiting()
            );
        }
        !state.gone
    }

    /// Has hooks begin for which it is time.
    fn begin(&self) {
        loop {
            let mut state = self.state.lock();
            if state.gone {
                return;
            }
            let Some((lane, event)) = state.queue.begin() else { return };
            state.running.insert(event.number, (lane, event.kind.name()));
            drop(state);
            let record = EventRecord::new(&event, self.giver.handle.protocol());
            let environment = self.giver.environment(&event, &record);
            let sent = serde_json::to_string(&record).map_err(io::Error::from).and_then(|input| {
                let job = Job { number: event.number, environment, input: input + "\n" };
                send(&self.socket.lock(), &job)
            });
            if let Err(error) = sent
                && error.kind() != ErrorKind::BrokenPipe
            {
                // Half a line may have gone: nothing can be said after it. Whoever hears the end tells.
                log::error!("hook {}: {error}", self.program.display());
                let _ = self.socket.lock().shutdown(Shutdown::Both);
            }
        }
    }

    /// Hears what comes of hooks until the process that starts them has ended.
    fn hear(&self, answers: UnixStream, mut process: Child) {
        for line in BufReader::new(answers).lines() {
            let ended = line.and_then(|line| Ok(serde_json::from_str::<Ended>(&line)?));
            let Ok(ended) = ended else { break };
            self.ended(ended);
            self.begin();
        }
        let mut state = self.state.lock();
        state.gone = true;
        if !state.finished {
            log::error!(
                "hook {}: the process that starts it has ended: no event is given to it until acton is \
                 started anew",
                self.program.display()
            );
        }
        drop(state);
        self.news.notify_all();
        // It has ended, or does so since nobody speaks to it any more.
        let _ = process.wait();
    }

    fn ended(&self, ended: Ended) {
        let Ended { number, outcome } = ended;
        let mut state = self.state.lock();
        let Some((lane, kind)) = state.running.remove(&number) else { return };
        state.queue.end(lane);
        if state.queue.is_empty() {
            state.told_left_out = false;
        }
        let was_fine = state.last_failure.is_none();
        match outcome {
            Outcome::Done => {
                state.done += 1;
                state.last_failure = None;
            }
            outcome => {
                let counter = match outcome {
                    Outcome::TimedOut => &mut state.timed_out,
                    _ => &mut state.failed,
                };
                *counter += 1;
                let failure = format!("{kind} (event {number}): {outcome}");
                if was_fine {
                    log::warn!(
                        "hook {}: {failure}; until it does well again, acton status counts",
                        self.program.display()
                    );
                }
                state.last_failure = Some(failure);
            }
        }
        drop(state);
        self.news.notify_all();
    }
}
