//! The host itself.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::{self, Command};

use super::patient::{Held, Look, Patient, Scratch, mend};
use super::support::KeyRing;

pub(crate) fn a_missing_device_node() {
    let held = Held::new(&["--mount"], "mount -t tmpfs none /dev/net", &["--mount"]);
    mend(&Patient::Held(&held), "tun_device", "failed", &[]);
}

pub(crate) fn no_user_namespaces() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces";
    let enter = &["--user", "--preserve-credentials"];
    let held = Held::new(&["--user", "--map-root-user"], script, enter);
    mend(&Patient::Held(&held), "user_namespaces", "warning", &[]);
}

pub(crate) fn a_program_without_its_capability() {
    let scratch = Scratch::new("capability");
    let copy = copy_for_all(&scratch);
    let sick = look_as_nobody(&copy, &[]);
    assert_eq!(sick.verdict("capabilities"), "warning", "{sick:?}");
    Patient::Here.run(&sick.fix("capabilities"));
    assert_eq!(look_as_nobody(&copy, &[]).verdict("capabilities"), "ok");
}

/// What this copy of the program says to an ordinary user.
#[track_caller]
fn look_as_nobody(program: &str, arguments: &[&str]) -> Look {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program, "doctor", "--json"]);
    Patient::Here.look_with(&mut command, arguments)
}

/// A copy of the program where everybody may run it.
fn copy_for_all(scratch: &Scratch) -> String {
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scratch.path("acton");
    fs::copy(env!("CARGO_BIN_EXE_acton"), &copy).unwrap();
    copy
}

pub(crate) fn an_ordinary_user_is_told_much() {
    let scratch = Scratch::new("ordinary");
    let look = look_as_nobody(&copy_for_all(&scratch), &["127.0.0.1:9", "--plain"]);
    assert_eq!(look.verdict("route"), "ok");
    assert_eq!(look.verdict("server"), "failed");
    assert!(look.measured("server").contains("nobody listens"), "{look:?}");
    assert_eq!(look.verdict("link_mtu"), "ok");
    assert_eq!(look.verdict("firewall"), "unknown");
    assert_eq!(look.verdict("tap_offload"), "skipped");
}

pub(crate) fn a_forgetful_table_of_connections() {
    Patient::Here.run("sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=5");
    mend(&Patient::Here, "conntrack", "warning", &[]);
}

pub(crate) fn a_list_that_a_server_would_refuse() {
    let keys = KeyRing::new();
    keys.server();
    let state = keys.server_state();
    let look = || Patient::Here.look(&["--state", &*state]);
    assert_eq!(look().verdict("clients"), "skipped", "{:?}", look());
    let list = format!("{state}/clients");
    fs::write(&list, "[default]\nmax_macs = 1\n").unwrap();
    let refused = look();
    assert_eq!(refused.verdict("clients"), "failed", "{refused:?}");
    assert!(refused.measured("clients").contains("clients:2:1"), "{refused:?}");
    fs::write(&list, "[default]\nmax-macs = 1\n").unwrap();
    assert_eq!(look().verdict("clients"), "ok", "{:?}", look());
}

pub(crate) fn key_files_that_others_read() {
    let keys = KeyRing::new();
    keys.server();
    let state = keys.server_state();
    let arguments = ["--state", &*state];
    let look = Patient::Here.look(&arguments);
    assert_eq!(look.verdict("keys"), "ok", "{look:?}");
    for breaking in [
        format!("chmod 644 {state}/network.key"),
        format!("chmod 777 {state}"),
        format!("chown 12345 {state}/server.key"),
    ] {
        Patient::Here.run(&breaking);
        mend(&Patient::Here, "keys", "failed", &arguments);
    }
    fs::write(format!("{state}/server.key"), "no key").unwrap();
    assert_eq!(Patient::Here.look(&arguments).verdict("keys"), "failed");
}

