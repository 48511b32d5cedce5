//! The commands that ask a tunnel that runs, and steer it.

pub(super) mod capture;
mod datagram;
pub(super) mod drain;
pub(super) mod drops;
pub(super) mod events;
pub(super) mod fdb;
pub(super) mod groups;
pub(super) mod kick;
pub(super) mod log_levels;
mod output;
mod recording;
pub(super) mod reload;
mod session_rows;
mod session_text;
mod session_words;
pub(super) mod status;
mod status_text;
mod table;
pub(super) mod top;
pub(super) mod trace;
mod units;
pub(super) mod verify_isolation;
mod watch;

use crate::control::{Answer, Answers, AskError, End, RawAnswer, Request};

use super::Failure;
use super::control::InstanceOptions;
use output::Output;

/// Asks for something whose answer is its end, and says in words or in JSON what was done.
fn have_done(
    instance: &InstanceOptions,
    json: bool,
    request: Request,
    words: impl FnOnce(u64) -> String,
) -> Result<(), Failure> {
    have_ended(instance, json, request, |end| words(end.done.unwrap_or_default()))
}

/// The same where more is said of it than to how many.
fn have_ended(
    instance: &InstanceOptions,
    json: bool,
    request: Request,
    words: impl FnOnce(&End) -> String,
) -> Result<(), Failure> {
    let mut connection = instance.open()?;
    let mut answers = connection.ask(request)?;
    let mut out = Output::new();
    if json {
        let RawAnswer::End(end) = next_raw(&mut answers)? else { return Err(unexpected()) };
        out.object(&[end.get()], &[])?;
    } else {
        let Answer::End(end) = next(&mut answers)? else { return Err(unexpected()) };
        out.line(&words(&end))?;
    }
    out.end()
}

/// The next line of an answer, unless it is a refusal.
fn next(answers: &mut Answers<'_>) -> Result<Answer, Failure> {
    match answers.read()? {
        Answer::Error(refusal) => Err(AskError::from(refusal).into()),
        answer => Ok(answer),
    }
}

/// The same as it came.
fn next_raw(answers: &mut Answers<'_>) -> Result<RawAnswer, Failure> {
    match answers.read()? {
        RawAnswer::Error(refusal) => Err(AskError::from(refusal).into()),
        answer => Ok(answer),
    }
}

/// Whatever answers there is no acton of this version.
fn unexpected() -> Failure {
    Failure { code: super::FAILURE, message: "an answer that was not asked for".to_owned() }
}
