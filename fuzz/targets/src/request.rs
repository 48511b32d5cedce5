//! A line to the control socket.

use acton_cli::control::RequestLine;

/// What is a request stays the same one when it is written and read again, and what is none is said
/// to be so.
pub fn request(data: &[u8]) -> bool {
    match RequestLine::parse(data) {
        Ok(line) => {
            let written = serde_json::to_vec(&line).expect("a request can be written");
            let again = RequestLine::parse(&written);
            let again = again.unwrap_or_else(|error| panic!("{line:?} is written as: {error}"));
            assert_eq!(again, line);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
