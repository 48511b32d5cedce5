//! What frames that look for loops look like (docs/PROTOCOL.md, section 19). Both ends make them, also
//! where nobody sends anything, so they are no sign of use.

/// The group that they go to.
pub const PROBE_GROUP: [u8; 6] = [0x03, 0x61, 0x63, 0x74, 0x6f, 0x6e];
/// IEEE Std 802 - Local Experimental EtherType 2 (IEEE 802, section 9.2.3).
pub const PROBE_ETHERTYPE: u16 = 0x88b6;
/// What the payload begins with: a name and the version of what follows.
pub const PROBE_MAGIC: [u8; 6] = *b"acton\x01";
/// Bytes of one, without FCS: a header and 52 of payload.
pub const PROBE_LEN: usize = 66;

/// Whether a frame is one, as far as its form tells: anybody can make a frame of that form.
#[must_use]
pub fn is_probe(frame: &[u8]) -> bool {
    frame.len() == PROBE_LEN
        && frame.starts_with(&PROBE_GROUP)
        && frame[12..14] == PROBE_ETHERTYPE.to_be_bytes()
        && frame[14..20] == PROBE_MAGIC
}
