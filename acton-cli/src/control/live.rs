//! Traces of frames as they pass.

use std::io;
use std::time::{Duration, Instant};

use acton_engine::{CaptureLayer, CaptureOptions, CapturedPacket, Direction, Error, Handle};

use super::look::Sink as _;
use super::wire::{Answer, End, LiveTrace};
use super::writer::AnswerWriter;

/// How often a reader is looked after for whom there is nothing.
const LOOK: Duration = Duration::from_millis(250);

/// Frames that are traced for one who asks, at most: each asks the tunnel's control thread something.
const MOST: u32 = 1_000;

/// Which frames to wait for: those from the other end of `session` where one is named, or those from
/// this end's TAP alone, and of all those that `filter` passes.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn options(
    count: u32,
    session: Option<String>,
    from_tap: bool,
    filter: Option<&str>,
) -> Result<CaptureOptions, String> {
    if !(1..=MOST).contains(&count) {
        return Err(format!("count: {count} is not within 1 and {MOST} frames"));
    }
    if session.is_some() && from_tap {
        return Err("tap: frames are from the TAP or from a session, not from both".to_owned());
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
    (count, from_tap): (u32, bool),
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<Result<Answer, Error>> {
    let wanted = match (&options.session, from_tap) {
        (Some(_), _) => Some(Direction::In),
        (None, true) => Some(Direction::Out),
        (None, false) => None,
    };
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
        if wanted.is_some_and(|wanted| packet.direction != wanted) {
            continue;
        }
        if let Some(trace) = trace(handle, &packet) {
            writer.add(&Answer::Live(trace))?;
            writer.flush()?;
            left -= 1;
        }
    }
    Ok(Ok(Answer::End(End::default())))
}

/// `None` where nobody knows any more whence it came.
fn trace(handle: &Handle, packet: &CapturedPacket) -> Option<LiveTrace> {
    let trace = handle.trace_packet(packet)?;
    let from = packet.session.clone().filter(|_| packet.direction == Direction::In);
    let (len, frames) = (packet.len, packet.frames);
    Some(LiveTrace::new(packet.time, from, len, frames, packet.verdict.clone()?, trace))
}
