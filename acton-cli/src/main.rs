//! The `acton` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    acton_cli::cli::main()
}
