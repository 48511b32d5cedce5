use super::check::check;
use super::*;

use acton_netlink::PortVlans;

fn fabric(role: Role) -> Fabric {
    let (local, peers) = match role {
        Role::Root => ("192.0.2.1", "192.0.2.11,192.0.2.12"),
        Role::LeafServer => ("192.0.2.11", "192.0.2.1,192.0.2.2"),
    };
    Fabric {
        role,
        local: local.parse().unwrap(),
        peers: peers.split(',').map(|peer| peer.parse().unwrap()).collect(),
        roots: if role == Role::Root { vec!["192.0.2.2".parse().unwrap()] } else { Vec::new() },
        vnis: vec!["100".parse().unwrap()],
        bridge: "br0".to_owned(),
        ports: vec![if role == Role::Root { "eth1" } else { "lan0" }.parse().unwrap()],
        mtu: 1_500,
        knowledge: Knowledge::Bgp { asn: 65_000 },
    }
}

fn by_frames(role: Role) -> Fabric {
    Fabric { knowledge: Knowledge::Frames, ..fabric(role) }
}

fn with_vlans(role: Role) -> Fabric {
    let vnis = ["100:10", "200:20"].map(|vni| vni.parse().unwrap()).to_vec();
    // A port of all VLANs, and one of one.
    let mut ports = fabric(role).ports;
    ports.push("lan2:20".parse().unwrap());
    Fabric { vnis, ports, peers: vec!["192.0.2.3".parse().unwrap()], ..fabric(role) }
}

/// What is printed stands in files, which SNAPSHOTS=write writes anew.
fn compare(name: &str, text: &str) {
    let path = format!("{}/src/evpn/snapshots/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SNAPSHOTS").is_some_and(|it| it == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(was == text, "SNAPSHOTS=write writes {name} anew; it is now:\n{text}");
}

#[test]
fn what_is_rendered_is_as_before() {
    for (role, name) in [(Role::Root, "root"), (Role::LeafServer, "leaf-server")] {
        let host = fabric(role);
        compare(&format!("{name}.links"), &host.links());
        compare(&format!("{name}.networkd"), &host.networkd());
        compare(&format!("{name}.frr"), &host.frr().unwrap());
        let host = by_frames(role);
        compare(&format!("{name}-static.links"), &host.links());
        compare(&format!("{name}-static.networkd"), &host.networkd());
        assert_eq!(host.frr(), None);
    }
    let host = with_vlans(Role::LeafServer);
    compare("leaf-server-vlans.links", &host.links());
    compare("leaf-server-vlans.networkd", &host.networkd());
    compare("leaf-server-vlans.frr", &host.frr().unwrap());
    let open = Fabric { peers: vec!["192.0.2.0/24".parse().unwrap()], ..fabric(Role::Root) };
    compare("root-open.frr", &open.frr().unwrap());
}

#[test]
fn leaf_servers_import_nothing_of_one_another() {
    for host in [fabric(Role::LeafServer), with_vlans(Role::LeafServer)] {
        let text = host.frr().unwrap();
        let named = |what: &str| -> BTreeSet<String> {
            let lines = text.lines().filter_map(|line| line.trim().strip_prefix(what));
            lines.map(str::to_owned).collect()
        };
        let imported = named("route-target import ");
        assert!(!imported.is_empty() && imported.is_disjoint(&named("route-target export ")));
    }
}

#[test]
fn what_is_no_fabric_is_said_so() {
    let refused = |change: &dyn Fn(&mut Fabric), role| {
        let mut host = fabric(role);
        change(&mut host);
        host.check().unwrap_err().to_string()
    };
    let peers = |peers: &[&str]| peers.iter().map(|peer| peer.parse().unwrap()).collect::<Vec<_>>();
    let vnis = |vnis: &[&str]| vnis.iter().map(|vni| vni.parse().unwrap()).collect::<Vec<_>>();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Fabric), Role);
    let changes: [Change<'_>; 11] = [
        ("is this host", &|it| it.peers = peers(&["192.0.2.1"]), Role::Root),
        ("no network", &|it| it.peers = peers(&["192.0.2.0/24"]), Role::LeafServer),
        ("stands twice", &|it| it.peers = peers(&["192.0.2.2"]), Role::Root),
        ("VLAN of its own", &|it| it.vnis = vnis(&["1", "2"]), Role::Root),
        ("VLAN of its own", &|it| it.vnis = vnis(&["1:5", "2:5"]), Role::Root),
        ("stands twice", &|it| it.vnis = vnis(&["1:5", "1:6"]), Role::Root),
        ("stands twice", &|it| it.ports.push(it.ports[0].clone()), Role::Root),
        ("is of no network", &|it| it.ports[0].vlan = Some(7), Role::Root),
        ("is for a root", &|it| it.roots = vec![Ipv4Addr::LOCALHOST], Role::LeafServer),
        ("is needed", &|it| it.peers.clear(), Role::LeafServer),
        (
            "no network",
            &|it| {
                it.knowledge = Knowledge::Frames;
                it.peers = peers(&["192.0.2.0/24"]);
            },
            Role::Root,
        ),
    ];
    for (says, change, role) in changes {
        let error = refused(change, role);
        assert!(error.contains(says), "{error}");
    }
    for text in ["0", "16777216", "x", "1:0", "1:4095", "1:x", ""] {
        assert!(text.parse::<Vni>().is_err(), "{text}");
    }
    for text in ["", "192.0.2.256", "2001:db8::1", "192.0.2.0/33"] {
        assert!(text.parse::<Peer>().is_err(), "{text}");
    }
}

