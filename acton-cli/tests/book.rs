//! The book keeps its word: every command of its chapters is run, in the namespaces of the world
//! that the chapter names, and shows what the page shows; every link leads somewhere.
//!
//! A page says which hosts it is about in a comment that readers do not see:
//!
//! ```text
//! <!-- world
//! server wan 192.0.2.1/24          host, the network that its eth0 is on, its addresses
//! client wan 192.0.2.2/24          a host's second line is its eth1
//! client# sysctl -q ...            what is done there before the page begins
//! -->
//! ```
//!
//! Its commands stand in blocks of `console`, after the name of the host and `#`; what follows is
//! what they print. See [`page`] for the signs used there, and [`output`] for what counts as the same.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "book/links.rs"]
mod links;
#[path = "book/output.rs"]
mod output;
#[path = "book/page.rs"]
mod page;
#[path = "book/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use page::{Ending, Page};
use world::World;

/// Declares `fn main`: a test for each chapter with commands, and those of the whole book.
macro_rules! chapters {
    ($($name:ident: $file:literal, [$($program:literal),*]);* $(;)?) => {
        const CHAPTERS: &[&str] = &[$($file),*];

        $(fn $name() { follow($file); })*

        fn main() {
            testbed::run(&[
                $(testbed::Test { name: stringify!($name), needs: &[$($program),*], body: $name },)*
                testbed::Test { name: "every_page_is_followed", needs: &[], body: every_page_is_followed },
                testbed::Test { name: "commands_that_are_not_run_are_known", needs: &[], body: commands_that_are_not_run_are_known },
                testbed::Test { name: "links_resolve", needs: &[], body: links::resolve },
                testbed::Test { name: "output_that_differs_is_seen", needs: &[], body: output::differences_are_seen },
            ])
        }
    };
}

chapters! {
    start: "start.md", ["ping"];
    two_sites: "two-sites.md", ["ping"];
    hundreds: "hundreds.md", ["ping"];
    many_servers: "many-servers.md", ["bridge", "ping"];
    servers: "servers.md", ["ping"];
    lan_with_dhcp: "lan-with-dhcp.md", ["dnsmasq", "udhcpc", "bridge"];
    vlans: "vlans.md", [];
    multicast: "multicast.md", [];
    behind_nat: "behind-nat.md", ["nft", "ping"];
    ipv6_only: "ipv6-only.md", ["ping"];
    service: "service.md", [];
    monitoring: "monitoring.md", ["ping", "tcpdump"];
    when_something_is_wrong: "when-something-is-wrong.md", ["ping"];
    from_0_1_1: "from-0-1-1.md", ["ping"];
    from_openvpn: "from-openvpn.md", ["ping"];
    from_vxlan: "from-vxlan.md", ["ping"];
    policy: "policy.md", ["ping"];
    authorize: "authorize.md", ["ping", "python3"];
    security: "security.md", ["ping", "nft"];
    tuning: "tuning.md", ["ping"];
}

/// What a test cannot run: it changes the host outside of namespaces, needs systemd or a screen, takes
/// minutes, or needs VLANs in the kernel, which not every host of tests has.
const NOT_RUN: &[&str] = &[
    "cargo build --locked --release -p acton-cli",
    "install target/release/acton /usr/bin/",
    "scp /usr/bin/acton root@192.0.2.2:/usr/bin/",
    "systemctl enable --now acton-server@office",
    "systemctl reload acton-server@office",
    "systemctl status acton-server@office",
    "useradd --system --no-create-home --shell /usr/sbin/nologin acton",
    "cp contrib/systemd/acton-* /etc/systemd/system/",
    "cargo bench -p acton-cli --bench tunnel",
    "ip link add link server name server.7 type vlan id 7",
    "ip link add link client name client.7 type vlan id 7",
    "ip link add br0 type bridge vlan_filtering 1",
    "bridge vlan add dev eth1 vid 7",
    "bridge vlan add dev server vid 7",
    "bridge vlan add dev lan7 vid 7 pvid untagged",
    "acton capture | wireshark -k -i -",
];

/// The directory of the book's own pages.
fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/book")
}

/// Does what a chapter says.
fn follow(file: &str) {
    let page = Page::read(&book().join(file));
    let mut world = World::new(&page.world);
    for command in &page.commands {
        world.follow(command);
    }
    world.end();
}

fn pages() -> Vec<(String, Page)> {
    let mut pages: Vec<_> = std::fs::read_dir(book())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), Page::read(&path)))
        .collect();
    pages.sort_by(|a, b| a.0.cmp(&b.0));
    pages
}

fn every_page_is_followed() {
    for (file, page) in pages() {
        let has_commands = page.commands.iter().any(|command| command.ending != Ending::NotRun);
        assert_eq!(
            has_commands,
            CHAPTERS.contains(&file.as_str()),
            "{file}: is it in `chapters!`?"
        );
        assert!(
            page.other_shell.is_empty(),
            "{file}: not in a console block: {}",
            page.other_shell
        );
    }
}

fn commands_that_are_not_run_are_known() {
    let found: BTreeSet<_> = pages()
        .into_iter()
        .flat_map(|(_, page)| page.commands)
        .filter(|command| command.ending == Ending::NotRun)
        .map(|command| command.text)
        .collect();
    let known: BTreeSet<_> = NOT_RUN.iter().map(|&command| command.to_owned()).collect();
    assert_eq!(found, known);
}
