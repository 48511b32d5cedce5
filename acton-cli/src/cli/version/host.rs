//! What acton finds of this kernel that it can use. Asking changes nothing and needs no privilege.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::thread;

use acton_tap::Driver;
use landlock::{ABI, Access, AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::utsname::uname;

/// The switches that keep ordinary users from user namespaces, and what they say then.
const USER_NAMESPACE_SWITCHES: [(&str, &str); 3] = [
    ("user.max_user_namespaces", "0"),
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
];

/// Each thing, and what was found of it.
pub(super) fn found() -> Vec<(&'static str, String)> {
    vec![
        ("kernel", kernel()),
        ("/dev/net/tun", tun()),
        ("UDP", udp()),
        ("landlock", landlock()),
        ("seccomp", seccomp()),
        ("network namespaces", yes_or_no(Path::new("/proc/self/ns/net").exists())),
        ("user namespaces", user_namespaces()),
    ]
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn kernel() -> String {
    match uname() {
        Ok(name) => format!(
            "{} {} {}",
            name.sysname().display(),
            name.release().display(),
            name.machine().display()
        ),
        Err(error) => format!("not known: {error}"),
    }
}

fn tun() -> String {
    let driver = match Driver::query() {
        Ok(driver) => driver,
        Err(error) => {
            // It begins with the file's name, as this line does.
            let error = error.to_string();
            return error.strip_prefix("/dev/net/tun: ").unwrap_or(&error).to_owned();
        }
    };
    list(&[
        (driver.multi_queue, "several queues (IFF_MULTI_QUEUE)"),
        (driver.vnet_header, "super-frames (IFF_VNET_HDR)"),
    ])
}

fn udp() -> String {
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(socket) => list(&[
            (getsockopt(&socket, sockopt::UdpGsoSegment).is_ok(), "segmentation (UDP_SEGMENT)"),
            (getsockopt(&socket, sockopt::UdpGroSegment).is_ok(), "merging (UDP_GRO)"),
        ]),
        Err(error) => format!("not known: {error}"),
    }
}

fn list(found: &[(bool, &str)]) -> String {
    let found: Vec<_> = found.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    if found.is_empty() { "nothing of use".to_owned() } else { found.join(", ") }
}

fn landlock() -> String {
    // The crate tells of the kernel only who was confined: here a thread that ends with that.
    let confined = thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1))?;
        ruleset.create()?.restrict_self()
    });
    match confined.join() {
        Ok(Ok(status)) => match status.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                format!("version {} of its interface", kernel_abi.unwrap_or(effective_abi as i32))
            }
            LandlockStatus::NotEnabled => "not enabled: add it to the kernel's lsm=".to_owned(),
            LandlockStatus::NotImplemented => "no: Linux 5.13 has it".to_owned(),
        },
        Ok(Err(error)) => format!("not known: {error}"),
        Err(_) => "not known".to_owned(),
    }
}

fn seccomp() -> String {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    yes_or_no(actions.is_ok_and(|actions| actions.split_whitespace().any(|word| word == "errno")))
}

fn user_namespaces() -> String {
    if !Path::new("/proc/self/ns/user").exists() {
        return "no".to_owned();
    }
    let closed = USER_NAMESPACE_SWITCHES.iter().find(|(name, closed)| {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::read_to_string(file).is_ok_and(|value| value.trim() == *closed)
    });
    match closed {
        Some((name, value)) => format!("not for ordinary users (sysctl {name} = {value})"),
        None => "yes".to_owned(),
    }
}
