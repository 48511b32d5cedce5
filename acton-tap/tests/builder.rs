//! Making and attaching TAPs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;

use acton_tap::{Driver, Error, Interface, Offloads, Tap};
use testbed::sh;
use util::{close, eventually};

mod util;

fn exists(name: &str) -> bool {
    Interface::open(name).is_ok()
}

fn names_of_1_to_15_bytes() {
    for name in ["a", "fifteen-bytes-0", "tüp0"] {
        let tap = Tap::builder().name(name).build().unwrap();
        assert_eq!(tap.name(), name);
        assert_eq!(tap.queues()[0].name().unwrap(), name);
        assert!(sh(&format!("ip -d link show dev {name}")).contains("tun type tap"));
        close(tap);
    }
    let error = Tap::builder().name("sixteen-bytes-00").build().unwrap_err();
    assert!(matches!(error, Error::Name { .. }), "{error:?}");
    assert!(error.to_string().contains("\"sixteen-bytes-00\" is too long"), "{error}");
    // Any name that we refuse, the kernel would refuse, or cut, too.
    for name in ["", "a b", "a/b", "voilà"] {
        let error = Tap::builder().name(name).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}: {error}");
    }
    assert!(sh("ip -o link | wc -l").trim() == "1", "only lo is there");
}

fn the_kernel_numbers_names() {
    let taps =
        ["tap%d", "tap%d", "acton-%d"].map(|name| Tap::builder().name(name).build().unwrap());
    assert_eq!(taps.each_ref().map(Tap::name), ["tap0", "tap1", "acton-0"]);
    let default = Tap::builder().queues(2).build().unwrap();
    assert_eq!(default.name(), "tap2");
    assert!(default.queues().iter().all(|queue| queue.name().unwrap() == "tap2"));
}

fn the_driver_says_what_it_can() {
    let driver = Driver::query().unwrap();
    assert!(sh("ip -o link | wc -l").trim() == "1", "asking makes no interface");
    let several = Tap::builder().queues(2).build().is_ok();
    let header = Tap::builder().vnet_header(true).build().is_ok();
    assert_eq!((driver.multi_queue, driver.vnet_header), (several, header));
}

fn exclusive_fails_if_the_name_is_taken() {
    let exclusive = || Tap::builder().name("t0").exclusive(true).queues(2).build();
    let tap = exclusive().unwrap();
    assert_eq!(tap.queues().len(), 2);
    assert!(matches!(exclusive().unwrap_err(), Error::Exists { .. }));
    // A TAP that nobody holds is taken too.
    tap.set_persist(true).unwrap();
    drop(tap);
    let error = exclusive().unwrap_err();
    assert_eq!(
        error.to_string(),
        "t0: an interface of that name exists; choose another name or remove it"
    );
    Tap::builder().name("t0").persist(false).build().unwrap();
    eventually("the name to be free", || exclusive().is_ok());
}

fn a_busy_tap_says_so() {
    let tap = Tap::builder().name("t0").build().unwrap();
    let error = Tap::builder().name("t0").build().unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(error.to_string().contains("t0: in use by another program"), "{error}");
    drop(tap);
    eventually("it to be free", || Tap::builder().name("t0").build().is_ok());
}

fn another_kind_of_interface_says_so() {
    sh("ip link add br0 type bridge; ip tuntap add tun0 mode tun; ip tuntap add tap0 mode tap");
    for name in ["br0", "tun0", "lo"] {
        let error = Tap::builder().name(name).build().unwrap_err();
        assert!(matches!(error, Error::NotTap { .. }), "{name}: {error:?}");
    }
    let error = Tap::builder().name("tap0").queues(2).build().unwrap_err();
    assert!(matches!(error, Error::SingleQueue { .. }), "{error:?}");
    Tap::builder().name("tap0").build().unwrap();
}

fn one_queue_of_a_tap_made_for_several() {
    sh("ip tuntap add tap0 mode tap multi_queue");
    let tap = Tap::builder().name("tap0").build().unwrap();
    let more = Tap::builder().name("tap0").queues(2).build().unwrap();
    let status = more.interface().tap_status().unwrap().unwrap();
    assert!(status.multi_queue);
    assert_eq!(status.queues, 3);
    drop(tap);
    let queues = || more.interface().tap_status().unwrap().unwrap().queues;
    eventually("two queues to be left", || queues() == 2);
}

fn the_number_of_queues_is_limited() {
    for count in [0, 257] {
        let error = Tap::builder().queues(count).build().unwrap_err();
        assert!(matches!(error, Error::QueueCount(n) if n == count), "{error:?}");
    }
    let tap = Tap::builder().name("t0").queues(256).build().unwrap();
    assert_eq!(tap.interface().tap_status().unwrap().unwrap().queues, 256);
    let error = Tap::builder().name("t0").queues(2).build().unwrap_err();
    assert!(error.to_string().contains("as many queues as a TAP can"), "{error}");
}

