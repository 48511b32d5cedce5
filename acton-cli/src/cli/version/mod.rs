//! `acton --version`, and with `--verbose` what a report of a fault should begin with.

mod host;

use acton_proto::wire::Suites;

use super::Failure;

/// Where the second column begins.
const VALUE_AT: usize = 20;

/// Prints the version; how it was built and what it finds here too if `verbose`.
pub(super) fn print(verbose: bool) -> Result<(), Failure> {
    let mut text = format!("acton {}", env!("CARGO_PKG_VERSION"));
    if verbose {
        for (name, value) in built().into_iter().chain(host::found()) {
            text.push_str(&format!("\n{name:VALUE_AT$}{value}"));
        }
    }
    super::state::print(&text)
}

/// How it was built.
fn built() -> Vec<(&'static str, String)> {
    let profile = env!("ACTON_BUILD_PROFILE");
    let commit = match (env!("ACTON_BUILD_COMMIT"), profile) {
        ("", "release") => "not known: it was built without git; ACTON_COMMIT can say it then",
        ("", _) => "not recorded in a debug build",
        (commit, _) => commit,
    };
    vec![
        ("commit", commit.to_owned()),
        ("built for", format!("{}, {profile}", env!("ACTON_BUILD_TARGET"))),
        ("built by", env!("ACTON_BUILD_RUSTC").to_owned()),
        ("cipher suites", suites().to_owned()),
    ]
}

fn suites() -> &'static str {
    if Suites::detect().contains(Suites::AES_256_GCM) {
        "AES-256-GCM by the processor's instructions, ChaCha20-Poly1305"
    } else {
        "ChaCha20-Poly1305 (this processor has no instructions for AES)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn all_is_said_in_a_line_each() {
        let lines: Vec<_> = built().into_iter().chain(host::found()).collect();
        for (name, value) in &lines {
            assert!(
                name.len() < VALUE_AT && !value.is_empty() && !value.contains('\n'),
                "{lines:?}"
            );
        }
        let target = &lines.iter().find(|(name, _)| *name == "built for").unwrap().1;
        assert!(target.contains(std::env::consts::ARCH) && target.contains("linux"), "{target}");
    }

    #[test]
    fn more_is_said_of_the_version_alone() {
        let parse = |arguments: &[&str]| command().try_get_matches_from(arguments).is_ok();
        assert!(parse(&["acton", "--version"]) && parse(&["acton", "-V", "--verbose"]));
        assert!(!parse(&["acton", "--verbose"]) && !parse(&["acton"]));
    }
}
