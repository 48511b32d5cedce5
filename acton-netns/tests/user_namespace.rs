//! A user namespace gives an ordinary user what the rest of the crate needs.
//!
//! It can be entered from a process with one thread only, so the test runs this program again,
//! as the user "nobody", and there it does the work.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::env;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use acton_netns::{Error, Namespace, Veth, enter_user_namespace, veth};

/// Set in the process that plays the ordinary user.
const ROLE: &str = "ACTON_NETNS_ORDINARY_USER";
/// "nobody" and "nogroup" on Debian and most others; any number but root's would do.
const NOBODY: u32 = 65_534;

fn main() {
    if env::var_os(ROLE).is_some() {
        return ordinary_user();
    }
    testbed::run(&[testbed::Test {
        name: "an_ordinary_user_may_build_a_network",
        needs: &[],
        body: an_ordinary_user_may_build_a_network,
    }])
}

fn an_ordinary_user_may_build_a_network() {
    let output = Command::new(env::current_exe().unwrap())
        .env(ROLE, "1")
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text, "across");
}

fn ordinary_user() {
    let refused = Namespace::new().unwrap_err();
    assert!(matches!(refused, Error::Create(_)), "{refused}");
    assert!(refused.to_string().contains("run as root or in a user namespace"), "{refused}");

    // A thread that is about to end does no harm, as that of the refused namespace may be.
    thread::spawn(|| thread::sleep(Duration::from_millis(50)));
    enter_user_namespace().unwrap();
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    veth(&a, "a0", &b, "b0", &Veth::new()).unwrap();
    a.add_address("a0", "10.0.0.1".parse().unwrap(), 24).unwrap();
    b.add_address("b0", "10.0.0.2".parse().unwrap(), 24).unwrap();
    let receiver = b.run(|| UdpSocket::bind("10.0.0.2:0")).unwrap();
    let sender = a.run(|| UdpSocket::bind("10.0.0.1:0")).unwrap();
    sender.send_to(b"across", receiver.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 16];
    let length = receiver.recv(&mut bytes).unwrap();
    print!("{}", String::from_utf8_lossy(&bytes[..length]));
}
