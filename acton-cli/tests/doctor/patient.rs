//! Who is looked at: a place to run the doctor and its fixes in.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use acton_netns::Namespace;
use serde_json::Value;

/// A place to run commands in.
pub(crate) enum Patient<'p> {
    /// This thread's own namespaces.
    Here,
    /// A host of a world.
    Host(&'p Namespace),
    /// The namespaces of a process that waits, by the arguments of nsenter(1).
    Held(&'p Held),
}

impl Patient<'_> {
    fn output(&self, command: &mut Command) -> Output {
        match self {
            Self::Here => command.output().unwrap(),
            Self::Host(namespace) => namespace.output(command).unwrap(),
            Self::Held(held) => {
                let mut entering = Command::new("nsenter");
                entering
                    .args(held.enter.iter().copied())
                    .arg("-t")
                    .arg(held.process.id().to_string());
                entering.arg("--").arg(command.get_program()).args(command.get_args());
                let given = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
                entering.env_clear().envs(given);
                entering.output().unwrap()
            }
        }
    }

    /// Runs a line of a shell, which must succeed. `acton` there is the one under test.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) {
        let output = self.output(clean(Command::new("sh").args(["-ec", line])));
        assert!(output.status.success(), "`{line}`: {output:?}");
    }

    /// What the doctor says, given these arguments.
    #[track_caller]
    pub(crate) fn look(&self, arguments: &[&str]) -> Look {
        self.look_with(
            Command::new(env!("CARGO_BIN_EXE_acton")).args(["doctor", "--json"]),
            arguments,
        )
    }

    /// The same by this command, which is given the arguments of the doctor.
    #[track_caller]
    pub(crate) fn look_with(&self, command: &mut Command, arguments: &[&str]) -> Look {
        let output = self.output(clean(command).args(arguments));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        let findings = json["findings"].as_array().unwrap().clone();
        let failed = findings.iter().any(|finding| finding["verdict"] == "failed");
        assert_eq!(output.status.code(), Some(i32::from(failed)), "{text}");
        Look(findings)
    }
}

/// Gives a command a path to `acton` and no tunnel, settings and keys of the machine's own.
fn clean(command: &mut Command) -> &mut Command {
    let given: Vec<_> = command
        .get_envs()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect();
    let bin = Path::new(env!("CARGO_BIN_EXE_acton")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    command.env_clear().env("PATH", path).env("ACTON_CONTROL", "none").env("ACTON_CONFIG", "none");
    command.env("ACTON_STATE", "/nonexistent").envs(given)
}

/// What the doctor said.
#[derive(Debug)]
pub(crate) struct Look(Vec<Value>);

impl Look {
    /// The worst that is said of a check.
    #[track_caller]
    pub(crate) fn of(&self, code: &str) -> &Value {
        let rank = |finding: &&Value| match finding["verdict"].as_str().unwrap() {
            "failed" => 0,
            "warning" => 1,
            "unknown" => 2,
            "ok" => 3,
            _ => 4,
        };
        let all = self.0.iter().filter(|finding| finding["code"] == code);
        all.min_by_key(rank).unwrap_or_else(|| panic!("nothing is said of {code}"))
    }

    /// The verdict on a check.
    #[track_caller]
    pub(crate) fn verdict(&self, code: &str) -> &str {
        self.of(code)["verdict"].as_str().unwrap()
    }

    /// What was measured.
    #[track_caller]
    pub(crate) fn measured(&self, code: &str) -> &str {
        self.of(code)["measured"].as_str().unwrap()
    }

    /// The command that mends it.
    #[track_caller]
    pub(crate) fn fix(&self, code: &str) -> String {
        let finding = self.of(code);
        finding["fix"].as_str().unwrap_or_else(|| panic!("no fix: {finding}")).to_owned()
    }
}

/// Sees that a check says `verdict`, runs its fix, and sees that it says `ok`.
#[track_caller]
pub(crate) fn mend(patient: &Patient<'_>, code: &str, verdict: &str, arguments: &[&str]) {
    let sick = patient.look(arguments);
    assert_eq!(sick.verdict(code), verdict, "{:?}", sick.of(code));
    patient.run(&sick.fix(code));
    let well = patient.look(arguments);
    assert_eq!(well.verdict(code), "ok", "{:?}", well.of(code));
}

/// Namespaces that live as long as this.
pub(crate) struct Held {
    process: Child,
    _stdin: ChildStdin,
    enter: &'static [&'static str],
}

impl Held {
    /// Those that unshare(1) makes by these options, after this script ran in them; and what gets
    /// nsenter(1) into them.
    pub(crate) fn new(unshare: &[&str], script: &str, enter: &'static [&'static str]) -> Self {
        let script = format!("{script}\necho ready\nexec cat");
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-ec", &script]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{script}");
        Self { process, _stdin: stdin, enter }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory that is gone with this.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("acton-doctor-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
