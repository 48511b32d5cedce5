//! What a user without privileges is told: this program runs itself again as one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::process::Command;

use acton_tap::{Interface, MacAddr, Tap};
use testbed::{Test, sh};

/// Set in the child, to what it is to try.
const ATTEMPT: &str = "ACTON_TAP_ATTEMPT";

/// What the child prints: the message of the error that each attempt must end in.
fn attempt(what: &str) -> Option<String> {
    let error = match what {
        "build" => Tap::builder().name("t0").build().err(),
        "mac" => Interface::open("lo").ok()?.set_mac(MacAddr::new(2, 0, 0, 0, 0, 1)).err(),
        "addresses" => Interface::open("lo").ok()?.addresses().err(),
        _ => None,
    };
    error.map(|error| error.to_string())
}

/// Runs `what` under setpriv(1) with `options`; empty if it succeeded.
fn as_child(options: &str, what: &str) -> String {
    let program = env::current_exe().unwrap();
    let output = Command::new("setpriv")
        .args(options.split(' '))
        .arg(program)
        .env(ATTEMPT, what)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const NO_NET_ADMIN: &str = "--bounding-set=-net_admin --inh-caps=-net_admin";

fn without_cap_net_admin() {
    assert_eq!(
        as_child(NO_NET_ADMIN, "build"),
        "/dev/net/tun: permission denied: needs CAP_NET_ADMIN to create or attach t0; run as root \
         or in a user namespace"
    );
    assert_eq!(
        as_child(NO_NET_ADMIN, "mac"),
        "lo: permission denied: needs CAP_NET_ADMIN to set its MAC to 02:00:00:00:00:01; run as \
         root or in a user namespace"
    );
    assert_eq!(as_child(NO_NET_ADMIN, "addresses"), "", "reading needs no privilege");
}

fn the_owner_needs_no_capability() {
    sh("ip tuntap add t0 mode tap user 0");
    assert_eq!(as_child(NO_NET_ADMIN, "build"), "");
    sh("ip tuntap del t0 mode tap; ip tuntap add t0 mode tap user 4711");
    let refused = as_child(NO_NET_ADMIN, "build");
    assert!(refused.contains("needs CAP_NET_ADMIN to create or attach t0"), "{refused}");
}

/// The mode of /dev/net/tun is the machine's: whichever it is, the message fits.
fn without_root() {
    // The test binary may lie where only root can read: a copy of it does not.
    let program = env::current_exe().unwrap();
    let directory = env::temp_dir().join(format!("acton-tap-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let copy = directory.join("permission");
    // By a child: what a fork of this process has open for writing does not run (ETXTBSY).
    sh(&format!("cp {} {}", program.display(), copy.display()));
    sh(&format!("chmod 755 {} {}", directory.display(), copy.display()));
    let message = sh(&format!(
        "{ATTEMPT}=build setpriv --reuid=65534 --regid=65534 --clear-groups {}",
        copy.display()
    ));
    std::fs::remove_dir_all(directory).unwrap();
    let open_to_all = sh("stat -L -c %a /dev/net/tun").trim().ends_with('6');
    let expected =
        if open_to_all { "needs CAP_NET_ADMIN" } else { "its file mode keeps this user" };
    assert!(message.contains(&format!("permission denied: {expected}")), "{message}");
}

fn main() {
    if let Ok(what) = env::var(ATTEMPT) {
        print!("{}", attempt(&what).unwrap_or_default());
        return;
    }
    let test = |name, body| Test { name, needs: &["setpriv"], body };
    testbed::run(&[
        test("without_cap_net_admin", without_cap_net_admin),
        test("the_owner_needs_no_capability", the_owner_needs_no_capability),
        test("without_root", without_root),
    ])
}
