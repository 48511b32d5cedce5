//! From words to a filter.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use pnet_base::MacAddr;

use super::{Expression, Side, Test};
use crate::field::ethernet::{ARP, IPV4, IPV6};
use crate::field::{icmpv6, tcp, udp};
use crate::ip::IpVersion;

/// Bytes of a filter's text at most: a request to a control socket has room for it.
const MAX_TEXT: usize = 4_096;
/// Tests at most, so that a frame is looked at in bounded time.
const MAX_TESTS: usize = 64;
/// Parentheses and `not` within one another at most, so that the stack is bounded.
const MAX_DEPTH: usize = 32;
/// The highest VLAN id (IEEE 802.1Q, 9.6).
const MAX_VLAN: u16 = 4_095;

/// Words for what IP carries, of which version of IP, and the protocol's number.
pub(super) const PROTOCOLS: [(&str, Option<IpVersion>, u8); 5] = [
    ("icmp", Some(IpVersion::V4), 1),
    ("igmp", Some(IpVersion::V4), 2),
    ("icmp6", Some(IpVersion::V6), icmpv6::NUMBER),
    ("tcp", None, tcp::NUMBER),
    ("udp", None, udp::NUMBER),
];

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    column: usize,
    message: String,
}

impl FilterError {
    /// Where in the text it is, in characters from 1 on.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filter, column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for FilterError {}

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_TEXT {
        let message = format!("it has {} bytes; {MAX_TEXT} are the most", text.len());
        return Err(FilterError { column: 1, message });
    }
    let mut parser = Parser { text, at: 0, tests: 0, depth: 0 };
    let expression = parser.expression()?;
    match parser.peek() {
        None => Ok(expression),
        Some(")") => Err(parser.error("')' without '('")),
        Some(word) => Err(parser.error(&format!("'and' or 'or' is missing before '{word}'"))),
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Bytes that were read.
    at: usize,
    tests: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// The next word, and where it begins and ends.
    fn find(&self) -> Option<(usize, &'t str)> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let rest = &self.text[start..];
        let sign = ["&&", "||", "(", ")", "!"].into_iter().find(|sign| rest.starts_with(sign));
        let len = sign.map_or_else(
            || {
                let ends = |c: char| c.is_whitespace() || "()!&|".contains(c);
                // A lone '&' is a word, and wrong.
                rest.char_indices().skip(1).find(|&(_, c)| ends(c)).map_or(rest.len(), |(at, _)| at)
            },
            str::len,
        );
        (len > 0).then(|| (start, &rest[..len]))
    }

    fn peek(&self) -> Option<&'t str> {
        self.find().map(|(_, word)| word)
    }