fn a_persistent_tap_survives_and_is_removable() {
    let tap = Tap::builder()
        .name("t0")
        .persist(true)
        .vnet_header(true)
        .offloads(Offloads::all())
        .build()
        .unwrap();
    assert!(tap.queues()[0].is_persistent().unwrap());
    assert!(tap.interface().tap_status().unwrap().unwrap().persist);
    drop(tap);
    assert!(exists("t0"));
    let features = || sh("ethtool -k t0 | grep -E '^tcp-segmentation-offload:'");
    assert!(features().contains(": on"), "the kernel keeps offloads: {}", features());

    // Attaching leaves persistence alone but not the offloads.
    let mut tap = None;
    eventually("it to be free", || {
        tap = Tap::builder().name("t0").build().ok();
        tap.is_some()
    });
    let tap = tap.unwrap();
    assert!(tap.queues()[0].is_persistent().unwrap());
    assert!(features().contains(": off"), "{}", features());
    assert!(!tap.interface().tap_status().unwrap().unwrap().vnet_header);
    tap.set_persist(false).unwrap();
    assert!(!tap.queues()[0].is_persistent().unwrap());
    close(tap);
}

fn owner_and_group() {
    let tap = Tap::builder().name("t0").build().unwrap();
    let status = tap.interface().tap_status().unwrap().unwrap();
    assert_eq!((status.owner, status.group), (None, None));
    assert_eq!((status.multi_queue, status.queues), (false, 0));
    close(tap);

    let tap = Tap::builder().name("t0").owner(1234).group(70_000).build().unwrap();
    let status = tap.interface().tap_status().unwrap().unwrap();
    assert_eq!((status.owner, status.group), (Some(1234), Some(70_000)));
    let ip = sh("ip -d link show t0");
    assert!(ip.contains("user 1234") && ip.contains("group 70000"), "{ip}");
    tap.queues()[0].set_owner(0).unwrap();
    assert_eq!(tap.interface().tap_status().unwrap().unwrap().owner, Some(0));
}

fn a_build_that_fails_leaves_nothing() {
    // uid_t's -1 is no user, so the step after TUNSETIFF fails.
    let error = Tap::builder().name("t0").persist(true).owner(u32::MAX).build().unwrap_err();
    assert!(error.to_string().contains("t0: cannot set the owner to 4294967295"), "{error}");
    eventually("nothing to be left", || !exists("t0"));
}

fn carrier_ends_the_unknown_state() {
    let state = || sh("ip -o link show t0");
    let tap = Tap::builder().name("t0").carrier(true).build().unwrap();
    tap.interface().up().unwrap();
    eventually("state UP", || state().contains("state UP"));
    assert!(tap.interface().is_running().unwrap());
    tap.set_carrier(false).unwrap();
    eventually("NO-CARRIER", || state().contains("NO-CARRIER"));
    assert!(tap.interface().is_up().unwrap());
    assert!(!tap.interface().is_running().unwrap());
    tap.set_carrier(true).unwrap();
    eventually("state UP again", || state().contains("state UP"));
    close(tap);

    let tap = Tap::builder().name("t0").carrier(false).build().unwrap();
    tap.interface().up().unwrap();
    eventually("NO-CARRIER", || state().contains("NO-CARRIER"));
}

fn offloads_are_probed() {
    let build = |offloads| Tap::builder().vnet_header(true).offloads(offloads).build().unwrap();
    // This crate needs no kernel that knows USO, so the test asks what this one knows.
    let all = build(Offloads::all()).offloads();
    assert!(all.contains(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6), "{all}");
    let csum = Offloads::CSUM;
    assert_eq!(build(csum).offloads(), csum);
    assert_eq!(build(csum | Offloads::TSO4).offloads(), csum | Offloads::TSO4);
    // What the kernel refuses is left out, and no more than that.
    assert_eq!(build(csum | Offloads::TSO4 | Offloads::USO4).offloads(), csum | Offloads::TSO4);
    assert_eq!(build(csum | Offloads::TSO_ECN).offloads(), csum);
    assert_eq!(build(Offloads::TSO4 | Offloads::TSO6).offloads(), Offloads::none());

    let tap = build(Offloads::all());
    assert_eq!(tap.queues()[0].set_offloads(csum).unwrap(), csum);
    let features = sh(&format!("ethtool -k {}", tap.name()));
    assert!(features.contains("tcp-segmentation-offload: off"), "{features}");

    let error = Tap::builder().offloads(csum).build().unwrap_err();
    assert!(matches!(error, Error::OffloadsWithoutHeader), "{error:?}");
    let plain = Tap::builder().build().unwrap();
    let error = plain.queues()[0].set_offloads(csum).unwrap_err();
    assert!(matches!(error, Error::OffloadsWithoutHeader), "{error:?}");
}

testbed::main! {
    names_of_1_to_15_bytes,
    the_kernel_numbers_names,
    the_driver_says_what_it_can,
    exclusive_fails_if_the_name_is_taken,
    a_busy_tap_says_so,
    another_kind_of_interface_says_so,
    one_queue_of_a_tap_made_for_several,
    the_number_of_queues_is_limited,
    a_persistent_tap_survives_and_is_removable: ["ethtool"],
    owner_and_group,
    a_build_that_fails_leaves_nothing,
    carrier_ends_the_unknown_state,
    offloads_are_probed: ["ethtool"],
}
