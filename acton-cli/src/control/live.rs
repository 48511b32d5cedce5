//! Traces of frames as they pass.

use std::io;
use std::time::{Duration, Instant};

use acton_engine::{CaptureLayer, CaptureOptions, CapturedPacket, Direction, Error, Handle};

use super::wire::{Answer, End, LiveTrace};
use super::writer::AnswerWriter;

/// How often a reader is looked after for whom there is nothing.
const LOOK: Duration = Duration::from_millis(250);

/// Frames that are traced for one who asks, at most: each asks the tunnel's control thread something.
const MOST: u32 = 1_000;

/// Which frames to wait for: those from the other end of `session` where one is named, and of all
/// those that `filter` passes.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn options(
    count: u32,
    session: Option<String>,
    filter: Option<&str>,
) -> Result<CaptureOptions, String> {
    if !(1..=MOST).contains(&count) {
        return Err(format!("count: {count} is not within 1 and {MOST} frames"));
    }
    let mut options = CaptureOptions::default();
    options.session = session;
    options.layer = Some(CaptureLayer::Inner);
    let filter = filter.map(|filter| filter.parse()).transpose();
    options.filter = filter.map_err(|error| format!("filter: {error}"))?;
    Ok(options)
}

/// Writes a line for each of the next frames, `count` in all; gives the last one.
///
/// # Errors
/// Where the reader has gone or does not read.
pub(super) fn show(
    handle: &Handle,
    options: CaptureOptions,
    count: u32,
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<Result<Answer, Error>> {
    let only_from_session = options.session.is_some();
    let mut frames = match handle.capture(options) {
        Ok(frames) => frames,
        Err(error) => return Ok(Err(error)),
    };
    let mut left = count;
    let mut look_at = Instant::now() + LOOK;
    while left > 0 {
        let packet = frames.next_within(LOOK);
        // Also while none but frames that are not wanted come.
        if look_at <= Instant::now() {
            if !is_there() {
                break;
            }
            look_at = Instant::now() + LOOK;
        }
        let Some(packet) = packet else {
            if frames.is_ended() {
                break;
            }
            continue;
        };
        if only_from_session && packet.direction != Direction::In {
            continue;
        }
        if let Some(trace) = trace(handle, packet) {
            writer.add(&Answer::Live(trace))?;
            writer.flush()?;
            left -= 1;
        }
    }
    Ok(Ok(Answer::End(End::default())))
}

/// `None` where nobody knows any more whence it came.
fn trace(handle: &Handle, packet: CapturedPacket) -> Option<LiveTrace> {
    let from = match packet.direction {
        Direction::In => Some(packet.session?),
        Direction::Out => None,
    };
    let mut frame = packet.bytes;
    // Of one that was dropped there is the beginning, which has what decides.
    frame.resize(packet.len, 0);
    let trace = handle.trace(from.as_deref(), &frame).ok()?;
    let (len, frames) = (packet.len, packet.frames);
    Some(LiveTrace::new(packet.time, from, len, frames, packet.verdict?, trace))
}