fn in_vlan(vlan: u16, untagged: bool) -> PortVlans {
    PortVlans::new(vlan..=vlan, untagged, untagged)
}

/// A host that is as its fabric wants it.
fn good(host: &Fabric) -> Seen {
    let by_frames = host.knowledge == Knowledge::Frames;
    let vxlan = |vni: &Vni| VxlanSeen {
        up: true,
        joined: true,
        mtu: host.mtu,
        id: Some(vni.id),
        local: Some(host.local.into()),
        port: VXLAN_PORT,
        learns: by_frames,
        port_learns: by_frames,
        isolated: false,
        vlans: vni.vlan.iter().map(|&vlan| in_vlan(vlan, true)).collect(),
        floods_to: host.hosts().into_iter().map(Into::into).collect(),
    };
    let port = |port: &Port| PortSeen {
        joined: true,
        vlans: host.vlans_of(port).into_iter().map(|(vlan, bare)| in_vlan(vlan, bare)).collect(),
    };
    // As FRR prints it: in an order of its own, with more around.
    let frr = host.frr().unwrap_or_default();
    let frr =
        format!("Building configuration...\n\nfrr version 8.4.4\nhostname x\n!\n{frr}!\nend\n");
    Seen {
        bridge: Some(BridgeSeen { is_bridge: true, up: true, vlan_filtering: host.has_vlans() }),
        vxlans: host.vnis.iter().map(|vni| Some(vxlan(vni))).collect(),
        ports: host.ports.iter().map(port).collect(),
        underlay: vec![UnderlaySeen { name: "eth0".to_owned(), mtu: host.mtu + 50 }],
        bridge_filters: Vec::new(),
        frr: Ok(frr),
    }
}

#[test]
fn a_host_as_rendered_is_as_it_should_be() {
    for role in [Role::Root, Role::LeafServer] {
        for host in [fabric(role), by_frames(role), with_vlans(role)] {
            assert_eq!(check(&host, &good(&host)), [] as [&str; 0]);
        }
    }
}

