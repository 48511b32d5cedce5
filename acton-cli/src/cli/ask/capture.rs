//! `acton capture`.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use acton_engine::{CaptureLayer, Filter, drop_reasons};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::recording::Recording;
use super::{next, unexpected};
use crate::cli::control::InstanceOptions;
use crate::cli::{FAILURE, Failure, USAGE, state};
use crate::control::{Answer, Answers, Capturing, DropsRequest, End, Request};

/// Mode of a file that only its owner may read and write.
const PRIVATE: u32 = 0o600;
/// Packets after which they are written, even if more come at once.
const PACKETS: u64 = 64;

/// Shows the frames that pass, and what became of each, to Wireshark and tcpdump: pcapng on standard
/// output or to a file, until Ctrl-C
///
/// Each session is an interface of its name; what is for all sessions or of none that is known is on
/// that of the TAP. The direction is that of the session, and a packet's comment says where it went or
/// why it was dropped. A super-frame is shown as the one that it is at the TAP, and checksums that the
/// kernel fills in later are not there yet. Of dropped frames there are the first 128 bytes.
///
///   acton capture | wireshark -k -i -
///   acton capture berlin arp or dhcp | tcpdump -r -
///   acton capture --drops --since 30s -w drops.pcapng
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    /// Only what is of this session (a client's name, its UDP address or the session's number) and
    /// what is for all; then only frames that pass the filter, in the words of tcpdump: arp, ip, ip6,
    /// icmp, icmp6, tcp, udp, dhcp, nd, [src|dst] host A, net A/BITS, port N, ether MAC, ether proto
    /// 0x88b5, vlan [N], broadcast, multicast, joined by and, or, not and parentheses
    #[arg(value_name = "[SESSION] [FILTER]")]
    words: Vec<String>,

    /// Frames as they go through the tunnel [default, and with --drops both]
    #[arg(long)]
    inner: bool,

    /// UDP datagrams as they are on the way, in secure mode sealed, behind made-up headers of
    /// Ethernet, IP and UDP; those of frames and all that come
    #[arg(long, conflicts_with = "inner")]
    outer: bool,

    /// Only what is dropped, for this reason as `acton drops` names it, or for any
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true)]
    drops: Option<Option<String>>,

    /// What was dropped in so much time until now, as 30s, 5m or 2h, as far as it is kept: the last 512
    /// of each thread
    #[arg(long, value_name = "TIME", value_parser = time, requires = "drops")]
    since: Option<Duration>,

    /// Ends after so many packets
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Bytes of each packet at most
    #[arg(long, short, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    snaplen: Option<u32>,

    /// Writes to this file, which nobody else may read then; - is standard output
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        if let (Some(None), Some(reason)) = (&self.drops, self.words.iter().find(is_reason)) {
            let message = format!("{reason} is a reason to drop: write --drops={reason}");
            return Err(Failure { code: USAGE, message });
        }
        let (session, filter) = session_and_filter(&self.words)?;
        if self.to_file().is_none() && io::stdout().is_terminal() {
            let message = "a terminal shows no pcapng: add -w FILE, or | wireshark -k -i -, or | tcpdump -r -";
            return Err(Failure { code: USAGE, message: message.to_owned() });
        }
        let layer = match (self.inner, self.outer) {
            (_, true) => Some(CaptureLayer::Outer),
            (true, _) => Some(CaptureLayer::Inner),
            _ => None,
        };
        let since_seconds = self.since.map(|since| since.as_secs_f64());
        let drops = self.drops.clone().map(|reason| DropsRequest { reason, since_seconds });
        let snaplen = self.snaplen;
        let mut connection = self.instance.open()?;
        let stopper = connection.stopper()?;
        let request = Request::Capture { session, layer, drops, filter, snaplen };
        let mut answers = connection.ask(request)?;
        let Answer::Capturing(Capturing { tap }) = next(&mut answers)? else {
            return Err(unexpected());
        };
        // Not before: what is in the file stays where nothing takes its place.
        let output = self.output()?;
        let mut recording = Recording::new(output, &tap, snaplen.unwrap_or(0)).map_err(written)?;
        if since_seconds.is_none() {
            state::note(&format!("capturing at {tap}; Ctrl-C ends it"));
        }

        let stopper = Arc::new(stopper);
        let of_signals = Arc::clone(&stopper);
        stop_on_signals(move || of_signals.stop())?;
        let count = self.count.unwrap_or(u64::MAX);
        let ended = record(&mut answers, &mut recording, count, || stopper.stop());
        let (lost, unseen) = match &ended {
            Ok(End { lost, unseen_drops, .. }) => {
                (lost.unwrap_or_default(), unseen_drops.unwrap_or_default())
            }
            Err(Ended::ReaderGone) => return Ok(()),
            Err(Ended::Failed(_)) => (0, 0),
        };
        recording.finish(lost).map_err(written)?;
        let packets = recording.packets();
        state::note(&format!("{packets} packets captured, {lost} lost for want of time"));
        if unseen > 0 {
            state::note(&format!(
                "{unseen} drops were gone before it was seen whether they are wanted"
            ));
        }
        match ended {
            Err(Ended::Failed(failure)) => Err(failure),
            _ => Ok(()),
        }
    }

    /// The file to write to; `None` for standard output.
    fn to_file(&self) -> Option<&Path> {
        self.write.as_deref().filter(|path| *path != Path::new("-"))
    }

    fn output(&self) -> Result<Box<dyn Write>, Failure> {
        let Some(path) = self.to_file() else { return Ok(Box::new(io::stdout())) };
        let file = open_emptied(path).map_err(|error| {
            let message = format!("cannot write {}: {error}", path.display());
            Failure { code: FAILURE, message }
        })?;
        Ok(Box::new(file))
    }
}

