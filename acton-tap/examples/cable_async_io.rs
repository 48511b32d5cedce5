//! A cable between two TAPs, on async-io (smol, async-std): what goes out of one comes in at the other.
//!
//! ```text
//! cargo run --features async-io --example cable_async_io      # as root; makes left and right
//! ```

use std::io;
use std::thread;

use acton_tap::Tap;
use acton_tap::async_io::AsyncQueue;
use async_io::block_on;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (left, right) = (end("left")?, end("right")?);
    println!("left and right are joined");
    thread::scope(|scope| {
        let back = scope.spawn(|| block_on(carry(&right, &left)));
        block_on(carry(&left, &right))?;
        back.join().expect("it does not panic")
    })?;
    Ok(())
}

fn end(name: &str) -> Result<AsyncQueue, Box<dyn std::error::Error>> {
    let tap = Tap::builder().name(name).build()?;
    tap.interface().up()?;
    let (_interface, mut queues) = tap.into_parts();
    Ok(AsyncQueue::new(queues.remove(0))?)
}

async fn carry(from: &AsyncQueue, to: &AsyncQueue) -> io::Result<()> {
    let mut frame = [0; 1514];
    loop {
        let length = from.recv(&mut frame).await?;
        to.send(&frame[..length]).await?;
    }
}
