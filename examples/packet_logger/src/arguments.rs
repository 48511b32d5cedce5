//! The command line, and the filter it asks for.

use std::path::PathBuf;

use acton_raw::Filter;
use clap::Parser;
use pnet_base::MacAddr;

/// Prints, counts and records the frames of one interface.
///
/// An option that selects frames may be given several times and then selects those that meet any
/// of its values; frames must meet all the options given, and none of the --not- ones.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The Ethernet interface to listen on
    pub(crate) interface: String,

    /// Also receive frames for other hosts
    #[arg(short, long)]
    pub(crate) promiscuous: bool,

    /// End after this many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Record the frames to this pcapng file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// Print no frames, only the summary
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Receive at most this many bytes of a frame
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) snaplen: Option<u32>,

    /// Frames of this EtherType, a number or arp, ipv4, ipv6, lldp
    #[arg(long, value_name = "TYPE", value_parser = ethertype, help_heading = "Filter")]
    ethertype: Vec<u16>,

    /// Frames from or to this MAC address
    #[arg(long, value_parser = mac, help_heading = "Filter")]
    mac: Vec<MacAddr>,

    /// Frames with this VLAN identifier in their outermost tag
    #[arg(long, value_name = "ID", value_parser = vlan, help_heading = "Filter")]
    vlan: Vec<u16>,

    /// IP packets of this protocol, a number or icmp, igmp, tcp, udp, gre, icmpv6, sctp
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol, help_heading = "Filter")]
    proto: Vec<u8>,

    /// TCP, UDP and SCTP packets from or to this port
    #[arg(long, help_heading = "Filter")]
    port: Vec<u16>,

    /// No frames of this EtherType
    #[arg(long, value_name = "TYPE", value_parser = ethertype, help_heading = "Filter")]
    not_ethertype: Vec<u16>,

    /// No frames from or to this MAC address
    #[arg(long, value_name = "MAC", value_parser = mac, help_heading = "Filter")]
    not_mac: Vec<MacAddr>,

    /// No frames with this VLAN identifier
    #[arg(long, value_name = "ID", value_parser = vlan, help_heading = "Filter")]
    not_vlan: Vec<u16>,

    /// No IP packets of this protocol
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol, help_heading = "Filter")]
    not_proto: Vec<u8>,

    /// No packets from or to this port
    #[arg(long, value_name = "PORT", help_heading = "Filter")]
    not_port: Vec<u16>,
}

impl Arguments {
    /// The frames asked for, if not all are.
    pub(crate) fn filter(&self) -> Option<Filter> {
        let wanted = [
            any(&self.ethertype, Filter::ethertype),
            any(&self.mac, Filter::mac),
            any(&self.vlan, Filter::vlan),
            any(&self.proto, Filter::ip_protocol),
            any(&self.port, Filter::port),
        ];
        let unwanted = [
            any(&self.not_ethertype, Filter::ethertype),
            any(&self.not_mac, Filter::mac),
            any(&self.not_vlan, Filter::vlan),
            any(&self.not_proto, Filter::ip_protocol),
            any(&self.not_port, Filter::port),
        ];
        let unwanted = unwanted.into_iter().flatten().map(|filter| !filter);
        wanted.into_iter().flatten().chain(unwanted).reduce(Filter::and)
    }
}

fn any<T: Copy>(values: &[T], filter: impl Fn(T) -> Filter) -> Option<Filter> {
    values.iter().map(|&value| filter(value)).reduce(Filter::or)
}

fn ethertype(text: &str) -> Result<u16, String> {
    match text {
        "arp" => Ok(0x0806),
        "ip" | "ipv4" => Ok(0x0800),
        "ip6" | "ipv6" => Ok(0x86dd),
        "lldp" => Ok(0x88cc),
        number => match number.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16),
            None => number.parse(),
        }
        .map_err(|error| format!("{error}; give a number such as 0x0806 or a name such as arp")),
    }
}

fn protocol(text: &str) -> Result<u8, String> {
    match text {
        "icmp" => Ok(1),
        "igmp" => Ok(2),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        "gre" => Ok(47),
        "icmp6" | "icmpv6" => Ok(58),
        "sctp" => Ok(132),
        number => number
            .parse()
            .map_err(|error| format!("{error}; give a number such as 17 or a name such as udp")),
    }
}

fn vlan(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(id @ 0..=4095) => Ok(id),
        _ => Err("give a VLAN identifier, 0 to 4095".to_owned()),
    }
}

fn mac(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| "give a MAC address such as 02:00:00:00:00:01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["packet_logger", "eth0"].iter().chain(options))
    }

    fn filter(options: &[&str]) -> Option<Filter> {
        parse(options).unwrap().filter()
    }

    #[test]
    fn no_option_is_no_filter() {
        assert_eq!(filter(&["--promiscuous", "-q", "-c", "3"]), None);
    }

    #[test]
    fn values_widen_and_options_narrow() {
        assert_eq!(
            filter(&["--port", "53", "--port", "80", "--proto", "udp", "--not-vlan", "7"]),
            Some(
                Filter::ip_protocol(17)
                    .and(Filter::port(53).or(Filter::port(80)))
                    .and(!Filter::vlan(7))
            )
        );
        assert_eq!(filter(&["--ethertype", "0x88b5"]), Some(Filter::ethertype(0x88b5)));
        assert_eq!(filter(&["--not-ethertype", "arp"]), Some(!Filter::ethertype(0x0806)));
        let mac = "02:00:00:00:00:01";
        assert_eq!(filter(&["--mac", mac]), Some(Filter::mac(mac.parse().unwrap())));
    }

    #[test]
    fn wrong_values_are_refused() {
        for options in [
            ["--ethertype", "apr"],
            ["--ethertype", "0x10000"],
            ["--vlan", "4096"],
            ["--proto", "256"],
            ["--port", "65536"],
            ["--mac", "02:00"],
            ["--count", "0"],
            ["--snaplen", "0"],
        ] {
            assert!(parse(&options).is_err(), "{options:?}");
        }
    }
}
