//! The names of clients' circuits: put into what clients ask, taken out of what servers answer.

use acton_bridge::{CircuitEcho, CompiledPolicy};
use acton_frame::Headers;

use super::{TraceVerdict, Tracing, counted};
use crate::observe::counters::Counter;
use crate::run::clock;
use crate::sessions::circuits::{self, Addressee};
use crate::sessions::port::LeafId;

impl Tracing<'_> {
    /// Whether a client's circuit has anything against the frame.
    pub(super) fn circuit(
        &mut self,
        port: LeafId,
        policy: &CompiledPolicy,
        headers: &Headers,
    ) -> Option<TraceVerdict> {
        let (circuit, name) = (policy.policy().circuit.as_ref()?, self.name(port));
        let facts = circuits::facts(policy, &name);
        match circuit.mark(&facts, headers, &self.frame) {
            Ok(None) => {
                self.note("circuit", "nothing for a server that is told of it");
                None
            }
            Ok(Some(mark)) => {
                let (id, protocol) =
                    (circuit.id.shown(facts.client, facts.server), mark.protocol());
                self.note("circuit", format!("named as {id:?} in {}", protocol.as_str()));
                None
            }
            Err(_) if self.fate == Some(TraceVerdict::Tap) => {
                self.note("circuit", "it was named, and is shown as it went on");
                None
            }
            Err(refusal) => {
                self.note("circuit", refusal.to_string());
                Some(counted(Counter::Circuit))
            }
        }
    }

    /// Takes the name of a circuit out of a frame from the root; which client that is for, where it does
    /// not go by its address.
    pub(super) fn answered(&mut self) -> Option<LeafId> {
        let (names, floods) = (self.handle.names()?, self.handle.floods()?);
        let headers = Headers::parse(&self.frame);
        if !floods.are_naming_circuits() || !CircuitEcho::may_be_in(&headers, &self.frame) {
            return None;
        }
        let Some(echo) = CircuitEcho::find(&headers, &self.frame) else {
            return self.was_answered();
        };
        let there =
            circuits::leads_to(&headers, &self.frame, self.handle.bridge()?, floods, clock::now());
        let addressee = names.addressee(&echo, &self.frame, there);
        let id = String::from_utf8_lossy(echo.circuit(&self.frame)).into_owned();
        let named = format!("names {id:?} in {}", echo.protocol().as_str());
        let (text, port) = match addressee {
            Addressee::Nobody => {
                let whose = if there.is_some() { "that it is addressed to" } else { "here" };
                self.note("circuit", format!("{named}, which is no client's {whose}: it stays"));
                return None;
            }
            Addressee::ByAddress => ("is taken out, and it goes by its address".to_owned(), None),
            Addressee::Client(port) => {
                let name = self.name(port);
                (format!("is taken out, and it goes to {name}, whatever its address"), Some(port))
            }
        };
        self.note("circuit", format!("{named}, which {text}"));
        let frame = self.frame.to_mut();
        let len = echo.remove(&headers, frame, false);
        frame.truncate(len);
        self.longest = self.longest.min(len);
        port
    }

    /// Which client a frame went to that may have been an answer with the name of its circuit: it is shown
    /// as it went on.
    fn was_answered(&mut self) -> Option<LeafId> {
        let Some(TraceVerdict::Session(name)) = self.fate.clone() else { return None };
        let names = self.handle.names()?;
        let port = names.find(&name)?;
        let (policy, _) = names.policing(port)?;
        policy.policy().circuit.as_ref()?;
        self.note("circuit", format!("if it named one, that was {name}'s and is taken out here"));
        Some(port)
    }
}
