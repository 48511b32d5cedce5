//! What a check comes to.

use serde::Serialize;

use super::code::Code;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The tunnel works, but worse than it could, or may stop.
    Warning,
    /// The tunnel does not work, or loses frames.
    Failed,
    /// It could not be looked at.
    Unknown,
    /// There is nothing to look at.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Finding {
    /// Which check.
    pub code: Code,
    /// How it stands.
    pub verdict: Verdict,
    /// Of what this is, where there can be several: an interface, a file, a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What was measured, or why nothing was.
    pub measured: String,
    /// What is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The command that mends it, for a shell of root on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What else helps, where no command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// What a check found.
    pub fn new(code: Code, verdict: Verdict, measured: impl Into<String>) -> Self {
        let measured = measured.into();
        Self { code, verdict, about: None, measured, wanted: None, fix: None, advice: None }
    }

    /// All is well.
    pub fn ok(code: Code, measured: impl Into<String>) -> Self {
        Self::new(code, Verdict::Ok, measured)
    }

    /// It works, but not well.
    pub fn warning(code: Code, measured: impl Into<String>) -> Self {
        Self::new(code, Verdict::Warning, measured)
    }

    /// It does not work.
    pub fn failed(code: Code, measured: impl Into<String>) -> Self {
        Self::new(code, Verdict::Failed, measured)
    }

    /// It could not be looked at, and why.
    pub fn unknown(code: Code, why: impl Into<String>) -> Self {
        Self::new(code, Verdict::Unknown, why)
    }

    /// There is nothing to look at, and why.
    pub fn skipped(code: Code, why: impl Into<String>) -> Self {
        Self::new(code, Verdict::Skipped, why)
    }

    /// Says of what this is.
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    /// Says what is wanted.
    pub fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = Some(wanted.into());
        self
    }

    /// Says which command mends it.
    pub fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(command.into());
        self
    }

    /// Says what else helps.
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
