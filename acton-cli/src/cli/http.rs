//! The options `--http`, `--http-token` and `--metrics-per-session`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Failure, USAGE};
use crate::control::Source;
use crate::http::{HttpServer, Listener, Token};

/// Whether and where a tunnel is shown by HTTP.
#[derive(Debug, Args)]
pub(super) struct HttpOptions {
    /// Address and TCP port at which to show, by HTTP, a page of this tunnel and /metrics, /health,
    /// /status.json and /events; nowhere without it. An address other than loopback needs
    /// --http-token
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    http: Option<SocketAddr>,

    /// File with the token, of 16 characters or more, that whoever asks by HTTP has to show (as
    /// Authorization: Bearer TOKEN)
    #[arg(long, value_name = "FILE", requires = "http")]
    http_token: Option<PathBuf>,

    /// Has /metrics tell of each named client too, not only of all together
    #[arg(long, requires = "http")]
    metrics_per_session: bool,
}

impl HttpOptions {
    /// Reads the token and listens: to be done while files and ports may still be opened. What comes
    /// before [`serve`](Self::serve) waits.
    pub(super) fn listen(&self) -> Result<Option<Listener>, Failure> {
        let Some(address) = self.http else { return Ok(None) };
        let token = self.http_token.as_deref().map(Token::read).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            let message = format!(
                "--http {address}: others than this host's own programs could ask there, so it needs \
                 --http-token FILE; 127.0.0.1:{} does without",
                address.port()
            );
            return Err(Failure { code: USAGE, message });
        }
        Ok(Some(Listener::bind(address, token)?))
    }

    /// Answers from now on.
    pub(super) fn serve(
        &self,
        listener: Listener,
        source: Arc<Source>,
    ) -> Result<HttpServer, Failure> {
        Ok(listener.serve(source, self.metrics_per_session)?)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let local = |port: &str| {
        let port = port.parse().ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let named = text.strip_prefix("localhost:").and_then(local);
    named
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "an IP address and a port, such as 127.0.0.1:9273 or [::1]:9273".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, said) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:9273", "127.0.0.1:9273"),
            ("[::1]:9273", "[::1]:9273"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Ok(said));
        }
        for text in
            ["", "9273", ":9273", "example.org:9273", "127.0.0.1", "::1:9273:", "localhost:"]
        {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
