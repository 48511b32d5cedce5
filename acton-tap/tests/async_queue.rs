//! The same through both kinds of async queue: frames one by one and in batches, a call that is
//! dropped, an interface that goes away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use acton_tap::{Queue, Tap};
use nix::errno::Errno;
use testbed::sh;
use util::{bridged_pair, frame, hush};

mod util;

/// Frames that are sent: as many as a TAP's transmit queue holds by default would be 500.
const COUNT: usize = 200;

fn queue_of(tap: Tap) -> Queue {
    tap.into_parts().1.remove(0)
}

/// Whether `future` waits, polled once and then dropped.
async fn waits(future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// A module of tests for each kind of queue: `$start` runs a future to its end.
macro_rules! tests_of {
    ($module:ident, $start:expr) => {
        mod $module {
            use super::*;
            use acton_tap::$module::AsyncQueue;

            pub(super) fn frames_and_batches_pass() {
                let (left, right) = bridged_pair();
                ($start)(async move {
                    let left = AsyncQueue::new(queue_of(left)).unwrap();
                    let right = AsyncQueue::new(queue_of(right)).unwrap();
                    let mut buffer = [0; 2000];
                    assert!(waits(right.recv(&mut buffer)).await);
                    for length in [60, 1514] {
                        assert_eq!(left.send(&frame(length)).await.unwrap(), length);
                        assert_eq!(right.recv(&mut buffer).await.unwrap(), length);
                        assert_eq!(buffer[..length], frame(length));
                    }

                    let sent: Vec<Vec<u8>> = (0..COUNT).map(|more| frame(60 + more)).collect();
                    let all: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
                    assert_eq!(left.send_batch(&all).await.unwrap(), COUNT);
                    let mut received: Vec<Vec<u8>> = Vec::new();
                    while received.len() < COUNT {
                        let before = received.len();
                        let take = |frame: &[u8]| received.push(frame.to_vec());
                        let count = right.recv_batch(&mut buffer, 32, take).await.unwrap();
                        assert_eq!(received.len(), before + count);
                        assert!((1..=32).contains(&count));
                    }
                    assert_eq!(received, sent);
                    assert!(waits(right.recv_batch(&mut buffer, 32, |_| {})).await);

                    assert_eq!(left.get_ref().name().unwrap(), "left");
                    let runt = left.send_batch(&[&sent[0], &[0; 3], &sent[1]]).await.unwrap();
                    assert_eq!(runt, 1, "the second is no frame");
                    assert_eq!(left.send(&[0; 3]).await.unwrap_err().raw_os_error(), Some(22));
                });
            }

            pub(super) fn a_deleted_interface_wakes_who_waits() {
                hush();
                let tap = Tap::builder().name("t0").build().unwrap();
                tap.interface().up().unwrap();
                ($start)(async move {
                    let queue = AsyncQueue::new(queue_of(tap)).unwrap();
                    let mut buffer = [0; 100];
                    let mut receiving = pin!(queue.recv(&mut buffer));
                    poll_fn(|context| {
                        assert!(receiving.as_mut().poll(context).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                    sh("ip link del t0");
                    let gone = receiving.await.unwrap_err();
                    assert_eq!(gone.raw_os_error(), Some(Errno::EBADFD as i32), "{gone}");
                    let gone = queue.send(&frame(60)).await.unwrap_err();
                    assert_eq!(gone.raw_os_error(), Some(Errno::EBADFD as i32), "{gone}");
                });
            }
        }
    };
}

tests_of!(async_io, ::async_io::block_on);
tests_of!(tokio, |future| {
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(future);
});

fn async_io_frames_and_batches() {
    async_io::frames_and_batches_pass();
}

fn async_io_deleted_interface() {
    async_io::a_deleted_interface_wakes_who_waits();
}

fn tokio_frames_and_batches() {
    tokio::frames_and_batches_pass();
}

fn tokio_deleted_interface() {
    tokio::a_deleted_interface_wakes_who_waits();
}

testbed::main! {
    async_io_frames_and_batches,
    async_io_deleted_interface,
    tokio_frames_and_batches,
    tokio_deleted_interface,
}
