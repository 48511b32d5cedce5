//! A [`Queue`] for programs that run on Tokio (feature `tokio`).
//!
//! ```no_run
//! use acton_tap::Tap;
//! use acton_tap::tokio::AsyncQueue;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (_interface, mut queues) = Tap::builder().build()?.into_parts();
//! let queue = AsyncQueue::new(queues.remove(0))?;
//! let mut frame = [0; 1514];
//! loop {
//!     let length = queue.recv(&mut frame).await?;
//!     queue.send(&frame[..length]).await?;
//! }
//! # }
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;

use crate::queue::Queue;

/// A queue whose calls wait without blocking a thread.
///
/// All take `&self`: several tasks may use one queue, and one may send while another receives. A call
/// that is dropped before it is ready has received or sent nothing.
#[derive(Debug)]
pub struct AsyncQueue(AsyncFd<Registered>);

/// Tokio asks for a raw descriptor, which [`Queue`] does not give away.
#[derive(Debug)]
struct Registered(Queue);

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// With errors, or a deleted interface would wake nobody: the kernel says nothing else of it.
const READ: Interest = Interest::READABLE.add(Interest::ERROR);
const WRITE: Interest = Interest::WRITABLE.add(Interest::ERROR);

impl AsyncQueue {
    /// Takes over a queue and makes it non-blocking.
    ///
    /// # Errors
    /// The runtime has no I/O, or the system no room for the registration.
    ///
    /// # Panics
    /// Outside a Tokio runtime, as [`AsyncFd::new`] does.
    #[allow(
        deprecated,
        reason = "what replaces it is unsafe, and newer than most programs' Tokio; what it asks \
                  for holds: `Registered` owns its descriptor and always gives the same"
    )]
    pub fn new(queue: Queue) -> io::Result<Self> {
        queue.set_nonblocking(true)?;
        Ok(Self(AsyncFd::with_interest(Registered(queue), READ.add(WRITE))?))
    }

    /// As [`Queue::recv`].
    ///
    /// # Errors
    /// Those listed at [`Queue`], except `WouldBlock`; `EBADFD` also where the interface was deleted
    /// during the wait.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(READ, |queue| queue.0.recv(buffer)).await
    }

    /// Waits for a frame and then receives those that are there: [`Queue::recv_batch`].
    ///
    /// # Errors
    /// As of [`recv`](Self::recv).
    pub async fn recv_batch(
        &self,
        buffer: &mut [u8],
        limit: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        self.0.async_io(READ, |queue| queue.0.recv_batch(buffer, limit, &mut take)).await
    }

    /// As [`Queue::send`].
    ///
    /// # Errors
    /// Those listed at [`Queue`], except `WouldBlock`.
    pub async fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.0.async_io(WRITE, |queue| queue.0.send(frame)).await
    }

    /// Sends frames in order, all of them unless one fails, and returns how many went.
    ///
    /// # Errors
    /// As of [`send`](Self::send), when the first frame failed. Sending on from there tells why
    /// another did.
    pub async fn send_batch(&self, frames: &[&[u8]]) -> io::Result<usize> {
        for (sent, frame) in frames.iter().enumerate() {
            match self.send(frame).await {
                Ok(_) => {}
                Err(error) if sent == 0 => return Err(error),
                Err(_) => return Ok(sent),
            }
        }
        Ok(frames.len())
    }

    /// The queue, say to set its carrier.
    pub fn get_ref(&self) -> &Queue {
        &self.0.get_ref().0
    }

    /// The queue, which stays non-blocking.
    pub fn into_inner(self) -> Queue {
        self.0.into_inner().0
    }
}
