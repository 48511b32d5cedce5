//! Support for kernel tests: each runs in a network namespace of its own, and counts as
//! skipped (never as passed) where the machine cannot run it.
//!
//! A test file is built with `harness = false` and ends in [`main!`]:
//!
//! ```no_run
//! fn link_comes_up() {
//!     testbed::sh("ip link set lo up");
//! }
//!
//! fn needs_a_peer() {
//!     testbed::sh("socat -V");
//! }
//!
//! testbed::main! {
//!     link_comes_up,
//!     needs_a_peer: ["socat"],
//! }
//! ```
//!
//! A test runs on a fresh thread, so a namespace it enters is gone when it ends.
#![forbid(unsafe_code)]

pub mod proc;

use std::any::Any;
use std::fs::OpenOptions;
use std::panic;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};

/// One kernel test: its name, the programs it runs, its body.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// The name that the runner prints and filters by.
    pub name: &'static str,
    /// Programs that must be on `PATH`; without one of them the test is skipped.
    pub needs: &'static [&'static str],
    /// The body; a panic fails the test.
    pub body: fn(),
}

/// Runs `tests`, each on a thread and in a network namespace of its own with `lo` up, and exits
/// the process with the runner's code.
///
/// Where namespaces or TAP devices cannot be made, or a program is missing, the tests concerned
/// count as ignored and the reason goes to standard error.
pub fn run(tests: &[Test]) -> ! {
    run_with(Arguments::from_args(), tests)
}

/// The same for tests that wait nearly all their time, as for timers of the tunnel: many of them at a
/// time take no longer than the longest.
pub fn run_waiting(tests: &[Test]) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(WAITING_AT_A_TIME);
    run_with(arguments, tests)
}

/// What one processor does without being busy.
const WAITING_AT_A_TIME: usize = 8;

fn run_with(arguments: Arguments, tests: &[Test]) -> ! {
    let machine = missing_on_this_machine();
    if let Some(why) = &machine {
        eprintln!("skipped, not passed: {why}");
    }
    let trials = tests
        .iter()
        .map(|&test| {
            let missing = test.needs.iter().find(|program| which(program).is_none());
            if let (None, Some(program)) = (&machine, missing) {
                eprintln!("skipped, not passed: {}: {program} is not installed", test.name);
            }
            Trial::test(test.name, move || in_namespace(test.body).map_err(Failed::from))
                .with_ignored_flag(machine.is_some() || missing.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit()
}

/// Declares `fn main` of a kernel test file: `name` or `name: ["program", ...]`, comma-separated. Behind
/// `waiting;` they are run by [`run_waiting`].
#[macro_export]
macro_rules! main {
    (waiting; $($tests:tt)*) => {
        $crate::main! { @by run_waiting, $($tests)* }
    };
    (@by $run:ident, $($name:ident $(: [$($program:literal),* $(,)?])?),* $(,)?) => {
        fn main() {
            $crate::$run(&[$($crate::Test {
                name: stringify!($name),
                needs: &[$($($program),*)?],
                body: $name,
            }),*])
        }
    };
    (@$($other:tt)*) => {
        ::std::compile_error!("tests are `name` or `name: [\"program\"]`, comma-separated");
    };
    ($($tests:tt)*) => {
        $crate::main! { @by run, $($tests)* }
    };
}

/// Ends a thread that waits for this flag, whatever happens to the one that set it going.
#[derive(Debug)]
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a shell command in the calling thread's namespaces and returns its standard output.
///
/// # Panics
/// When the command cannot be started or fails; the message holds the command and its output.
#[track_caller]
pub fn sh(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", command])
        .output()
        .unwrap_or_else(|error| panic!("sh -c '{command}': {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "`{command}` failed: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// The path of a program on `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs `body` on a fresh thread in a fresh network namespace with `lo` up.
///
/// # Errors
/// The message of the panic that ended `body`.
pub fn in_namespace(body: impl FnOnce() + Send) -> Result<(), String> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespaces were there when the run began");
            sh("ip link set lo up");
            body();
        });
        thread.join().map_err(|panic| message(&*panic))
    })
}

/// What keeps every kernel test from running here, if anything does.
pub fn missing_on_this_machine() -> Option<String> {
    let namespace = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match namespace {
        Ok(Ok(())) => {}
        Ok(Err(errno)) => {
            return Some(format!("no network namespace can be made ({errno}): run as root"));
        }
        Err(panic) => panic::resume_unwind(panic),
    }
    if which("ip").is_none() {
        return Some("ip is not installed (Debian: iproute2)".to_owned());
    }
    let tun = "/dev/net/tun";
    let error = OpenOptions::new().read(true).write(true).open(tun).err()?;
    Some(format!("{tun}: {error}: TAP devices are not to be had here"))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}
