use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::HANG;

/// A running `acton`, its log captured; killed when dropped, its log printed if a test fails.
pub(crate) struct Acton {
    name: String,
    child: Child,
    log: Arc<Log>,
    /// Its state directory where it was told of no other: never the machine's.
    state: PathBuf,
    /// Its control socket where it was told of no other: never the machine's.
    control: PathBuf,
}

/// What a process says.
#[derive(Default)]
pub(crate) struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl Log {
    /// How many lines contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.text.lock().unwrap().lines().filter(|line| line.contains(text)).count()
    }
}

impl Acton {
    /// Starts the binary under test in `namespace`.
    pub(crate) fn start(name: &str, namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::spawn(name, namespace, Command::new(env!("CARGO_BIN_EXE_acton")).args(arguments))
    }

    /// Starts `command` in `namespace` with no environment but `PATH` and what it was given.
    pub(crate) fn spawn(name: &str, namespace: &Namespace, command: &mut Command) -> Self {
        let given: Vec<_> = command
            .get_envs()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
            .collect();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = format!("acton-test-{}-state-{number}", std::process::id());
        let state = std::env::temp_dir().join(state);
        let control = state.with_extension("sock");
        command.env_clear().env("ACTON_STATE", &state).env("ACTON_CONTROL", &control);
        // Nor does it read the machine's settings.
        command.env("ACTON_CONFIG", "none").envs(given);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = namespace.spawn(command).unwrap();
        let log = Arc::new(Log::default());
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        Self { name: name.to_owned(), child, log, state, control }
    }

    /// Everything said so far, on both outputs.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Its log, for as long as it lives.
    pub(crate) fn log_handle(&self) -> Weak<Log> {
        Arc::downgrade(&self.log)
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_for_nth(text, 1);
    }

    /// Waits until `count` lines contain `text`.
    #[track_caller]
    pub(crate) fn wait_for_nth(&self, text: &str, count: usize) {
        let guard = self.log.text.lock().unwrap();
        let (guard, waited) = self
            .log
            .grown
            .wait_timeout_while(guard, HANG, |log| {
                log.lines().filter(|line| line.contains(text)).count() < count
            })
            .unwrap();
        drop(guard);
        assert!(!waited.timed_out(), "{}: no '{text}' ({count}) in its log", self.name);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Does `act` while it is stopped, so that it finds together what comes meanwhile.
    pub(crate) fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        // Its parent hears of it once all its threads have stopped.
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let status = waitpid(id, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(id, Signal::SIGSTOP));
        let result = act();
        self.signal(Signal::SIGCONT);
        result
    }

    /// Kills it with SIGKILL, so that it can say no BYE.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it by SIGTERM, demands exit code 0, and returns its log.
    #[track_caller]
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, log) = self.end();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// Waits until it has said `text`, which is `true`, or has ended.
    pub(crate) fn says_or_ends(&mut self, text: &str) -> bool {
        let start = Instant::now();
        loop {
            if self.log().contains(text) {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < HANG, "{}: neither says '{text}' nor ends", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its own end, and returns the exit status and the log.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // The readers see the ends of the pipes very soon after.
                while Arc::strong_count(&self.log) > 1 {
                    thread::sleep(Duration::from_millis(1));
                }
                return (status, self.log());
            }
            assert!(start.elapsed() < HANG, "{}: does not end", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its control socket.
    pub(crate) fn control(&self) -> &Path {
        &self.control
    }

    /// Whether something can connect to that: its file is there a moment earlier. What has ended listens
    /// no more, and its file is all that is left to look at.
    pub(crate) fn listens_for_control(&self) -> bool {
        let Ok(sockets) = std::fs::read_to_string(format!("/proc/{}/net/unix", self.id())) else {
            return self.control.exists();
        };
        // Flags and path, __SO_ACCEPTCON among the former (proc_net(5)).
        let path = self.control.to_str().unwrap();
        sockets.lines().any(|it| it.contains(" 00010000 ") && it.ends_with(path))
    }

    /// A value of its /proc/PID/status, such as `VmRSS` in KiB (proc_pid_status(5)).
    #[track_caller]
    pub(crate) fn proc_status(&self, name: &str) -> u64 {
        testbed::proc::status(self.id(), name).unwrap()
    }

    /// User and system time that it took so far.
    #[track_caller]
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = PathBuf::from(format!("/proc/{}/stat", self.id()));
        testbed::proc::group_and_time(&stat).unwrap().1
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Acton {
    /// What was lost and why, by its own word and the kernel's: nothing if it does not run any more.
    fn said_of_losses(&self) -> String {
        let acton = env!("CARGO_BIN_EXE_acton");
        let (pid, control) = (self.child.id(), self.control.display());
        let kernel = "ip -s link; ss -uaeim; grep Udp /proc/net/snmp; grep Ip: /proc/net/snmp";
        let script = format!(
            "ACTON_CONTROL={control} {acton} drops; nsenter -t {pid} -n sh -c '{kernel}'; \
             cat /proc/{pid}/net/softnet_stat"
        );
        let said = Command::new("sh").args(["-c", &script]).output().map(|output| output.stdout);
        String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
    }
}

impl Drop for Acton {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}---", self.name, self.log());
            eprintln!("{}---", self.said_of_losses());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.state);
        let _ = std::fs::remove_file(&self.control);
    }
}

/// Appends the lines of `output` to `log` on a thread of its own.
fn collect(output: impl Read + Send + 'static, log: &Arc<Log>) {
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            log.text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            log.grown.notify_all();
            line.clear();
        }
    });
}