/// Runs the program behind it with a kernel that knows of no segmentation of UDP, as before Linux 6.2.
const WITHOUT_USO: &str = r"
import ctypes, os, struct, sys
ioctl = {'x86_64': 16, 'aarch64': 29}[os.uname().machine]
TUNSETOFFLOAD, USO = 0x400454d0, 0x60                                  # linux/if_tun.h
instruction = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
code = (instruction(0x20, 0, 0, 0) + instruction(0x15, 0, 5, ioctl)      # the number of the call
        + instruction(0x20, 0, 0, 24) + instruction(0x15, 0, 3, TUNSETOFFLOAD)
        + instruction(0x20, 0, 0, 32) + instruction(0x45, 0, 1, USO)      # what is asked for
        + instruction(0x06, 0, 0, 0x50000 | 22) + instruction(0x06, 0, 0, 0x7fff0000))  # EINVAL
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0                                 # PR_SET_NO_NEW_PRIVS
filter = Program(len(code) // 8, code)
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0              # PR_SET_SECCOMP
os.execv(sys.argv[1], sys.argv[1:])
";

/// What helps is another kernel, as the one that these tests run on.
pub(crate) fn a_kernel_of_fewer_offloads() {
    let mut command = Command::new("python3");
    command.args(["-c", WITHOUT_USO, env!("CARGO_BIN_EXE_acton"), "doctor", "--json"]);
    let sick = Patient::Here.look_with(&mut command, &[]);
    assert_eq!(sick.verdict("tap_offload"), "warning", "{sick:?}");
    assert!(sick.measured("tap_offload").contains("USO"), "{sick:?}");
    assert!(!sick.measured("tap_offload").contains("TSO"), "{sick:?}");
    assert_eq!(Patient::Here.look(&[]).verdict("tap_offload"), "ok");
}

/// The limit of receive buffers, which is all of the host's; put back when dropped.
struct BufferLimit {
    before: String,
    /// Held while it is another, so that no other run of this test changes it meanwhile.
    _lock: File,
}

impl BufferLimit {
    fn new() -> Self {
        let lock = File::create(std::env::temp_dir().join("acton-test-rmem_max.lock")).unwrap();
        lock.lock().unwrap();
        let before = testbed::sh("sysctl -n net.core.rmem_max").trim().to_owned();
        Self { before, _lock: lock }
    }

    /// Runs a command where the limit may be changed: in the network namespace that the tests were
    /// started in.
    fn run(command: &str) -> bool {
        let namespace = format!("--net=/proc/{}/ns/net", process::id());
        let mut entering = Command::new("nsenter");
        entering.args([&namespace, "sh", "-ec", command]).output().unwrap().status.success()
    }
}

impl Drop for BufferLimit {
    fn drop(&mut self) {
        Self::run(&format!("sysctl -w net.core.rmem_max={}", self.before));
    }
}

/// Root is not held to the limit, so that an ordinary user looks. In a container nobody may change it:
/// then what is said is to be right of the limit that there is.
pub(crate) fn a_receive_buffer_that_is_too_small() {
    let scratch = Scratch::new("buffer");
    let copy = copy_for_all(&scratch);
    let limit = BufferLimit::new();
    let is_changed = BufferLimit::run("sysctl -w net.core.rmem_max=212992");
    let sick = look_as_nobody(&copy, &[]);
    if !is_changed && limit.before.parse::<u64>().unwrap() >= 4 << 20 {
        assert_eq!(sick.verdict("receive_buffer"), "ok", "{sick:?}");
        return;
    }
    assert_eq!(sick.verdict("receive_buffer"), "warning", "{sick:?}");
    let mended = BufferLimit::run(&sick.fix("receive_buffer"));
    assert_eq!(mended, is_changed);
    let well = look_as_nobody(&copy, &[]);
    assert_eq!(well.verdict("receive_buffer") == "ok", mended, "{well:?}");
}
