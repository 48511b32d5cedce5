//! `acton trace`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_engine::{MacAddr, Trace, TraceVerdict, drop_reasons, group_mac};
use clap::Args;
use data_encoding::HEXLOWER;

use super::output::Output;
use super::table::wrap;
use super::units::clock;
use super::{next, next_raw, unexpected};
use crate::cli::control::InstanceOptions;
use crate::cli::{Failure, USAGE};
use crate::control::{Answer, AskError, Connection, LiveTrace, RawAnswer, Request};

/// Exit code where the frame would be dropped.
const DROPPED: u8 = 2;
/// Columns of the stages, and of what was found, in a terminal of 80.
const STAGE: usize = 13;
const FOUND: usize = 80 - 4 - STAGE;
/// The kind of a tag of 802.1Q, and the highest VLAN.
const C_TAG: u16 = 0x8100;
const MAX_VLAN: u16 = 4_094;
/// EtherTypes of IP.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Bytes of the shortest and the longest frame that can be asked about, without check sequence.
const LENGTHS: std::ops::RangeInclusive<i64> = 60..=9_216;

/// Says where a frame would go now, and why, without sending it: exit code 0 where it is forwarded,
/// 2 where it is dropped; or the same of the next frames that pass
#[derive(Debug, Args)]
#[command(
    override_usage = "acton trace [OPTIONS] SRC DST\n       acton trace [OPTIONS] --live N [FILTER]"
)]
pub(in crate::cli) struct Arguments {
    /// MACs that the frame comes from and goes to, or the IP address of a multicast group that it is
    /// for; with --live the frames to wait for, in tcpdump's
    /// words: `arp`, `host 10.0.0.1 and not tcp port 22`
    #[arg(value_name = "SRC DST|FILTER")]
    words: Vec<String>,