#[test]
fn each_difference_is_told_once() {
    type Change = fn(&mut Seen);
    fn vxlan(seen: &mut Seen) -> &mut VxlanSeen {
        seen.vxlans[0].as_mut().unwrap()
    }
    let changes: [(&str, Change); 16] = [
        ("no bridge br0", |it| it.bridge = None),
        ("is no bridge", |it| it.bridge.as_mut().unwrap().is_bridge = false),
        ("br0 is down", |it| it.bridge.as_mut().unwrap().up = false),
        ("vlan_filtering 0", |it| it.bridge.as_mut().unwrap().vlan_filtering = true),
        ("there is no vx100", |it| it.vxlans[0] = None),
        ("of VNI 7", |it| vxlan(it).id = Some(7)),
        ("sends from no address", |it| vxlan(it).local = None),
        ("mtu 1500", |it| vxlan(it).mtu = 1_450),
        ("master br0", |it| vxlan(it).joined = false),
        ("is isolated", |it| vxlan(it).isolated = true),
        ("nolearning", |it| vxlan(it).learns = true),
        ("learning off", |it| vxlan(it).port_learns = true),
        ("--tap lan0 --bridge br0", |it| it.ports[0].joined = false),
        ("ip link set eth0 mtu 1550", |it| it.underlay[0].mtu = 1_549),
        ("--mtu 1450 at all servers", |it| it.underlay[0].mtu = 1_500),
        (": sysctl -w net.bridge.bridge-nf-call-iptables=0", |it| {
            it.bridge_filters.push("bridge-nf-call-iptables");
        }),
    ];
    let host = fabric(Role::LeafServer);
    for (says, change) in changes {
        let mut seen = good(&host);
        change(&mut seen);
        let found = check(&host, &seen);
        assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:?}");
    }
    let mut seen = good(&host);
    seen.frr = Err("cannot run vtysh".to_owned());
    assert!(check(&host, &seen)[0].contains("cannot run vtysh"));

    let host = by_frames(Role::LeafServer);
    let mut seen = good(&host);
    vxlan(&mut seen).floods_to = ["192.0.2.1", "192.0.2.12"].map(|it| it.parse().unwrap()).to_vec();
    let found = check(&host, &seen);
    assert!(found.len() == 2, "{found:?}");
    assert!(found[0].contains("append") && found[1].contains("clients could so be reached"));
}

#[test]
fn vlans_of_ports_are_told() {
    type Change = fn(&mut Seen);
    let changes: [(&[&str], Change); 5] = [
        // The TAP was made anew: the kernel has forgotten.
        (
            &[
                "in VLAN 10 with a tag: bridge vlan add dev lan0 vid 10",
                "in VLAN 20 with a tag: bridge vlan add dev lan0 vid 20",
            ],
            |it| it.ports[0].vlans.clear(),
        ),
        (&["vid 20 pvid untagged"], |it| it.ports[1].vlans[0] = in_vlan(20, false)),
        (&["VLAN 7, which is not its network's: bridge vlan del dev lan2 vid 7"], |it| {
            it.ports[1].vlans.push(in_vlan(7, false));
        }),
        (&["bridge vlan add dev vx100 vid 10 pvid untagged"], |it| {
            it.vxlans[0].as_mut().unwrap().vlans.clear();
        }),
        // A range is as good as its VLANs one by one; 11 to 19 are too many.
        (&["lan0 vid 11"; 9], |it| it.ports[0].vlans = vec![PortVlans::new(10..=20, false, false)]),
    ];
    let host = with_vlans(Role::LeafServer);
    for (says, change) in changes {
        let mut seen = good(&host);
        change(&mut seen);
        let found = check(&host, &seen);
        assert_eq!(found.len(), says.len(), "{found:?}");
        assert!(
            says.len() > 2 || found.iter().zip(says).all(|(it, says)| it.contains(says)),
            "{found:?}"
        );
    }
}

#[test]
fn another_frr_is_told_line_by_line() {
    let host = fabric(Role::LeafServer);
    let mut seen = good(&host);
    let frr = seen.frr.unwrap();
    let frr = frr.replace("  neighbor ROOTS activate\n", "");
    let imported = "   route-target import 65000:1001\n";
    seen.frr = Ok(frr.replace(imported, &format!("{imported}   route-target import 65000:1002\n")));
    assert_eq!(
        check(&host, &seen),
        [
            "FRR has not: router bgp 65000 / address-family l2vpn evpn / neighbor ROOTS activate",
            "FRR has what keeps clients apart no longer: router bgp 65000 / address-family l2vpn \
             evpn / vni 100 / route-target import 65000:1002",
        ]
    );
}
