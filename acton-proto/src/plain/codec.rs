use std::fmt;

use thiserror::Error;

/// Bytes of the shortest frame: two MAC addresses and an EtherType (IEEE 802.3, without the
/// check sequence). A shorter payload is control.
pub const MIN_FRAME_LEN: usize = 14;

/// Bytes of the longest payload: 65,535 less the IPv4 and UDP headers (RFC 791, RFC 768).
///
/// IPv6 would carry 20 bytes more; one limit for both keeps a frame's fate independent of the
/// underlay.
pub const MAX_DATAGRAM: usize = 65_507;

/// A control message: a payload of exactly this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// Asks for a session; the server answers with the same.
    Hello,
    /// Keeps a session, or asks for one; the server answers with the same.
    Keepalive,
    /// Ends a session; nobody answers.
    Bye,
}

impl Control {
    /// The payload on the wire, 3 to 9 bytes of ASCII.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Hello => b"HELLO",
            Self::Keepalive => b"KEEPALIVE",
            Self::Bye => b"BYE",
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "HELLO",
            Self::Keepalive => "KEEPALIVE",
            Self::Bye => "BYE",
        })
    }
}

/// What one UDP payload of plain mode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datagram<'a> {
    /// A control message.
    Control(Control),
    /// An Ethernet frame without its check sequence, [`MIN_FRAME_LEN`] to [`MAX_DATAGRAM`] bytes.
    Frame(&'a [u8]),
}

impl<'a> Datagram<'a> {
    /// Tells what `payload`, the data of one UDP datagram, is. A frame borrows from it.
    ///
    /// # Errors
    /// [`ParseError`] when it is neither a control message nor a frame. Such a datagram is to be
    /// dropped and counted.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        match payload {
            b"HELLO" => Ok(Self::Control(Control::Hello)),
            b"KEEPALIVE" => Ok(Self::Control(Control::Keepalive)),
            b"BYE" => Ok(Self::Control(Control::Bye)),
            _ if payload.len() < MIN_FRAME_LEN => {
                Err(ParseError::UnknownControl { len: payload.len() })
            }
            _ if payload.len() > MAX_DATAGRAM => Err(ParseError::TooLong { len: payload.len() }),
            _ => Ok(Self::Frame(payload)),
        }
    }

    /// The UDP payload that carries this.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Control(control) => control.as_bytes(),
            Self::Frame(frame) => frame,
        }
    }
}

/// Why a payload is no message of plain mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Too short for a frame and no control message.
    #[error(
        "payload of {len} bytes is too short for a frame and is not HELLO, KEEPALIVE or BYE: \
         check that the peer speaks plain acton"
    )]
    UnknownControl {
        /// Bytes in the payload, 0 to 13.
        len: usize,
    },
    /// Longer than [`MAX_DATAGRAM`].
    #[error("payload of {len} bytes is longer than {MAX_DATAGRAM}: lower the peer's MTU")]
    TooLong {
        /// Bytes in the payload.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTROLS: [Control; 3] = [Control::Hello, Control::Keepalive, Control::Bye];

    #[test]
    fn control_texts_are_those_of_0_1_1() {
        assert_eq!(CONTROLS.map(Control::as_bytes), [&b"HELLO"[..], b"KEEPALIVE", b"BYE"]);
        for control in CONTROLS {
            assert_eq!(control.to_string().as_bytes(), control.as_bytes());
            assert!(control.as_bytes().len() < MIN_FRAME_LEN);
            assert_eq!(Datagram::parse(control.as_bytes()), Ok(Datagram::Control(control)));
        }
    }

    #[test]
    fn near_misses_are_errors() {
        for text in ["", "H", "HELL", "HELLO\n", "HELLO\0", "hello", "KEEPALIVE ", "BYEBYE"] {
            let len = text.len();
            assert_eq!(Datagram::parse(text.as_bytes()), Err(ParseError::UnknownControl { len }));
        }
        // 14 bytes are a frame, whatever they spell.
        assert_eq!(Datagram::parse(b"HELLOKEEPALIVE"), Ok(Datagram::Frame(b"HELLOKEEPALIVE")));
    }

    #[test]
    fn every_length_is_what_the_limits_say() {
        let bytes = vec![0; MAX_DATAGRAM + 20];
        for len in 0..=bytes.len() {
            let payload = &bytes[..len];
            let expected = match len {
                0..MIN_FRAME_LEN => Err(ParseError::UnknownControl { len }),
                MIN_FRAME_LEN..=MAX_DATAGRAM => Ok(Datagram::Frame(payload)),
                _ => Err(ParseError::TooLong { len }),
            };
            // By address and length: comparing the bytes would make this quadratic.
            match (Datagram::parse(payload), expected) {
                (Ok(Datagram::Frame(a)), Ok(Datagram::Frame(b))) => assert!(std::ptr::eq(a, b)),
                (got, expected) => assert_eq!(got, expected),
            }
        }
    }

    proptest! {
        #[test]
        fn frames_survive_the_round_trip(
            frame in prop::collection::vec(any::<u8>(), MIN_FRAME_LEN..2_000),
        ) {
            let encoded = Datagram::Frame(&frame).as_bytes();
            prop_assert_eq!(Datagram::parse(encoded), Ok(Datagram::Frame(&frame)));
        }

        #[test]
        fn what_parses_encodes_to_the_same_bytes(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                // Words near the real ones.
                "(HELLO|KEEPALIVE|BYE)?.{0,2}".prop_map(String::into_bytes),
            ],
        ) {
            match Datagram::parse(&bytes) {
                Ok(datagram) => prop_assert_eq!(datagram.as_bytes(), &bytes[..]),
                Err(error) => {
                    let len = bytes.len();
                    prop_assert_eq!(error, ParseError::UnknownControl { len });
                    prop_assert!(len < MIN_FRAME_LEN);
                }
            }
        }
    }
}