    /// Looks at the next N frames that pass, 1,000 at most, and says too what became of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000),
          conflicts_with_all = ["vlan", "tpid", "ethertype", "arp", "dhcp", "circuit", "src_ip", "udp", "icmp", "length"])]
    live: Option<u32>,

    /// Where it comes from: a session, that is a client's name, its UDP address or the session's
    /// number; or `root`, this end's TAP [default: root, with --live anywhere]
    #[arg(long, value_name = "SESSION|root")]
    from: Option<String>,

    /// VLAN, 0 for untagged, or those of two tags, the outer one first: 1000.17
    #[arg(long, value_name = "N[.N]", default_value = "0", value_parser = tags)]
    vlan: TagVlans,

    /// The kind of the outer one of two tags: 0x88a8 is of 802.1ad, 0x8100 of 802.1Q
    #[arg(long, value_name = "X", default_value = "0x88a8", value_parser = ethertype)]
    tpid: u16,

    /// EtherType, as 0x88b5
    #[arg(long, value_name = "X", default_value = "0x0800", value_parser = ethertype)]
    ethertype: u16,

    /// An ARP request
    #[arg(long, conflicts_with_all = ["dhcp", "ethertype"])]
    arp: bool,

    /// A client's DHCP discover
    #[arg(long, conflicts_with = "ethertype")]
    dhcp: bool,

    /// A DHCP server's answer with this name of a circuit in it (option 82), which comes from the LAN
    #[arg(long, value_name = "NAME", value_parser = circuit,
          conflicts_with_all = ["arp", "dhcp", "ethertype", "from"])]
    circuit: Option<String>,

    /// The IP address that it says it is from: a packet's source, with --arp its sender
    #[arg(long, value_name = "IP", conflicts_with_all = ["dhcp", "circuit", "ethertype"])]
    src_ip: Option<IpAddr>,

    /// A UDP datagram between these ports, the source first: 67:68 is a DHCP server's
    #[arg(long, value_name = "PORT:PORT", value_parser = ports, conflicts_with_all = ["arp", "dhcp", "circuit"])]
    udp: Option<[u16; 2]>,

    /// A message of ICMP, or of ICMPv6 with an IPv6 --src-ip, of that type: 134 is a router advertisement,
    /// 136 says that --src-ip is at the sender
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["arp", "dhcp", "circuit", "udp"])]
    icmp: Option<u8>,

    /// Bytes of the frame, without check sequence
    #[arg(long, value_name = "BYTES", default_value_t = 60,
          value_parser = clap::value_parser!(u16).range(LENGTHS))]
    length: u16,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let from = self.from.clone().filter(|from| from != "root");
        let mut connection = self.instance.open()?;
        if let Some(count) = self.live {
            let filter = Some(self.words.join(" ")).filter(|filter| !filter.is_empty());
            let tap = self.from.is_some() && from.is_none();
            let request = Request::TraceLive { count, session: from, tap, filter };
            return live(&mut connection, request, self.json);
        }
        let frame = HEXLOWER.encode(&self.frame()?);
        let mut answers = connection.ask(Request::Trace { from, frame })?;
        let mut out = Output::new();
        let verdict = if self.json {
            let RawAnswer::Trace(trace) = next_raw(&mut answers)? else { return Err(unexpected()) };
            out.object(&[trace.get()], &[])?;
            let Trace { verdict, .. } =
                serde_json::from_str(trace.get()).map_err(AskError::Unreadable)?;
            verdict
        } else {
            let Answer::Trace(trace) = next(&mut answers)? else { return Err(unexpected()) };
            text(&trace).iter().try_for_each(|line| out.line(line))?;
            trace.verdict
        };
        out.end()?;
        match verdict {
            TraceVerdict::Drop(_) => Err(Failure { code: DROPPED, message: String::new() }),
            _ => Ok(()),
        }
    }

    /// The frame that is asked about.
    ///
    /// # Errors
    /// Where the words are not two MACs.
    fn frame(&self) -> Result<Vec<u8>, Failure> {
        let usage = |message| Failure { code: USAGE, message };
        let [source, destination] = &self.words[..] else {
            let message = "which frame? Say the MACs that it comes from and goes to, or --live N";
            return Err(usage(message.to_owned()));
        };
        let mac =
            |text: &String| any_mac(text).map_err(|error| usage(format!("'{text}': {error}")));
        let group = destination.parse().ok().filter(IpAddr::is_multicast);
        let (source, destination) =
            (mac(source)?, group.map_or_else(|| mac(destination), |group| Ok(group_mac(group)))?);
        let mut frame = [destination.octets(), source.octets()].concat();
        let TagVlans { outer, inner } = self.vlan;
        if let Some(outer) = outer {
            frame.extend(self.tpid.to_be_bytes());
            frame.extend(outer.to_be_bytes());
        }
        if outer.is_some() || inner > 0 {
            frame.extend(C_TAG.to_be_bytes());
            frame.extend(inner.to_be_bytes());
        }
        if self.arp {
            // RFC 826: Ethernet, IPv4, lengths of addresses, request; who has 0.0.0.0?
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
            frame.extend(source.octets());
            match self.src_ip {
                None => {}
                Some(IpAddr::V4(address)) => frame.extend(address.octets()),
                Some(IpAddr::V6(_)) => {
                    let message = "ARP is of IPv4; for IPv6 say --icmp 136".to_owned();
                    return Err(usage(message));
                }
            }
        } else if self.dhcp {
            frame.extend(dhcp_discover(source));
        } else if let Some(circuit) = &self.circuit {
            frame.extend(dhcp_offer(destination, circuit));
        } else {
            let ethertype = match self.src_ip.or(group) {
                None => self.ethertype,
                Some(IpAddr::V4(_)) => IPV4,
                Some(IpAddr::V6(_)) => IPV6,
            };
            if self.src_ip.zip(group).is_some_and(|(from, to)| from.is_ipv4() != to.is_ipv4()) {
                let message = "--src-ip and the group are of different versions of IP".to_owned();
                return Err(usage(message));
            }
            let source = match ethertype {
                IPV4 => Some(self.src_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into())),
                IPV6 => Some(self.src_ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into())),
                _ if self.udp.is_some() || self.icmp.is_some() => {
                    let message = "--udp and --icmp are of EtherType 0x0800 and 0x86dd".to_owned();
                    return Err(usage(message));
                }
                _ => None,
            };
            frame.extend(ethertype.to_be_bytes());
            if let Some(source) = source {
                let room = usize::from(self.length).saturating_sub(frame.len());
                let carried = Carried::of(self.udp, self.icmp, source);
                frame.extend(ip_packet(source, group, &carried, room));
            }
        }
        frame.resize(frame.len().max(self.length.into()), 0);
        Ok(frame)
    }
}

