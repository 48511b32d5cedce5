//! A server's name.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The server as its user names it: a host name or an IP address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    host: String,
    port: u16,
}

impl ServerName {
    /// Reads `HOST`, `HOST:PORT`, `IPv6` or `[IPv6]:PORT`; without a port it is `default_port`.
    ///
    /// # Errors
    /// What is wrong with `text`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (host, port) = match text.parse::<Ipv6Addr>() {
            Ok(_) => (text, None),
            Err(_) => match text.strip_prefix('[') {
                Some(rest) => {
                    let (host, rest) = rest.split_once(']').ok_or("no ']' after '['")?;
                    Ipv6Addr::from_str(host.split('%').next().unwrap_or(host))
                        .map_err(|error| format!("[{host}]: {error}"))?;
                    match rest.strip_prefix(':') {
                        Some(port) => (host, Some(port)),
                        None if rest.is_empty() => (host, None),
                        None => return Err(format!("'{rest}' after ']' is no :PORT")),
                    }
                }
                None => match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                },
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(format!("'{host}' is no host name or IP address"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("'{port}' is no port (1 to 65535)"))?,
            None => default_port,
        };
        if port == 0 {
            return Err("port 0 is no port to send to (1 to 65535)".to_owned());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The address, where no look-up is needed.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse::<IpAddr>().ok()?, self.port))
    }

    pub(crate) fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
    }
}

impl From<SocketAddr> for ServerName {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// As text: `HOST:PORT`.
#[cfg(feature = "serde")]
impl serde::Serialize for ServerName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// As text: `HOST` or `HOST:PORT`; without a port it is 8080.
#[cfg(feature = "serde")]
impl<'d> serde::Deserialize<'d> for ServerName {
    fn deserialize<D: serde::Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        Self::parse(&text, 8080).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        for (text, host, port) in [
            ("example.net", "example.net", 8080),
            ("example.net:9", "example.net", 9),
            ("192.0.2.1", "192.0.2.1", 8080),
            ("192.0.2.1:9000", "192.0.2.1", 9000),
            ("2001:db8::1", "2001:db8::1", 8080),
            ("[2001:db8::1]", "2001:db8::1", 8080),
            ("[2001:db8::1]:9000", "2001:db8::1", 9000),
            ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ] {
            let name = ServerName { host: host.to_owned(), port };
            assert_eq!(ServerName::parse(text, 8080), Ok(name), "{text}");
        }
        for text in
            ["", ":1", "a:b", "a:65536", "a:0", "[::1", "[::1]x", "[a]:1", "a b", "6a:553:6"]
        {
            assert!(ServerName::parse(text, 8080).is_err(), "{text:?}");
        }
    }
}
