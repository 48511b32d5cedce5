use std::fs;

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread of another process that is held, as one that hangs; dropping this lets it go.
pub(crate) struct HeldThread {
    process: u32,
    thread: Pid,
}

impl HeldThread {
    /// Holds the thread of this name, wherever it is.
    pub(crate) fn anywhere(process: u32, name: &str) -> Self {
        let held = Self { process, thread: find(process, name) };
        ptrace::seize(held.thread, Options::empty()).unwrap();
        ptrace::interrupt(held.thread).unwrap();
        held.wait();
        held
    }

    /// Holds the thread of this name as it begins or ends this system call.
    pub(crate) fn at_call(process: u32, name: &str, call: i64) -> Self {
        let held = Self::anywhere(process, name);
        while held.call() != Some(call) {
            ptrace::syscall(held.thread, None).unwrap();
            held.wait();
        }
        held
    }

    fn wait(&self) {
        waitpid(self.thread, Some(WaitPidFlag::__WALL)).unwrap();
    }

    /// The number of the system call that it is in.
    fn call(&self) -> Option<i64> {
        let path = format!("/proc/{}/task/{}/syscall", self.process, self.thread);
        fs::read_to_string(path).unwrap().split(' ').next()?.parse().ok()
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.thread, None);
    }
}

fn find(process: u32, name: &str) -> Pid {
    let mut tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let task = tasks.find_map(|task| {
        let path = task.unwrap().path();
        let found = fs::read_to_string(path.join("comm")).is_ok_and(|it| it.trim_end() == name);
        found.then_some(path)
    });
    let path = task.unwrap_or_else(|| panic!("no thread {name}"));
    Pid::from_raw(path.file_name().unwrap().to_str().unwrap().parse().unwrap())
}
