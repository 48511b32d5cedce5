//! One connection: a request is read, answered, and that was all.

use std::io;
use std::net::TcpStream;

use crate::control::Counts;
use crate::guests::Idle;

use super::door::Shared;
use super::guard;
use super::request::{self, Unread};
use super::response::Response;
use super::routes;

/// Answers what comes.
pub(super) fn serve(shared: &Shared, stream: &TcpStream, idle: &Idle) {
    let read = request::read(stream);
    idle.end();
    let request = match read {
        Ok(request) => request,
        Err(Unread::Gone) => return,
        Err(Unread::Slow) => return Counts::add(&shared.counts().too_slow),
        Err(Unread::Refused(refused)) => {
            Counts::add(&shared.counts().bad_requests);
            return note(shared, Response::new(stream, false, true).refused(&refused));
        }
    };
    let answered = match guard::admit(&request, shared.token.as_ref()) {
        Ok(()) => routes::answer(shared, &request, stream),
        Err(refused) => {
            Counts::add(&shared.counts().refused);
            Response::new(stream, request.is_head, request.is_1_1).refused(&refused)
        }
    };
    note(shared, answered);
}

/// Counts who does not read.
fn note(shared: &Shared, answered: io::Result<()>) {
    if answered.is_err_and(|error| request::is_timeout(&error)) {
        Counts::add(&shared.counts().too_slow);
    }
}
