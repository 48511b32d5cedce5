//! The contenders: each opens a TAP in either namespace, and carries frames between them by two threads
//! or two tasks.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread;

use acton_netns::Namespace;
use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Trust};
use acton_tap::{Offloads, Queue, Stop, VnetHeader};

use crate::Outcome;

/// Bytes of the longest frame of an MTU of 1,500, and of the longest super-frame with its header.
const FRAME: usize = 1_514;
const SUPER_FRAME: usize = 10 + 65_549;

/// Opens the TAPs "left" and "right"; what it returns starts to carry frames.
type Open = fn(&Namespace, &Namespace) -> Outcome<Box<dyn FnOnce()>>;

pub struct Relay {
    pub name: &'static str,
    pub open: Open,
}

/// Ours first: the others are compared to it.
pub const RELAYS: [Relay; 9] = [
    Relay { name: "acton-tap, super-frames", open: acton_super_frames },
    Relay { name: "acton-tap, cut and joined", open: acton_cut_and_joined },
    Relay { name: "acton-tap, frames", open: acton_frames },
    Relay { name: "acton-tap, frames, Tokio", open: acton_tokio },
    Relay { name: "tun-rs, frames", open: tun_rs_frames },
    Relay { name: "tun-rs, offload(true), not cut", open: tun_rs_offload },
    Relay { name: "tun, frames", open: tun_frames },
    Relay { name: "tappers, frames", open: tappers_frames },
    Relay { name: "tokio-tun, frames", open: tokio_tun_frames },
];

/// What blocks for a frame and sends one.
trait End: Send + Sync + 'static {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize>;
    fn send(&self, frame: &[u8]) -> io::Result<usize>;
}

/// Two threads that read and write.
fn carry<E: End>(left: E, right: E, room: usize) -> Box<dyn FnOnce()> {
    both(left, right, move |from, to| {
        let mut frame = vec![0; room];
        while let Ok(length) = from.recv(&mut frame) {
            drop(to.send(&frame[..length]));
        }
    })
}

/// A thread each way.
fn both<E: Send + Sync + 'static>(
    left: E,
    right: E,
    way: impl Fn(&E, &E) + Clone + Send + 'static,
) -> Box<dyn FnOnce()> {
    let (left, right) = (Arc::new(left), Arc::new(right));
    Box::new(move || {
        for (from, to) in [(left.clone(), right.clone()), (right, left)] {
            let way = way.clone();
            thread::spawn(move || way(&from, &to));
        }
    })
}

impl End for Queue {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::recv(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

fn acton(namespace: &Namespace, name: &str, offloads: Offloads) -> Outcome<Queue> {
    let builder = acton_tap::Tap::builder().name(name).offloads(offloads);
    let tap = namespace.run(|| builder.vnet_header(!offloads.is_empty()).build())?;
    Ok(tap.into_parts().1.remove(0))
}

fn acton_super_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let all = Offloads::all();
    Ok(carry(acton(left, "left", all)?, acton(right, "right", all)?, SUPER_FRAME))
}

fn acton_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let none = Offloads::none();
    Ok(carry(acton(left, "left", none)?, acton(right, "right", none)?, FRAME))
}

/// As through a tunnel: what waits is read, cut into whole frames with their checksums, verified, and
/// joined again.
fn acton_cut_and_joined(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let all = Offloads::all();
    let ends = (acton(left, "left", all)?, acton(right, "right", all)?);
    ends.0.set_nonblocking(true)?;
    ends.1.set_nonblocking(true)?;
    let stop = Stop::new()?;
    Ok(both(ends.0, ends.1, move |from, to| {
        let (mut buffer, mut frames) = (vec![0; SUPER_FRAME], Frames::default());
        let mut coalescer = Coalescer::new(Offloads::all());
        while let Ok(Some(length)) = from.recv_or_stopped(&mut buffer, &stop) {
            frames.cut(&buffer[..length]);
            while frames.bytes.len() < BATCH
                && let Ok(length) = from.recv(&mut buffer)
            {
                frames.cut(&buffer[..length]);
            }
            let mut batch = coalescer.batch(|joined| drop(to.send_vectored(joined.pieces())));
            let mut begin = 0;
            for &end in &frames.ends {
                let frame = &frames.bytes[mem::replace(&mut begin, end)..end];
                let _ = batch.push(frame, Trust::Verify);
            }
            drop(batch);
            frames.bytes.clear();
            frames.ends.clear();
        }
    }))
}

