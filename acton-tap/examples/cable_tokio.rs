//! A cable between two TAPs, on Tokio: what goes out of one comes in at the other.
//!
//! ```text
//! cargo run --features tokio --example cable_tokio      # as root; makes left and right
//! ```

use std::io;

use acton_tap::Tap;
use acton_tap::tokio::AsyncQueue;

/// Frames of one end at most before the other has its turn.
const BATCH: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (left, right) = (end("left")?, end("right")?);
    println!("left and right are joined");
    let (there, back) = tokio::join!(carry(&left, &right), carry(&right, &left));
    there?;
    back?;
    Ok(())
}

fn end(name: &str) -> Result<AsyncQueue, Box<dyn std::error::Error>> {
    let tap = Tap::builder().name(name).build()?;
    tap.interface().up()?;
    let (_interface, mut queues) = tap.into_parts();
    Ok(AsyncQueue::new(queues.remove(0))?)
}

async fn carry(from: &AsyncQueue, to: &AsyncQueue) -> io::Result<()> {
    let mut buffer = [0; 1514];
    let mut frames: Vec<Vec<u8>> = Vec::new();
    loop {
        frames.clear();
        from.recv_batch(&mut buffer, BATCH, |frame| frames.push(frame.to_vec())).await?;
        let all: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        to.send_batch(&all).await?;
    }
}
