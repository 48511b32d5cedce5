//! Values of options: text to checked types.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use pnet_base::MacAddr;

use acton_engine::{Scheduling, SuiteChoice, TapSettings};
use acton_udp::MAX_PAYLOAD;

/// Least MTU of an interface that carries IPv4, in bytes (RFC 791).
const MIN_MTU: u32 = 68;
/// Largest frame in one datagram, less the Ethernet header of 14 bytes.
const MAX_MTU: u32 = MAX_PAYLOAD as u32 - 14;
/// Microseconds of busy polling at most; a second of it is for ever.
const MAX_BUSY_POLL: u32 = 1_000_000;
/// Seconds that an interval may have.
const INTERVAL: RangeInclusive<f64> = 0.1..=86_400.0;

/// What `--protect` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protected {
    /// A MAC that is no group's.
    Mac(MacAddr),
    /// An IP address.
    Address(IpAddr),
}

impl FromStr for Protected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let problem = "neither a unicast MAC (02:00:00:00:00:01) nor an IP address (10.0.0.1)";
        mac(text).map(Self::Mac).map_err(|_| problem)
    }
}

/// Options of the TAP that server and client share.
#[derive(Debug, Args)]
pub(super) struct TapOptions {
    /// MTU of the TAP in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1_500,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_MTU)..=i64::from(MAX_MTU)))]
    mtu: u32,

    /// Linux bridge that the TAP joins, and leaves in the end unless it was a port of it before
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,

    /// In that bridge, exchange nothing with other isolated ports: for TAPs of several servers in one
    #[arg(long, requires = "bridge")]
    bridge_isolated: bool,
}

/// Options on loops that server and client share.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LoopOptions {
    /// Do not look for loops, as where two LANs are joined twice; what is flooded may then go round
    /// for ever
    #[arg(long)]
    no_loop_guard: bool,
}

impl LoopOptions {
    /// Whether to look for loops.
    pub(super) const fn guard(self) -> bool {
        !self.no_loop_guard
    }
}

/// Options of the threads that server and client share.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct SchedulingOptions {
    /// Microseconds to look for the next frame before sleeping: a shorter round trip, a busier
    /// processor
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_BUSY_POLL)))]
    busy_poll: u32,

    /// Keep each thread that moves frames on a processor of its own
    #[arg(long)]
    pin: bool,
}

impl From<SchedulingOptions> for Scheduling {
    fn from(options: SchedulingOptions) -> Self {
        let mut scheduling = Self::default();
        scheduling.busy_poll = Duration::from_micros(options.busy_poll.into());
        scheduling.pin = options.pin;
        scheduling
    }
}

impl TapOptions {
    /// Has a TAP's settings say what the options do.
    pub(super) fn put_into(
        &self,
        tap: &mut TapSettings,
        name: &str,
        mac: Option<MacAddr>,
        addresses: &[IpNet],
    ) {
        name.clone_into(&mut tap.name);
        // As in 0.1.1, zero means "leave alone".
        tap.mac = mac.filter(|mac| !mac.is_zero());
        tap.addresses = addresses.iter().copied().filter(|net| !is_unset(net)).collect();
        tap.mtu = self.mtu;
        tap.bridge.clone_from(&self.bridge);
        tap.isolated = self.bridge_isolated;
    }
}

fn is_unset(net: &IpNet) -> bool {
    net.addr().is_unspecified() && net.prefix_len() == 0
}

/// A cipher suite, by the name that users know it by.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SuiteOption {
    /// AES-256-GCM where both processors have instructions for it, else ChaCha20-Poly1305
    Auto,
    /// AES-256-GCM
    Aes,
    /// ChaCha20-Poly1305
    Chacha,
}

impl From<SuiteOption> for SuiteChoice {
    fn from(option: SuiteOption) -> Self {
        match option {
            SuiteOption::Auto => Self::Auto,
            SuiteOption::Aes => Self::Aes256Gcm,
            SuiteOption::Chacha => Self::Chacha20Poly1305,
        }
    }
}

/// A MAC that an interface can own.
pub(super) fn mac(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr =
        text.parse().map_err(|_| "no MAC address; write it as 02:00:00:00:00:01".to_owned())?;
    if mac.is_multicast() {
        return Err("a group address (lowest bit of the first byte set) cannot be an \
                    interface's own"
            .to_owned());
    }
    Ok(mac)
}

/// An interface's address and the length of its subnet's prefix.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| {
        "no IP address with a prefix length; write it as 10.0.0.1/24 or 2001:db8::1/64".to_owned()
    })?;
    if net.addr().is_multicast() {
        return Err("a multicast address cannot be an interface's own".to_owned());
    }
    Ok(net)
}

/// A VLAN id, 0 for untagged.
pub(super) fn vlan() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=4_094)
}

/// Seconds, with a fraction where need be.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number of seconds".to_owned())?;
    if !INTERVAL.contains(&seconds) {
        return Err(format!("not within {} to {} seconds", INTERVAL.start(), INTERVAL.end()));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The same, where 0 says never.
pub(super) fn seconds_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text.parse() == Ok(0.0) { Ok(None) } else { seconds(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_mac_is_refused() {
        assert!(mac("01:00:5e:00:00:01").is_err());
        assert!(mac("02:00:00:00:00").is_err());
        assert_eq!(mac("02:00:00:00:00:01").unwrap(), MacAddr::new(2, 0, 0, 0, 0, 1));
    }

    #[test]
    fn a_group_address_is_refused() {
        assert!(network("ff02::1/64").is_err());
        assert!(network("224.0.0.1/24").is_err());
        assert!(network("10.0.0.1").is_err());
    }

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "x", "0", "-1", "nan", "1e9"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_means_leave_alone() {
        let options = TapOptions { mtu: 1_500, bridge: None, bridge_isolated: false };
        let nothing = network("0.0.0.0/0").unwrap();
        let address = network("10.0.0.1/24").unwrap();
        let mut tap = TapSettings::default();
        options.put_into(&mut tap, "x", Some(MacAddr::zero()), &[nothing, address]);
        assert_eq!((tap.mac, tap.addresses), (None, vec![address]));
    }
}