/// The name of a circuit, as long as an option has room for.
fn circuit(text: &str) -> Result<String, String> {
    match text.len() {
        1..=253 => Ok(text.to_owned()),
        _ => Err("must have 1 to 253 bytes".to_owned()),
    }
}

/// Shows traces of frames as they pass.
fn live(connection: &mut Connection, request: Request, json: bool) -> Result<(), Failure> {
    let mut answers = connection.ask(request)?;
    let mut out = Output::new();
    loop {
        if json {
            match next_raw(&mut answers)? {
                RawAnswer::Live(live) => out.object(&[live.get()], &[])?,
                RawAnswer::End(_) => break,
                _ => return Err(unexpected()),
            }
        } else {
            match next(&mut answers)? {
                Answer::Live(live) => {
                    live_text(&live).iter().try_for_each(|line| out.line(line))?;
                    out.line("")?;
                }
                Answer::End(_) => break,
                _ => return Err(unexpected()),
            }
        }
        out.flush()?;
    }
    out.end()
}

/// Whence the frame came, a line a step, and what became of it where that is another than what would
/// now.
fn live_text(live: &LiveTrace) -> Vec<String> {
    let from = live.from.as_deref().unwrap_or("the TAP");
    let frames =
        if live.frames > 1 { format!(", {} frames in one", live.frames) } else { String::new() };
    let mut lines = vec![format!("{} from {from}, {} bytes{frames}", clock(live.time), live.len)];
    lines.extend(text(&live.trace));
    if live.fate != live.trace.verdict {
        lines.push(format!("but then: {}", live.fate));
    }
    lines
}

/// A client's first message.
fn dhcp_discover(client: MacAddr) -> Vec<u8> {
    // Request; message type discover.
    dhcp(1, [68, 67], client, &[53, 1, 1])
}

/// A server's answer to it, with the name of a circuit in option 82 (RFC 3046).
fn dhcp_offer(client: MacAddr, circuit: &str) -> Vec<u8> {
    let len = circuit.len() as u8;
    let options = [&[53, 1, 2, 82, len + 2, 1, len], circuit.as_bytes()].concat();
    dhcp(2, [67, 68], client, &options)
}

