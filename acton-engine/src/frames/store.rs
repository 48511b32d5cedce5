//! Frames that lie somewhere until they are sent.

use acton_frame::Headers;
use acton_tap::VnetHeader;

/// Frames, by an index from 0 in the order in which they are to be sent.
pub(crate) trait FrameStore {
    /// How many there are.
    fn len(&self) -> usize;

    /// What the kernel says of frame `index`.
    fn vnet(&self, index: usize) -> &VnetHeader;

    /// What was found in frame `index` when it came.
    fn headers(&self, index: usize) -> &Headers;

    /// How many frames of the wire frame `index` stands for: more than one for a super-frame.
    fn count(&self, index: usize) -> u32 {
        self.vnet(index).gso.map_or(1, |gso| {
            // The headers, which each of them has, count as payload here: at most one too many.
            self.headers(index).frame_len().div_ceil(usize::from(gso.size.get())) as u32
        })
    }

    /// The bytes of frame `index`.
    fn get(&self, index: usize) -> &[u8];

    /// Frame `index`, to be changed where its headers do not look, and those.
    fn get_mut(&mut self, index: usize) -> (&mut [u8], &Headers);

    /// Has so many VLAN tags be taken off frame `index`, as many as it has at most; 0 puts them on again.
    fn take_off_tags(&mut self, index: usize, tags: u8);
}
