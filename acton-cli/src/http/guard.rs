//! Who may ask: whoever has the token, where there is one; and no page of another site.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::request::Request;
use super::response::Refused;

/// Characters of a token at least: what cannot be guessed over a network.
const SHORTEST: usize = 16;
/// Bytes of a token's file at most: what a request has room for.
const LONGEST: usize = 4_096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// It cannot be read.
    #[error("--http-token {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It is none.
    #[error(
        "--http-token {}: a token is one line of {SHORTEST} to {LONGEST} printable characters without \
         spaces; head -c 24 /dev/urandom | base64 makes one", .0.display()
    )]
    NoToken(PathBuf),
}

/// What whoever asks has to know.
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    /// Reads it from a file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path)
            .map_err(|error| TokenError::Read { path: path.to_owned(), error })?;
        Self::new(&Zeroizing::new(text)).ok_or_else(|| TokenError::NoToken(path.to_owned()))
    }

    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (SHORTEST..=LONGEST).contains(&text.len());
        let is_fine = fits && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fine.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether that is what `Authorization` says, in a time that tells nothing but its length.
    fn is_shown(&self, authorization: &[u8]) -> bool {
        let Some((scheme, shown)) = authorization.split_at_checked("Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(self.0.as_bytes()))
    }
}

/// Lets a request in that may be answered. The page itself, which is the same for all, needs no token,
/// so that it can ask for it.
///
/// # Errors
/// Why it may not.
pub(super) fn admit(request: &Request, token: Option<&Token>) -> Result<(), Refused> {
    if request.is_cross_site && request.path != "/" {
        return Err(Refused::new(403, "forbidden", "pages of other sites may not ask"));
    }
    match token {
        // Who has no token gets nothing, whatever name it asks by.
        Some(token) if request.path != "/" => {
            let shown = request.authorization.as_deref();
            if !shown.is_some_and(|shown| token.is_shown(shown)) {
                let message = "it takes the token of --http-token: Authorization: Bearer TOKEN";
                return Err(Refused::new(401, "unauthorized", message));
            }
            Ok(())
        }
        Some(_) => Ok(()),
        // A site whose name was made to lead here asks by that name (DNS rebinding).
        None if request.host.as_deref().is_none_or(is_local) => Ok(()),
        None => {
            let message = "ask by an IP address or as localhost, or start acton with --http-token";
            Err(Refused::new(421, "host", message))
        }
    }
}

/// Whether a `Host` is none that the domain name system could lead anywhere.
fn is_local(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "0"),
    };
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = match v6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost"),
    };
    is_address && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_no_name_server_leads_here() {
        for host in
            ["localhost", "LOCALHOST:9273", "127.0.0.1:1", "192.0.2.1", "[::1]:9273", "[::1]"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9273",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "[::1",
            "localhost:",
            "localhost:x",
            "127.0.0.1:99999",
            "[evil]:1",
            "a@localhost",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn tokens() {
        let token = Token::new("0123456789abcdef\n").unwrap();
        assert!(token.is_shown(b"Bearer 0123456789abcdef"));
        assert!(token.is_shown(b"bearer 0123456789abcdef"));
        for shown in [
            &b""[..],
            b"Bearer ",
            b"Bearer 0123456789abcdeF",
            b"Bearer 0123456789abcdef0",
            b"Basic 0123456789abcdef",
            b"0123456789abcdef",
            b"Bearer  0123456789abcdef",
        ] {
            assert!(!token.is_shown(shown), "{shown:?}");
        }
        for text in ["", "\n", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\nmore"] {
            assert!(Token::new(text).is_none(), "{text:?}");
        }
    }
}
