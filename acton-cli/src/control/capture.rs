//! A capture over the socket.

use std::io;
use std::time::Duration;

use acton_engine::{CaptureLayer, CaptureOptions, CaptureStream, DropsWanted, Error, Handle};

use super::look::Sink as _;
use super::wire::{Answer, Capturing, DropsRequest, End, PacketRecord};
use super::writer::AnswerWriter;

/// How often a reader is looked after for whom there is nothing.
const LOOK: Duration = Duration::from_millis(250);
/// How often, in packets, one is looked after for whom there is ever more.
const PACKETS: u64 = 256;
/// How long a reader may stop reading, as while somebody looks at what Wireshark has: what comes
/// meanwhile is lost to it, and costs nobody else anything.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Seconds that one may look back: more than anybody keeps.
const LONGEST: f64 = 31_536_000.0;

/// What is asked for, as it came.
pub(super) struct CaptureRequest {
    pub(super) session: Option<String>,
    pub(super) layer: Option<CaptureLayer>,
    pub(super) drops: Option<DropsRequest>,
    pub(super) filter: Option<String>,
    pub(super) snaplen: Option<u32>,
}

/// Why there is no capture.
pub(super) enum Refused {
    /// The request makes no sense.
    Request(String),
    /// The tunnel says no.
    Engine(Error),
}

impl CaptureRequest {
    pub(super) fn begin(self, handle: &Handle) -> Result<CaptureStream, Refused> {
        let mut options = CaptureOptions::default();
        (options.session, options.layer) = (self.session, self.layer);
        options.snaplen = self.snaplen.map(|snaplen| snaplen as usize);
        let filter = self.filter.map(|filter| filter.parse()).transpose();
        options.filter = filter.map_err(|error| Refused::Request(format!("{error}")))?;
        options.drops = self.drops.map(drops).transpose()?;
        handle.capture(options).map_err(Refused::Engine)
    }
}

fn drops(request: DropsRequest) -> Result<DropsWanted, Refused> {
    let mut wanted = DropsWanted::default();
    wanted.reason = request.reason;
    if let Some(seconds) = request.since_seconds {
        if !(0.0..=LONGEST).contains(&seconds) {
            let message = format!("since_seconds: {seconds} is not within 0 and {LONGEST} seconds");
            return Err(Refused::Request(message));
        }
        wanted.since = Some(Duration::from_secs_f64(seconds));
    }
    Ok(wanted)
}

/// Writes all lines of the answer but the last, and gives that.
pub(super) fn show(
    mut stream: CaptureStream,
    handle: &Handle,
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<Answer> {
    writer.add(&Answer::Capturing(Capturing { tap: handle.tap_name().to_owned() }))?;
    writer.set_patience(PATIENCE);
    let mut packets = 0;
    loop {
        let (packet, waited) = match stream.next_within(Duration::ZERO) {
            Some(packet) => (Some(packet), false),
            None => {
                writer.flush()?;
                (stream.next_within(LOOK), true)
            }
        };
        if let Some(packet) = &packet {
            packets += 1;
            writer.add(&Answer::Packet(PacketRecord::new(packet)))?;
        }
        let looks = waited || packets % PACKETS == 0;
        if looks && (stream.is_ended() || !is_there()) {
            break;
        }
    }
    writer.reset_patience();
    let (lost, unseen) = (Some(stream.lost()), stream.unseen_drops());
    let unseen_drops = (unseen > 0).then_some(unseen);
    Ok(Answer::End(End { lost, unseen_drops, ..End::default() }))
}
