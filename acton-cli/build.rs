//! Tells the program how it is built: from which commit, for what, by which compiler.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Digits of a commit that are told.
const DIGITS: usize = 12;
/// Says which commit it is, where neither git nor a package of crates does.
const COMMIT: &str = "ACTON_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let commit = commit().unwrap_or_default();
    println!("cargo::rustc-env=ACTON_BUILD_COMMIT={}", commit.get(..DIGITS).unwrap_or(&commit));
    println!("cargo::rustc-env=ACTON_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=ACTON_BUILD_PROFILE={}", variable("PROFILE"));
    let rustc = env::var_os("RUSTC").and_then(|rustc| run(rustc, &["-V"])).unwrap_or_default();
    println!("cargo::rustc-env=ACTON_BUILD_RUSTC={rustc}");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The commit, where it can be known.
fn commit() -> Option<String> {
    if let Ok(named) = env::var(COMMIT) {
        return Some(named);
    }
    let crate_directory = env::var_os("CARGO_MANIFEST_DIR")?;
    let crate_directory = Path::new(&crate_directory);
    // What `cargo package` writes down.
    let packaged = fs::read_to_string(crate_directory.join(".cargo_vcs_info.json"));
    if let Ok(text) = packaged {
        return text.split("\"sha1\": \"").nth(1)?.split('"').next().map(str::to_owned);
    }
    // In a debug build each commit would have all tests be built anew.
    if variable("PROFILE") != "release" {
        return None;
    }
    let git = |arguments: &[&str]| {
        let directory = crate_directory.to_str()?;
        run("git", &[&["-C", directory], arguments].concat())
    };
    // A tarball may lie in a repository of something else.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    // Changes with each commit and each checkout.
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "HEAD"])
}

/// What a program prints, where it succeeds.
fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim().to_owned())
}
