//! The virtio-net header before each frame of a TAP.

use acton_tap::VnetHeader;

/// The ten bytes of a header, then a frame.
pub fn vnet(data: &[u8]) -> bool {
    let Some(bytes) = data.first_chunk() else { return false };
    let Ok(header) = VnetHeader::decode(bytes) else { return false };
    // Fields that do not count are lost, so bytes may differ; the meaning may not.
    assert_eq!(VnetHeader::decode(&header.encode()), Ok(header));
    true
}
