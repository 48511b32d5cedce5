//! A [`Queue`] for programs that run on async-io, as smol and async-std do (feature `async-io`).
//!
//! ```no_run
//! use acton_tap::Tap;
//! use acton_tap::async_io::AsyncQueue;
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

use ::async_io::Async;

use crate::queue::Queue;

/// A queue whose calls wait without blocking a thread: async-io has one of its own.
///
/// All take `&self`: several tasks may use one queue, and one may send while another receives. A call
/// that is dropped before it is ready has received or sent nothing.
#[derive(Debug)]
pub struct AsyncQueue(Async<Queue>);

impl AsyncQueue {
    /// Takes over a queue and makes it non-blocking.
    ///
    /// # Errors
    /// The system has no room for the registration.
    pub fn new(queue: Queue) -> io::Result<Self> {
        Ok(Self(Async::new(queue)?))
    }

    /// As [`Queue::recv`].
    ///
    /// # Errors
    /// Those listed at [`Queue`], except `WouldBlock`; `EBADFD` also where the interface was deleted
    /// during the wait.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|queue| queue.recv(buffer)).await
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
        self.0.read_with(|queue| queue.recv_batch(buffer, limit, &mut take)).await
    }

    /// As [`Queue::send`].
    ///
    /// # Errors
    /// Those listed at [`Queue`], except `WouldBlock`.
    pub async fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.0.write_with(|queue| queue.send(frame)).await
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
        self.0.get_ref()
    }

    /// The queue, which stays non-blocking.
    ///
    /// # Errors
    /// The registration cannot be taken back.
    pub fn into_inner(self) -> io::Result<Queue> {
        self.0.into_inner()
    }
}
