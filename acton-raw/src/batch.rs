//! Room for the frames of one batched receive.

use std::io;
use std::os::fd::AsFd;

use crate::frame::{Frame, FrameMeta};
use crate::sys::message;

/// Buffers for [`RawSocket::recv_batch`](crate::RawSocket::recv_batch), and the frames that the
/// last one put there.
#[derive(Debug)]
pub struct RecvBatch {
    buffer: Vec<u8>,
    frame_size: usize,
    metas: Vec<FrameMeta>,
}

impl RecvBatch {
    /// Most frames a batch holds.
    pub const MAX: usize = message::MAX_BATCH;

    /// Room for `frames` frames (1 to [`MAX`](Self::MAX), else the nearest of them) of up to
    /// `frame_size` bytes; longer ones are cut, and 0 counts as 1.
    ///
    /// The interface's MTU and 14 bytes are enough for frames of the wire; on an interface with
    /// receive offload (GRO, `ethtool -k`) a frame can have 64 KiB.
    pub fn new(frames: usize, frame_size: usize) -> Self {
        let (frames, frame_size) = (frames.clamp(1, Self::MAX), frame_size.max(1));
        Self { buffer: vec![0; frames * frame_size], frame_size, metas: Vec::with_capacity(frames) }
    }

    /// The frames of the last receive, in the order they came in.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = Frame<'_>> {
        let buffers = self.buffer.chunks_exact(self.frame_size);
        self.metas
            .iter()
            .zip(buffers)
            .map(|(&meta, buffer)| Frame { meta, bytes: &buffer[..meta.captured_len] })
    }

    /// Frames the last receive got.
    pub fn len(&self) -> usize {
        self.metas.len()
    }

    /// Whether the last receive got none.
    pub fn is_empty(&self) -> bool {
        self.metas.is_empty()
    }

    pub(crate) fn fill(&mut self, fd: impl AsFd) -> io::Result<usize> {
        let buffers = self.buffer.chunks_exact_mut(self.frame_size);
        message::receive_batch(fd, buffers, &mut self.metas)
    }
}