/// EtherType, IPv4, UDP and the parts of RFC 2131 that are not zero.
fn dhcp(operation: u8, ports: [u8; 2], client: MacAddr, options: &[u8]) -> Vec<u8> {
    // Ethernet, six bytes of address; the client's address after 28 bytes.
    let mut bootp = vec![0; 236];
    bootp[..3].copy_from_slice(&[operation, 1, 6]);
    bootp[28..34].copy_from_slice(&client.octets());
    // Magic cookie; options; end.
    bootp.extend([99, 130, 83, 99]);
    bootp.extend(options);
    bootp.push(255);
    let udp_len = 8 + bootp.len() as u16;
    let mut packet = vec![0x08, 0x00, 0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    // Time to live, UDP, no checksum, from 0.0.0.0 to all.
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    packet.extend([0, ports[0], 0, ports[1]]);
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(bootp);
    packet
}

/// What an IP packet carries.
struct Carried {
    protocol: u8,
    bytes: Vec<u8>,
}

impl Carried {
    /// A datagram, a message of ICMP, or nothing of a protocol for experiments (RFC 3692, 253).
    fn of(udp: Option<[u16; 2]>, icmp: Option<u8>, source: IpAddr) -> Self {
        const EXPERIMENT: u8 = 253;
        const UDP: u8 = 17;
        if let Some([from, to]) = udp {
            // Without a checksum, and a payload of one byte: what a server says (RFC 2131, RFC 8415).
            let mut bytes = [from.to_be_bytes(), to.to_be_bytes(), [0, 9], [0, 0]].concat();
            bytes.push(2);
            return Self { protocol: UDP, bytes };
        }
        let Some(kind) = icmp else { return Self { protocol: EXPERIMENT, bytes: Vec::new() } };
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        match source {
            IpAddr::V4(_) => Self { protocol: 1, bytes },
            // Neighbour discovery names an address there.
            IpAddr::V6(address) => {
                bytes.extend(address.octets());
                Self { protocol: 58, bytes }
            }
        }
    }
}

/// An IP packet that fills so many bytes, or more where it carries more; to a group or to nobody.
fn ip_packet(source: IpAddr, to: Option<IpAddr>, carried: &Carried, room: usize) -> Vec<u8> {
    const HOPS: u8 = 255;
    let Carried { protocol, bytes } = carried;
    let mut packet = match source {
        IpAddr::V4(address) => {
            let len = room.max(20 + bytes.len()) as u16;
            let mut header = vec![0x45, 0];
            header.extend(len.to_be_bytes());
            header.extend([0, 0, 0, 0, HOPS, *protocol, 0, 0]);
            header.extend(address.octets());
            header.extend(match to {
                Some(IpAddr::V4(to)) => to.octets(),
                _ => [0; 4],
            });
            header
        }
        IpAddr::V6(address) => {
            let len = room.saturating_sub(40).max(bytes.len()) as u16;
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(len.to_be_bytes());
            header.extend([*protocol, HOPS]);
            header.extend(address.octets());
            header.extend(match to {
                Some(IpAddr::V6(to)) => to.octets(),
                _ => [0; 16],
            });
            header
        }
    };
    packet.extend(bytes);
    packet
}

/// A line a step, and the verdict.
fn text(trace: &Trace) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, step) in (1..).zip(&trace.steps) {
        let mut head = format!("{number:>2}  {:<STAGE$}", step.stage);
        for line in wrap(&step.text, FOUND) {
            lines.push(format!("{head}{line}"));
            head = " ".repeat(4 + STAGE);
        }
    }
    lines.push(format!("verdict: {}", trace.verdict));
    if let TraceVerdict::Drop(reason) = &trace.verdict
        && let Some((_, meaning)) = drop_reasons().find(|(name, _)| name == reason)
    {
        lines.extend(wrap(meaning, FOUND + STAGE).iter().map(|line| format!("    {line}")));
    }
    lines
}

fn any_mac(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| "no MAC address; write it as 02:00:00:00:00:01".to_owned())
}

/// The VLANs of a frame's tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TagVlans {
    outer: Option<u16>,
    /// 0 for no tag.
    inner: u16,
}

/// A VLAN, or two as `1000.17`.
fn tags(text: &str) -> Result<TagVlans, String> {
    let one = |text: &str| text.parse().ok().filter(|vlan| *vlan <= MAX_VLAN);
    let read = || match text.split_once('.') {
        None => Some(TagVlans { outer: None, inner: one(text)? }),
        Some((outer, inner)) => Some(TagVlans { outer: Some(one(outer)?), inner: one(inner)? }),
    };
    let problem = "no VLAN; write 0 to 4094, or the VLANs of two tags as 1000.17";
    read().ok_or_else(|| problem.to_owned())
}

/// Two ports, as `67:68`.
fn ports(text: &str) -> Result<[u16; 2], String> {
    let read = || {
        let (from, to) = text.split_once(':')?;
        Some([from.parse().ok()?, to.parse().ok()?])
    };
    read().ok_or_else(|| "no ports; write the source's and the destination's as 67:68".to_owned())
}

/// An EtherType in hexadecimal.
fn ethertype(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u16::from_str_radix(digits, 16).map_err(|_| "no EtherType; write it as 0x88b5".to_owned())
}

#[cfg(test)]
mod tests {
    use acton_frame::Headers;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn frame(more: &[&str]) -> Vec<u8> {
        let fixed = ["trace", "02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff"];
        Line::parse_from(fixed.iter().chain(more)).arguments.frame().unwrap()
    }

    #[test]
    fn a_frame_has_two_macs() {
        for (words, error) in [
            (&["trace"][..], "which frame?"),
            (&["trace", "02:00:00:00:00:09"], "which frame?"),
            (&["trace", "02:00:00:00:00:09", "arp"], "'arp': no MAC address"),
        ] {
            let failure = Line::parse_from(words).arguments.frame().unwrap_err();
            assert!(failure.code == USAGE && failure.message.starts_with(error), "{failure:?}");
        }
    }

