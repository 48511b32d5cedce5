//! acton-frame: filters in words.

use acton_frame::{Filter, Headers};

/// A filter, and a frame that it looks at. It is shown in words that are read as the same filter, and
/// its opposite is true of the frame where it is not.
pub fn frame_filter(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let (text, frame) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = str::from_utf8(text) else { return false };
    let filter: Filter = match text.parse() {
        Ok(filter) => filter,
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.column()), "{error}");
            return false;
        }
    };
    let shown = filter.to_string();
    assert_eq!(shown.parse(), Ok(filter.clone()), "{shown}");
    let headers = Headers::parse(frame);
    // At most one more than a filter may have.
    if let Ok(opposite) = format!("not ({shown})").parse::<Filter>() {
        assert_ne!(opposite.matches(&headers, frame), filter.matches(&headers, frame), "{shown}");
    }
    true
}
