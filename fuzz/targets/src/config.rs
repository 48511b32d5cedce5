//! Files of settings.

use std::str;

use acton_cli::cli::role_command;
use acton_cli::config::{Role, check};

/// A file of settings, of a server or, where the first byte is odd, of a client. What is wrong lies
/// inside the text, and a right one with an unknown key behind it is wrong there alone.
pub fn config(data: &[u8]) -> bool {
    let Some((first, text)) = data.split_first() else { return false };
    let Ok(text) = str::from_utf8(text) else { return false };
    let role = if first & 1 == 0 { Role::Server } else { Role::Client };
    let command = role_command(role);
    let lines = text.matches('\n').count() + 1;
    match check(&command, text) {
        Ok(()) => {
            let problems =
                check(&command, &format!("{text}\nno-such-key = 1")).expect_err("a wrong key");
            let places: Vec<_> = problems.iter().map(|it| (it.line, it.column)).collect();
            assert_eq!(places, [(lines + 1, 1)]);
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "something is wrong");
            for problem in problems {
                let line = text.split('\n').nth(problem.line - 1).expect("a line of the text");
                assert!((1..=line.chars().count() + 1).contains(&problem.column), "{problem}");
                assert!(!problem.what.is_empty());
            }
            false
        }
    }
}