    fn next(&mut self) -> Option<&'t str> {
        let (start, word) = self.find()?;
        self.at = start + word.len();
        Some(word)
    }

    /// Takes the next word if it is one of these.
    fn takes(&mut self, words: &[&str]) -> bool {
        let is_one = self.peek().is_some_and(|word| words.contains(&word));
        if is_one {
            self.next();
        }
        is_one
    }

    /// Says what is wrong with the next word, or with its absence.
    fn error(&self, message: &str) -> FilterError {
        let start = self.find().map_or(self.text.len(), |(start, _)| start);
        let column = self.text[..start].chars().count() + 1;
        FilterError { column, message: message.to_owned() }
    }

    /// Says what should stand where the next word does.
    fn wants(&self, what: &str) -> FilterError {
        match self.peek() {
            Some(word) => self.error(&format!("'{word}' is no {what}")),
            None => self.error(&format!("it ends where it needs a {what}")),
        }
    }

    /// The next word as a value, in which no number has a sign.
    fn value<T: FromStr>(&mut self, what: &str) -> Result<T, FilterError> {
        let unsigned = self.peek().filter(|word| !word.contains('+'));
        let value = unsigned.and_then(|word| word.parse().ok());
        let value = value.ok_or_else(|| self.wants(what))?;
        self.next();
        Ok(value)
    }

    fn expression(&mut self) -> Result<Expression, FilterError> {
        let mut expression = self.term()?;
        loop {
            if self.takes(&["and", "&&"]) {
                expression = Expression::And(Box::new(expression), Box::new(self.term()?));
            } else if self.takes(&["or", "||"]) {
                expression = Expression::Or(Box::new(expression), Box::new(self.term()?));
            } else {
                return Ok(expression);
            }
        }
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(&format!("more than {MAX_DEPTH} 'not' and '(' in one another")));
        }
        self.depth += 1;
        let term = if self.takes(&["not", "!"]) {
            Expression::Not(Box::new(self.term()?))
        } else if self.takes(&["("]) {
            let inner = self.expression()?;
            if !self.takes(&[")"]) {
                return Err(self.wants("')', 'and' or 'or'"));
            }
            inner
        } else {
            if self.tests == MAX_TESTS {
                return Err(self.error(&format!("more than {MAX_TESTS} tests")));
            }
            self.tests += 1;
            Expression::Test(self.test()?)
        };
        self.depth -= 1;
        Ok(term)
    }

    fn test(&mut self) -> Result<Test, FilterError> {
        const TEST: &str = "test: arp, ip, ip6, icmp, icmp6, tcp, udp, dhcp, nd, host, net, port, ether, vlan, \
             broadcast, multicast";
        let Some(word) = self.peek() else { return Err(self.wants(TEST)) };
        if let Some(&(_, version, number)) = PROTOCOLS.iter().find(|known| known.0 == word) {
            self.next();
            if matches!(word, "tcp" | "udp")
                && matches!(self.peek(), Some("src" | "dst" | "port" | "portrange"))
            {
                let side = self.side();
                return self.port(Some(number), side);
            }
            return Ok(Test::Protocol(version, number));
        }
        let test = match word {
            "arp" => Test::EtherType(ARP),
            "ip" => Test::EtherType(IPV4),
            "ip6" => Test::EtherType(IPV6),
            "nd" => Test::NeighbourDiscovery,
            "dhcp" => Test::Dhcp,
            "broadcast" => Test::Broadcast,
            "multicast" => Test::Multicast,
            "proto" => {
                self.next();
                return Ok(Test::Protocol(None, self.value("protocol's number, as 89")?));
            }
            "vlan" => {
                self.next();
                return self.vlan();
            }
            "ether" => {
                self.next();
                return self.ether();
            }
            "src" | "dst" | "host" | "net" | "port" | "portrange" => return self.located(),
            _ => return Err(self.wants(TEST)),
        };
        self.next();
        Ok(test)
    }

    fn side(&mut self) -> Side {
        if self.takes(&["src"]) {
            Side::Source
        } else if self.takes(&["dst"]) {
            Side::Destination
        } else {
            Side::Either
        }
    }

    /// What may have a side.
    fn located(&mut self) -> Result<Test, FilterError> {
        const ADDRESS: &str = "IP address";
        let side = self.side();
        match self.peek() {
            Some("port" | "portrange") => self.port(None, side),
            Some("net") => {
                self.next();
                self.net(side)
            }
            _ => {
                let is_named = self.takes(&["host"]);
                let what = if is_named { ADDRESS } else { "host, net, port or IP address" };
                let address: IpAddr = self.value(what)?;
                Ok(Test::Net(side, address, if address.is_ipv4() { 32 } else { 128 }))
            }
        }
    }

    fn net(&mut self, side: Side) -> Result<Test, FilterError> {
        let net = self.peek().and_then(|word| {
            let (address, bits) = word.split_once('/')?;
            let (address, bits) = (address.parse::<IpAddr>().ok()?, number::<u8>(bits)?);
            (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
        });
        let (address, bits) = net.ok_or_else(|| self.wants("network, as 192.0.2.0/24"))?;
        self.next();
        Ok(Test::Net(side, address, bits))
    }

    fn port(&mut self, protocol: Option<u8>, side: Side) -> Result<Test, FilterError> {
        if self.takes(&["portrange"]) {
            let range = self.peek().and_then(|word| {
                let (first, last) = word.split_once('-')?;
                let (first, last) = (number::<u16>(first)?, number::<u16>(last)?);
                (first <= last).then_some(first..=last)
            });
            let range: RangeInclusive<u16> =
                range.ok_or_else(|| self.wants("range of ports, as 8000-8010"))?;
            self.next();
            return Ok(Test::Port(protocol, side, range));
        }
        if !self.takes(&["port"]) {
            return Err(self.wants("port or portrange"));
        }
        let port = self.peek().and_then(number::<u16>);
        let port = port.ok_or_else(|| self.wants("port's number"))?;
        self.next();
        Ok(Test::Port(protocol, side, port..=port))
    }

    fn vlan(&mut self) -> Result<Test, FilterError> {
        let Some(word) = self.peek().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        else {
            return Ok(Test::Vlan(None));
        };
        let id = number::<u16>(word).filter(|&id| id <= MAX_VLAN);
        let id = id.ok_or_else(|| self.wants("VLAN, 0 to 4095"))?;
        self.next();
        Ok(Test::Vlan(Some(id)))
    }

    fn ether(&mut self) -> Result<Test, FilterError> {
        if self.takes(&["broadcast"]) {
            return Ok(Test::Broadcast);
        }
        if self.takes(&["multicast"]) {
            return Ok(Test::Multicast);
        }
        if self.takes(&["proto"]) {
            let ethertype = self.peek().and_then(|word| match word.strip_prefix("0x") {
                Some(digits) if digits.starts_with('+') => None,
                Some(digits) => u16::from_str_radix(digits, 16).ok(),
                None => number(word),
            });
            let ethertype = ethertype.ok_or_else(|| self.wants("EtherType, as 0x88b5"))?;
            self.next();
            return Ok(Test::EtherType(ethertype));
        }
        let side = self.side();
        self.takes(&["host"]);
        Ok(Test::Mac(side, self.value::<MacAddr>("MAC, as 02:00:00:00:00:01")?))
    }
}

/// A decimal number without a sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok())?
}