/// Bytes of frames after which no more is read before they are sent.
const BATCH: usize = 64 << 10;

/// Whole frames one after the other, and where each ends.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Frames {
    /// Adds the frames that one read stands for.
    fn cut(&mut self, read: &[u8]) {
        let Some((header, frame)) = read.split_first_chunk() else { return };
        let Ok(header) = VnetHeader::decode(header) else { return };
        let Ok(mut segments) = Segments::new(&header, frame, FRAME, Fill::Full) else { return };
        let mut head = [0; MAX_HEAD];
        while let Some(segment) = segments.next_in(&mut head) {
            self.bytes.extend_from_slice(segment.head);
            self.bytes.extend_from_slice(segment.payload);
            self.ends.push(self.bytes.len());
        }
    }
}

/// A runtime with a thread each way, as the others have.
fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build()?)
}

fn acton_tokio(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    use acton_tap::tokio::AsyncQueue;
    let runtime = runtime()?;
    let guard = runtime.enter();
    let left = Arc::new(AsyncQueue::new(acton(left, "left", Offloads::none())?)?);
    let right = Arc::new(AsyncQueue::new(acton(right, "right", Offloads::none())?)?);
    drop(guard);
    Ok(Box::new(move || {
        for (from, to) in [(left.clone(), right.clone()), (right, left)] {
            runtime.spawn(async move {
                let mut frame = [0; FRAME];
                while let Ok(length) = from.recv(&mut frame).await {
                    drop(to.send(&frame[..length]).await);
                }
            });
        }
        mem::forget(runtime);
    }))
}

fn tokio_tun_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let runtime = runtime()?;
    let open = |namespace: &Namespace, name: &str| -> Outcome<Arc<tokio_tun::Tun>> {
        let mut queues = namespace.run(|| {
            let _guard = runtime.enter();
            tokio_tun::TunBuilder::new().name(name).tap().build()
        })?;
        Ok(Arc::new(queues.remove(0)))
    };
    let (left, right) = (open(left, "left")?, open(right, "right")?);
    Ok(Box::new(move || {
        for (from, to) in [(left.clone(), right.clone()), (right, left)] {
            runtime.spawn(async move {
                let mut frame = [0; FRAME];
                while let Ok(length) = from.recv(&mut frame).await {
                    drop(to.send(&frame[..length]).await);
                }
            });
        }
        mem::forget(runtime);
    }))
}

impl End for tun_rs::SyncDevice {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::recv(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

fn tun_rs(namespace: &Namespace, name: &str, offload: bool) -> Outcome<tun_rs::SyncDevice> {
    let builder = tun_rs::DeviceBuilder::new().name(name).layer(tun_rs::Layer::L2);
    let builder = builder.with(|linux| {
        linux.offload(offload);
    });
    Ok(namespace.run(|| builder.build_sync())?)
}

fn tun_rs_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    Ok(carry(tun_rs(left, "left", false)?, tun_rs(right, "right", false)?, FRAME))
}

/// Its `recv_multiple` cuts IP packets, not frames: of a TAP only what the file gives can be used.
fn tun_rs_offload(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    Ok(carry(tun_rs(left, "left", true)?, tun_rs(right, "right", true)?, SUPER_FRAME))
}

impl End for tun::Device {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::recv(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

fn tun_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let open = |namespace: &Namespace, name: &str| -> Outcome<tun::Device> {
        let mut configuration = tun::Configuration::default();
        configuration.tun_name(name).layer(tun::Layer::L2).up();
        Ok(namespace.run(|| tun::create(&configuration))?)
    };
    Ok(carry(open(left, "left")?, open(right, "right")?, FRAME))
}

impl End for tappers::Tap {
    fn recv(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::recv(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

fn tappers_frames(left: &Namespace, right: &Namespace) -> Outcome<Box<dyn FnOnce()>> {
    let open = |namespace: &Namespace, name: &str| -> Outcome<tappers::Tap> {
        Ok(namespace.run(|| tappers::Tap::new_named(tappers::Interface::new(name)?))?)
    };
    Ok(carry(open(left, "left")?, open(right, "right")?, FRAME))
}
