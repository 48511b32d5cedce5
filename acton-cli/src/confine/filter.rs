//! Which system calls a thread may make (seccomp(2)), as lists of what is allowed: what is on none of
//! them is answered as by a kernel that has no such call, so that a later libc that tries it first goes
//! another way.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// What frames need that descriptors carry which are there already.
const MOVE_FRAMES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_ppoll,
    libc::SYS_close,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What any thread of any program needs: memory, locks, clocks, signals, its end.
const RUN: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the threads besides need that keep sessions, read files, answer at the control socket and look
/// up names; where, landlock limits. No call starts a program, looks into another process, or changes
/// what the kernel holds of this one but to give up rights.
const MANAGE: &[c_long] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_getdents64,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))] // newer ones have renameat2 alone
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_umask,
    libc::SYS_ioctl,
    // Sockets and what threads wake one another by.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_pselect6,
    // Threads, libraries of name services, who this is.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_membarrier,
    libc::SYS_set_tid_address,
    libc::SYS_sched_setaffinity,
    libc::SYS_prlimit64,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getrusage,
    // Of its own children alone: the process that starts hooks.
    libc::SYS_wait4,
    // To give up more.
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_capget,
    libc::SYS_capset,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

/// The filters of a tunnel's threads.
#[derive(Debug)]
pub(super) struct Filters {
    /// For all of them.
    pub(super) process: BpfProgram,
    /// For a thread that moves frames, on top of that.
    pub(super) worker: BpfProgram,
}

impl Filters {
    /// # Errors
    /// Where this processor's calls are not known.
    pub(super) fn new() -> Result<Self, BackendError> {
        // Neither makes a process: clone(2) for threads alone; where clone3(2) says which of the two
        // it is a filter cannot see, so that libc is sent to the former.
        let threads = argument(0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64)?;
        let process = [MOVE_FRAMES, RUN, MANAGE].concat();
        // To this process alone, as abort(3) does.
        let abort = || argument(0, u32::MAX.into(), std::process::id().into());
        let process =
            program(&process, [(libc::SYS_clone, threads), (libc::SYS_tgkill, abort()?)])?;
        // Memory, but no code.
        let no_code = || argument(2, libc::PROT_EXEC as u64, 0);
        // Of its own thread alone, as `--pin` has it.
        let own = argument(0, u32::MAX.into(), 0)?;
        let worker = [MOVE_FRAMES, RUN].concat();
        let limited = [
            (libc::SYS_mmap, no_code()?),
            (libc::SYS_mprotect, no_code()?),
            (libc::SYS_sched_setaffinity, own),
            (libc::SYS_tgkill, abort()?),
        ];
        let worker = program(&worker, limited)?;
        Ok(Self { process, worker })
    }
}

/// An argument, by its number, of which these bits have this value.
fn argument(number: u8, bits: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let (length, compare) = (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits));
    SeccompRule::new(vec![SeccompCondition::new(number, length, compare, value)?])
}

/// Allows these calls, and those of `limited` as far as their rule goes.
fn program(
    calls: &[c_long],
    limited: impl IntoIterator<Item = (c_long, SeccompRule)>,
) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, _> = calls.iter().map(|&call| (call, Vec::new())).collect();
    rules.extend(limited.into_iter().map(|(call, rule)| (call, vec![rule])));
    let refused = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()
}
