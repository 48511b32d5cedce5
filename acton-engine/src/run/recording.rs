//! A way to the TAP on which somebody captures.

use std::sync::Arc;

use acton_frame::Headers;
use acton_tap::offload::{Tags, Trust};

use crate::capture::packet::{Direction, Outcome, Who, WireFrames};
use crate::capture::recorder::Recorder;
use crate::run::side::Arrival;
use crate::run::tap_writer::TapSink;

/// Shows what passes on the way to another sink. Workers go by this way only while somebody captures,
/// so that without it no frame meets so much as a question.
pub(crate) struct Recording<'a, T> {
    tap: &'a mut T,
    recorder: &'a mut Recorder,
    /// At a server: whose frames are written.
    client: Option<Arc<str>>,
}

impl<'a, T> Recording<'a, T> {
    pub(crate) fn new(tap: &'a mut T, recorder: &'a mut Recorder) -> Self {
        Self { tap, recorder, client: None }
    }

    /// Shows a frame as it came, without the tags that it is written with.
    fn record(&mut self, frame: &[u8], headers: &Headers) {
        if self.recorder.wants_frames() {
            let who = self.client.as_deref().map_or(Who::Server, Who::Client);
            let (outcome, frames) = (Outcome::ToTap, WireFrames::ONE);
            self.recorder.frame(Direction::In, who, outcome, frames, headers, frame);
        }
    }
}

impl<'f, T: TapSink<'f>> TapSink<'f> for Recording<'_, T> {
    fn hear_datagram(&mut self, arrival: &Arrival, datagram: &[u8]) {
        if self.recorder.wants_datagrams() {
            let (remote, local) = arrival.path();
            let who = Who::Address { remote: Some(remote), local };
            self.recorder.datagram(Direction::In, who, [datagram, &[]]);
        }
    }

    fn hear_client(&mut self, name: &Arc<str>) {
        if self.client.as_ref() != Some(name) {
            self.client = Some(Arc::clone(name));
        }
    }

    fn write(&mut self, frame: &'f [u8], headers: &Headers, tags: Tags, trust: Trust) {
        self.record(frame, headers);
        self.tap.write(frame, headers, tags, trust);
    }

    fn write_now(&mut self, frame: &[u8], headers: &Headers, tags: Tags, trust: Trust) {
        self.record(frame, headers);
        self.tap.write_now(frame, headers, tags, trust);
    }
}
