//! Namespaces, veth pairs, addresses and routes on the running kernel.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;

use acton_netns::{Error, Namespace, Veth, veth};
use pnet_base::MacAddr;

testbed::main! {
    a_fresh_namespace_is_empty_but_for_lo,
    closures_threads_and_programs_are_inside,
    a_panic_inside_goes_on_outside,
    dropping_the_last_holder_frees_the_devices,
    the_path_names_the_namespace: ["nsenter"],
    a_pair_carries_tcp_over_ipv4_and_ipv6,
    a_pair_has_the_mtu_and_macs_asked_for,
    both_ends_may_be_in_one_namespace,
    a_default_route_leads_through_a_router,
    refusals_say_what_failed,
}

const V4_A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const V4_B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

fn pair(options: &Veth) -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    veth(&a, "a0", &b, "b0", options).unwrap();
    (a, b)
}

fn shell(namespace: &Namespace, command: &str) -> String {
    namespace.run(|| testbed::sh(command))
}

/// Sends a line by TCP to `address` in `b` and returns the address it came from.
fn sent_across(a: &Namespace, b: &Namespace, address: IpAddr) -> IpAddr {
    let listener = b.run(|| TcpListener::bind((address, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut sender = a.run(|| TcpStream::connect(address).unwrap());
    let (mut receiver, from) = listener.accept().unwrap();
    sender.write_all(b"across").unwrap();
    drop(sender);
    let mut text = String::new();
    receiver.read_to_string(&mut text).unwrap();
    assert_eq!(text, "across");
    from.ip()
}

/// The inode number, which is what tells two namespaces apart (namespaces(7)).
fn own_inode() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

fn a_fresh_namespace_is_empty_but_for_lo() {
    let namespace = Namespace::new().unwrap();
    let links = shell(&namespace, "ip -o link");
    assert_eq!(links.lines().count(), 1, "{links}");
    assert!(links.contains("lo: <LOOPBACK,UP,LOWER_UP>"), "{links}");
    // The address comes with the device.
    namespace.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
}

fn closures_threads_and_programs_are_inside() {
    let here = own_inode();
    let namespace = Namespace::new().unwrap();
    let inside = namespace.run(own_inode);
    assert_ne!(inside, here);
    assert_eq!(own_inode(), here, "the calling thread has moved");
    assert_eq!(namespace.spawn_thread(own_inode).unwrap().join().unwrap(), inside);
    let output = namespace
        .output(Command::new("stat").args(["-L", "-c", "%i", "/proc/self/ns/net"]))
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), inside.to_string());
    let mut child = namespace.spawn(Command::new("sh").args(["-c", "exit 7"])).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));

    namespace.enter().unwrap();
    assert_eq!(own_inode(), inside);
    assert_eq!(Namespace::current().unwrap().run(own_inode), inside);
}

fn a_panic_inside_goes_on_outside() {
    let namespace = Namespace::new().unwrap();
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        namespace.run(|| panic::resume_unwind(Box::new("a reason")));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"a reason"));
}

