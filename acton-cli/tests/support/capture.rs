use std::fs;
use std::path::PathBuf;
use std::process::Command;

use acton_netns::Namespace;
use nix::sys::signal::Signal;

use super::{Acton, KeyRing, Wire, frame, mac, wait_until};

/// tcpdump on a device: every packet, both ways.
pub(crate) struct Capture<'n> {
    namespace: &'n Namespace,
    device: &'n str,
    tcpdump: Acton,
    file: PathBuf,
}

/// An IP packet of a capture, from its header on.
#[derive(Debug, Clone)]
pub(crate) struct Captured(Vec<u8>);

/// Local Experimental EtherType 2 (IEEE 802): marks the end of a capture.
const LAST: u16 = 0x88b6;
/// Where it is looked for: other packets, and jumbo frames, may come behind it.
const LAST_BYTES: usize = 1 << 18;

impl<'n> Capture<'n> {
    #[track_caller]
    pub(crate) fn start(namespace: &'n Namespace, device: &'n str, keys: &KeyRing) -> Self {
        let file = keys.path(&format!("{device}.pcap"));
        let mut command = Command::new("tcpdump");
        // As root it would become another user, who may not write there.
        command
            .args(["-i", device, "-n", "-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-w"])
            .arg(&file);
        let tcpdump = Acton::spawn("tcpdump", namespace, &mut command);
        tcpdump.wait_for("listening on");
        Self { namespace, device, tcpdump, file }
    }

    /// The IP packets so far; none was lost.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<Captured> {
        // What tcpdump has not read when it is told to end is lost, so it must have read the last.
        let last = frame(mac(0xfe), mac(0xfd), LAST, b"the end of the capture");
        Wire::open_as_it_is(self.namespace, self.device).send(&last);
        wait_until("tcpdump has seen the last frame", || {
            let file = fs::read(&self.file).unwrap();
            file.windows(last.len()).rev().take(LAST_BYTES).any(|window| window == last)
        });
        self.tcpdump.signal(Signal::SIGINT);
        let (_, log) = self.tcpdump.end();
        assert!(log.contains("\n0 packets dropped by kernel"), "{log}");
        read(&fs::read(&self.file).unwrap())
    }
}

/// Reads a pcap file of this machine's byte order (pcap-savefile(5)) of Ethernet.
fn read(file: &[u8]) -> Vec<Captured> {
    let word = |bytes: &[u8]| u32::from_ne_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(word(file), 0xa1b2_c3d4);
    let mut rest = &file[24..];
    let mut packets = Vec::new();
    while rest.len() >= 16 {
        let length = word(&rest[8..]) as usize;
        assert_eq!(length, word(&rest[12..]) as usize, "cut short");
        let frame = &rest[16..][..length];
        if matches!(frame[12..14], [0x08, 0x00] | [0x86, 0xdd]) {
            packets.push(Captured(frame[14..].to_vec()));
        }
        rest = &rest[16 + length..];
    }
    packets
}

impl Captured {
    fn is_ipv6(&self) -> bool {
        self.0[0] >> 4 == 6
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// The length by its header, bytes.
    pub(crate) fn len(&self) -> usize {
        usize::from(if self.is_ipv6() { 40 + self.word(4) } else { self.word(2) })
    }

    pub(crate) fn may_be_fragmented(&self) -> bool {
        !self.is_ipv6() && self.0[6] & 0x40 == 0
    }

    pub(crate) fn is_fragment(&self) -> bool {
        if self.is_ipv6() { self.0[6] == 44 } else { self.word(6) & 0x3fff != 0 }
    }

    /// The ECN field.
    pub(crate) fn ecn(&self) -> u8 {
        let [first, second] = [self.0[0], self.0[1]];
        if self.is_ipv6() { (first << 4 | second >> 4) & 3 } else { second & 3 }
    }

    fn protocol(&self, number: u8) -> Option<&[u8]> {
        let (protocol, header) =
            if self.is_ipv6() { (self.0[6], 40) } else { (self.0[9], (self.0[0] & 0xf) * 4) };
        (protocol == number).then(|| &self.0[header.into()..self.len()])
    }

    /// The payload of UDP from or to this port.
    pub(crate) fn udp(&self, port: u16) -> Option<&[u8]> {
        let udp = self.protocol(17)?;
        let ports = [[udp[0], udp[1]], [udp[2], udp[3]]].map(u16::from_be_bytes);
        ports.contains(&port).then(|| &udp[8..])
    }

    /// The source port and the maximum segment size (RFC 9293) of a SYN.
    pub(crate) fn mss_of_syn(&self) -> Option<u16> {
        let tcp = self.protocol(6).filter(|tcp| tcp[13] & 2 != 0)?;
        // Linux has it first.
        (tcp[20..22] == [2, 4]).then(|| u16::from_be_bytes([tcp[22], tcp[23]]))
    }
}