    #[test]
    fn a_frame_for_a_group_has_its_mac() {
        for (group, mac) in
            [("239.129.2.3", "01:00:5e:01:02:03"), ("ff05::1:2", "33:33:00:01:00:02")]
        {
            let line = Line::parse_from(["trace", "02:00:00:00:00:09", group, "--vlan", "7"]);
            let frame = line.arguments.frame().unwrap();
            let headers = Headers::parse(&frame);
            assert_eq!(headers.ethernet().unwrap().destination(), mac.parse::<MacAddr>().unwrap());
            let octets = match group.parse().unwrap() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            assert!(headers.hosts(&frame).unwrap().ends_with(&octets));
        }
    }

    #[test]
    fn frames_are_what_was_asked_for() {
        let plain = frame(&[]);
        assert_eq!((plain.len(), Headers::parse(&plain).ethertype()), (60, Some(0x0800)));
        for kind in ["0x0800", "0x86dd"] {
            let ip =
                Headers::parse(&frame(&["--ethertype", kind, "--length", "100"])).ip().unwrap();
            assert!(ip.fills && ip.protocol == 253);
        }
        for (more, protocol, address) in [
            (&["--src-ip", "10.0.0.5"][..], 253, "10.0.0.5"),
            (&["--src-ip", "10.0.0.5", "--udp", "67:68"], 17, "10.0.0.5"),
            (&["--icmp", "5"], 1, "0.0.0.0"),
            (&["--icmp", "134", "--ethertype", "0x86dd"], 58, "::"),
            (&["--src-ip", "fe80::1", "--icmp", "136", "--vlan", "7"], 58, "fe80::1"),
            (&["--src-ip", "fe80::1", "--udp", "547:546", "--length", "300"], 17, "fe80::1"),
        ] {
            let frame = frame(more);
            let headers = Headers::parse(&frame);
            let ip = headers.ip().unwrap();
            assert!(ip.protocol == protocol && ip.payload.is_some(), "{more:?}: {ip:?}");
            let hosts = headers.hosts(&frame).unwrap();
            let source = match *hosts {
                [a, b, c, d, _, _, _, _] => IpAddr::from([a, b, c, d]),
                _ => IpAddr::from(*hosts.first_chunk::<16>().unwrap()),
            };
            assert_eq!(source.to_string(), address);
        }
        let arp = frame(&["--arp", "--src-ip", "10.0.0.5"]);
        assert_eq!(arp[28..32], [10, 0, 0, 5]);
        for more in
            [&["--arp", "--src-ip", "fe80::1"][..], &["--udp", "1:2", "--ethertype", "88b5"]]
        {
            let fixed = ["trace", "02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff"];
            let failure = Line::parse_from(fixed.iter().chain(more)).arguments.frame().unwrap_err();
            assert_eq!(failure.code, USAGE);
        }
        assert_eq!(ports("67:68"), Ok([67, 68]));
        assert!(["", "67", "67:", "67:68:69", "65536:1"].iter().all(|text| ports(text).is_err()));
        let tagged = frame(&["--vlan", "7", "--ethertype", "88b5", "--length", "1518"]);
        let headers = Headers::parse(&tagged);
        assert_eq!((tagged.len(), headers.ethertype()), (1_518, Some(0x88b5)));
        assert_eq!(headers.ethernet().map(|ethernet| ethernet.vlan()), Some(7));
        let [one, other] = [&["--vlan", "1000.17"][..], &["--vlan", "7.0", "--tpid", "0x8100"]]
            .map(|more| frame(more)[12..20].to_vec());
        assert_eq!(one, [0x88, 0xa8, 0x03, 0xe8, 0x81, 0, 0, 17]);
        assert_eq!(other, [0x81, 0, 0, 7, 0x81, 0, 0, 0]);
        assert!(["", "4095", "1.", "1.2.3", "-1"].iter().all(|text| tags(text).is_err()));
        assert_eq!(Headers::parse(&frame(&["--arp"])).ethertype(), Some(0x0806));
        let dhcp = frame(&["--dhcp"]);
        assert_eq!(dhcp.len(), 14 + 20 + 8 + 236 + 8);
        assert!(Headers::parse(&dhcp).ip().is_some());
    }
}
