//! acton-frame: the headers of any bytes.

use acton_frame::{Ethernet, Fragment, Headers};

/// A frame. All that is found lies inside it, in order; what is found in its beginning is found in
/// all of it.
pub fn frame(data: &[u8]) -> bool {
    let headers = Headers::parse(data);
    assert_eq!(headers.frame_len(), data.len());
    assert_eq!(headers.ethernet().copied(), Ethernet::parse(data));
    if headers.ethernet().is_none() {
        assert_eq!((headers.ethertype(), headers.ip()), (None, None));
    }
    if let Some(ip) = headers.ip() {
        assert!(ip.start >= 14 && ip.start + 20 <= data.len());
        assert!(ip.payload.is_none_or(|at| (ip.start + 20..=data.len()).contains(&at)));
        assert!(ip.payload.is_none() || ip.fragment != Fragment::Later);
        let padded = Headers::parse(&[data, &[0]].concat());
        assert!(!ip.fills || padded.ip().is_some_and(|ip| !ip.fills), "padding fills nothing");
    }
    if let Some(transport) = headers.transport() {
        assert_eq!(headers.ip().and_then(|ip| ip.payload), Some(transport.start));
        assert!((transport.start + 8..=data.len()).contains(&transport.payload));
        let beginning = Headers::parse(&data[..transport.payload]);
        assert_eq!(beginning.transport(), Some(transport));
        assert_eq!(beginning.hosts(data), headers.hosts(data));
        assert_eq!(beginning.ports(data), headers.ports(data));
        let cut = Headers::parse(&data[..transport.payload - 1]);
        assert_eq!(cut.transport(), None, "a header that is cut short");
    }
    headers.transport().is_some()
}
