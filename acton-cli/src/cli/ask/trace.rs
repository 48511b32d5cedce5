//! `acton trace`.

use acton_engine::{MacAddr, Trace, TraceVerdict, drop_reasons};
use clap::Args;
use data_encoding::HEXLOWER;

use super::output::Output;
use super::table::wrap;
use super::{next, next_raw, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::cli::values::vlan;
use crate::control::{Answer, AskError, RawAnswer, Request};

/// Exit code where the frame would be dropped.
const DROPPED: u8 = 2;
/// Columns of the stages, and of what was found, in a terminal of 80.
const STAGE: usize = 13;
const FOUND: usize = 80 - 4 - STAGE;
/// Bytes of the shortest and the longest frame that can be asked about, without check sequence.
const LENGTHS: std::ops::RangeInclusive<i64> = 60..=9_216;

/// Says where a frame would go now, and why, without sending it: exit code 0 where it is forwarded,
/// 2 where it is dropped
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// MAC that the frame comes from
    #[arg(value_parser = any_mac)]
    source: MacAddr,

    /// MAC that it goes to
    #[arg(value_parser = any_mac)]
    destination: MacAddr,

    /// Where it comes from: a session, that is a client's name, its UDP address or the session's
    /// number; or `root`, this end's TAP
    #[arg(long, value_name = "SESSION|root", default_value = "root")]
    from: String,

    /// VLAN, 0 for untagged
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = vlan())]
    vlan: u16,

    /// EtherType, as 0x88b5
    #[arg(long, value_name = "X", default_value = "0x0800", value_parser = ethertype)]
    ethertype: u16,

    /// An ARP request
    #[arg(long, conflicts_with_all = ["dhcp", "ethertype"])]
    arp: bool,

    /// A client's DHCP discover
    #[arg(long, conflicts_with = "ethertype")]
    dhcp: bool,

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
        let mut connection = self.instance.open()?;
        let from = Some(self.from.clone()).filter(|from| from != "root");
        let frame = HEXLOWER.encode(&self.frame());
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
    fn frame(&self) -> Vec<u8> {
        let mut frame = [self.destination.octets(), self.source.octets()].concat();
        if self.vlan > 0 {
            // 802.1Q.
            frame.extend([0x81, 0x00]);
            frame.extend(self.vlan.to_be_bytes());
        }
        if self.arp {
            // RFC 826: Ethernet, IPv4, lengths of addresses, request; who has 0.0.0.0?
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
            frame.extend(self.source.octets());
        } else if self.dhcp {
            frame.extend(self.dhcp_discover());
        } else {
            frame.extend(self.ethertype.to_be_bytes());
        }
        frame.resize(frame.len().max(self.length.into()), 0);
        frame
    }

    /// EtherType, IPv4, UDP and the parts of RFC 2131 that are not zero.
    fn dhcp_discover(&self) -> Vec<u8> {
        // Operation request, Ethernet, six bytes of address; the client's address after 28 bytes.
        let mut bootp = vec![0; 236];
        bootp[..3].copy_from_slice(&[1, 1, 6]);
        bootp[28..34].copy_from_slice(&self.source.octets());
        // Magic cookie; message type discover; end.
        bootp.extend([99, 130, 83, 99, 53, 1, 1, 255]);
        let udp_len = 8 + bootp.len() as u16;
        let mut packet = vec![0x08, 0x00, 0x45, 0];
        packet.extend((20 + udp_len).to_be_bytes());
        // Time to live, UDP, no checksum, from 0.0.0.0 to all.
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
        packet.extend([0, 68, 0, 67]);
        packet.extend(udp_len.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(bootp);
        packet
    }
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
        Line::parse_from(fixed.iter().chain(more)).arguments.frame()
    }

    #[test]
    fn frames_are_what_was_asked_for() {
        let plain = frame(&[]);
        assert_eq!((plain.len(), Headers::parse(&plain).ethertype()), (60, Some(0x0800)));
        let tagged = frame(&["--vlan", "7", "--ethertype", "88b5", "--length", "1518"]);
        let headers = Headers::parse(&tagged);
        assert_eq!((tagged.len(), headers.ethertype()), (1_518, Some(0x88b5)));
        assert_eq!(headers.ethernet().map(|ethernet| ethernet.vlan()), Some(7));
        assert_eq!(Headers::parse(&frame(&["--arp"])).ethertype(), Some(0x0806));
        let dhcp = frame(&["--dhcp"]);
        assert_eq!(dhcp.len(), 14 + 20 + 8 + 236 + 8);
        assert!(Headers::parse(&dhcp).ip().is_some());
    }
}