/// Opens a file that only its owner may read, for frames are private, and empties it.
fn open_emptied(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(PRIVATE).open(path)?;
    // A pipe or a device is as whoever made it wants it.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// Why a capture ends before its end.
enum Ended {
    /// Nobody reads standard output any more.
    ReaderGone,
    Failed(Failure),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(written(error)),
        }
    }
}

/// Records what comes, `count` packets at most; what is known at the end.
fn record(
    answers: &mut Answers<'_>,
    recording: &mut Recording<Box<dyn Write>>,
    count: u64,
    stop: impl Fn(),
) -> Result<End, Ended> {
    loop {
        // What is there is shown before more is waited for.
        if !answers.has_more() || recording.packets().is_multiple_of(PACKETS) {
            recording.flush()?;
        }
        match next(answers).map_err(Ended::Failed)? {
            Answer::Packet(packet) if recording.packets() < count => {
                recording.add(&packet).map_err(|error| match error {
                    super::recording::Error::Write(error) => Ended::from(error),
                    super::recording::Error::Data => Ended::Failed(unexpected()),
                })?;
                if recording.packets() == count {
                    stop();
                }
            }
            // Those that were on the way.
            Answer::Packet(_) => {}
            Answer::End(end) => return Ok(end),
            _ => return Err(Ended::Failed(unexpected())),
        }
    }
}

fn written(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
        _ => Failure { code: FAILURE, message: format!("cannot write what was captured: {error}") },
    }
}

/// Has `stop` called at the first SIGINT or SIGTERM; the second ends the program at once.
fn stop_on_signals(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("acton-signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            stop();
        }
    })?;
    Ok(())
}

/// Whether `acton drops` may name this as a reason. Words without a `_` may be meant as they stand: `vlan`
/// is a filter too.
fn is_reason(word: &&String) -> bool {
    word.contains('_') && drop_reasons().any(|(reason, _)| reason == word.as_str())
}

/// Which of the words is the session, if any, and which are the filter: words that are a filter as a
/// whole name no session.
fn session_and_filter(words: &[String]) -> Result<(Option<String>, Option<String>), Failure> {
    let Some((first, rest)) = words.split_first() else { return Ok((None, None)) };
    let whole = words.join(" ");
    let Err(no_filter) = whole.parse::<Filter>() else { return Ok((None, Some(whole))) };
    let rest = rest.join(" ");
    if rest.is_empty() && !first.contains(char::is_whitespace) {
        return Ok((Some(first.clone()), None));
    }
    match rest.parse::<Filter>() {
        Ok(_) => Ok((Some(first.clone()), Some(rest))),
        Err(_) if rest.is_empty() => Err(Failure { code: USAGE, message: no_filter.to_string() }),
        Err(error) => {
            let message = format!(
                "'{whole}' is neither a filter ({no_filter}) nor the session '{first}' and a filter \
                 ({error})"
            );
            Err(Failure { code: USAGE, message })
        }
    }
}

/// A time, as 30s, 5m or 2h; a number alone is seconds.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3_600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().filter(|number| (0.0..=1e6).contains(number));
    let seconds = seconds.ok_or("no time; write it as 30s, 5m or 2h")?;
    Ok(Duration::from_secs_f64(seconds * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<(Option<String>, Option<String>), String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        session_and_filter(&words).map_err(|failure| failure.message)
    }

    #[test]
    fn a_word_that_is_no_filter_is_the_session() {
        let owned = |text: &str| Some(text.to_owned());
        assert_eq!(of(&[]), Ok((None, None)));
        assert_eq!(of(&["berlin"]), Ok((owned("berlin"), None)));
        assert_eq!(of(&["arp"]), Ok((None, owned("arp"))));
        assert_eq!(of(&["arp or ip6"]), Ok((None, owned("arp or ip6"))));
        assert_eq!(of(&["berlin", "arp"]), Ok((owned("berlin"), owned("arp"))));
        let quoted = of(&["192.0.2.7:41000", "not (arp or ip6)"]);
        assert_eq!(quoted, Ok((owned("192.0.2.7:41000"), owned("not (arp or ip6)"))));
        let split = of(&["berlin", "not", "host", "10.0.0.1"]);
        assert_eq!(split, Ok((owned("berlin"), owned("not host 10.0.0.1"))));
        let wrong = of(&["hots", "10.0.0.1"]).unwrap_err();
        assert!(
            wrong.contains("'hots' is no test") && wrong.contains("'10.0.0.1' is no test"),
            "{wrong}"
        );
        assert!(of(&["arp hots"]).unwrap_err().contains("column 5"));
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30.0), ("5m", 300.0), ("0.5h", 1_800.0), ("7", 7.0)] {
            assert_eq!(time(text), Ok(Duration::from_secs_f64(seconds)));
        }
        for text in ["", "s", "-1s", "1d", "nan", "inf", "1e9h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