fn dropping_the_last_holder_frees_the_devices() {
    let (a, b) = pair(&Veth::new());
    assert!(shell(&a, "ip -o link").contains("a0@"));
    drop(b);
    // The kernel frees a namespace from a work queue, soon.
    for _ in 0..500 {
        if !shell(&a, "ip -o link").contains("a0@") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the pair outlived one of its namespaces");
}

fn the_path_names_the_namespace() {
    let (a, _b) = pair(&Veth::new());
    let links = testbed::sh(&format!("nsenter --net={} ip -o link", a.path().display()));
    assert!(links.contains("a0@"), "{links}");
}

fn a_pair_carries_tcp_over_ipv4_and_ipv6() {
    let (a, b) = pair(&Veth::new());
    let v6: [IpAddr; 2] = ["fd00::1".parse().unwrap(), "fd00::2".parse().unwrap()];
    for ([left, right], prefix_len) in [([V4_A, V4_B], 24), (v6, 64)] {
        a.add_address("a0", left, prefix_len).unwrap();
        b.add_address("b0", right, prefix_len).unwrap();
        assert_eq!(sent_across(&a, &b, right), left);
    }
}

fn a_pair_has_the_mtu_and_macs_asked_for() {
    let macs = [MacAddr::new(2, 0, 0, 0, 0, 0xa), MacAddr::new(2, 0, 0, 0, 0, 0xb)];
    let (a, b) = pair(&Veth::new().mtu(9000).macs(macs[0], macs[1]));
    // By reference: with the first of them its end of the pair would go, and the other end with it.
    for (namespace, device, mac) in [(&a, "a0", macs[0]), (&b, "b0", macs[1])] {
        let link = shell(namespace, &format!("ip -o link show {device}"));
        assert!(link.contains("mtu 9000 "), "{link}");
        assert!(link.contains(&format!("link/ether {mac} ")), "{link}");
        assert!(link.contains(",UP,LOWER_UP>"), "{link}");
    }
}

fn both_ends_may_be_in_one_namespace() {
    let only = Namespace::new().unwrap();
    veth(&only, "x", &only, "a-name-of-15-by", &Veth::new()).unwrap();
    let links = shell(&only, "ip -o link");
    assert!(links.contains("x@a-name-of-15-by:"), "{links}");
}

fn a_default_route_leads_through_a_router() {
    let (a, router, b) =
        (Namespace::new().unwrap(), Namespace::new().unwrap(), Namespace::new().unwrap());
    veth(&a, "up", &router, "to-a", &Veth::new()).unwrap();
    veth(&b, "up", &router, "to-b", &Veth::new()).unwrap();
    let end = |namespace: &Namespace, device: &str, address: &str, prefix_len| {
        namespace.add_address(device, address.parse().unwrap(), prefix_len).unwrap();
    };
    end(&a, "up", "10.0.1.2", 24);
    end(&a, "up", "fd00:1::2", 64);
    end(&router, "to-a", "10.0.1.1", 24);
    end(&router, "to-a", "fd00:1::1", 64);
    end(&router, "to-b", "10.0.2.1", 24);
    end(&router, "to-b", "fd00:2::1", 64);
    end(&b, "up", "10.0.2.2", 24);
    end(&b, "up", "fd00:2::2", 64);
    // /proc/sys/net is that of the thread that opens it.
    router.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    });
    for (namespace, net) in [(&a, 1), (&b, 2)] {
        namespace.add_default_route(format!("10.0.{net}.1").parse().unwrap()).unwrap();
        namespace.add_default_route(format!("fd00:{net}::1").parse().unwrap()).unwrap();
    }
    for [from, to] in [["10.0.1.2", "10.0.2.2"], ["fd00:1::2", "fd00:2::2"]] {
        assert_eq!(sent_across(&a, &b, to.parse().unwrap()), from.parse::<IpAddr>().unwrap());
    }
}

fn refusals_say_what_failed() {
    let (a, b) = pair(&Veth::new());
    let message = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let text = message(veth(&a, "a0", &b, "b1", &Veth::new()));
    assert!(text.contains("a0, b1: cannot make a veth pair: File exists"), "{text}");
    // A pair is made whole or not at all.
    let text = message(veth(&a, "a1", &b, "b0", &Veth::new()));
    assert!(text.contains("File exists"), "{text}");
    assert!(!shell(&a, "ip -o link").contains(" a1@"));
    for name in ["", "a-name-of-16-byt", "a/b", "a b", "..", "a:b"] {
        let result = veth(&a, name, &b, "b1", &Veth::new());
        assert!(matches!(result, Err(Error::DeviceName(_))), "{name}: {result:?}");
    }
    let text = message(a.link_up("none"));
    assert!(text.contains("none: cannot bring it up: ") && text.contains("No such"), "{text}");
    let result = a.add_address("a0", V4_A, 33);
    assert!(matches!(result, Err(Error::PrefixLength { prefix_len: 33, .. })), "{result:?}");
    a.add_address("a0", V4_A, 24).unwrap();
    let text = message(a.add_address("a0", V4_A, 24));
    assert!(text.contains("a0: cannot add an address: File exists"), "{text}");
    let text = message(a.add_default_route(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
    assert!(text.contains("192.0.2.1: cannot add a default route"), "{text}");
    assert!(text.contains("unreachable"), "{text}");
}
