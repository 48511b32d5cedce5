//! What such a benchmark is as a program: the benchmark, or the server that it starts.

use std::process::ExitCode;

use clap::Args;

use super::Result;
use super::server::Serve;

/// What each of them is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Program {
    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,

    #[command(flatten)]
    pub(crate) server: Serve,
}

impl Program {
    /// Serves, or measures where cargo bench started this.
    pub(crate) fn run(&self, name: &str, measure: impl FnOnce() -> Result<()>) -> ExitCode {
        self.run_prepared(name, || Ok(()), measure)
    }

    /// The same with something that is done before it serves.
    pub(crate) fn run_prepared(
        &self,
        name: &str,
        before_serving: impl FnOnce() -> Result<()>,
        measure: impl FnOnce() -> Result<()>,
    ) -> ExitCode {
        let outcome = match self.server.serve {
            Some(address) => before_serving().and_then(|()| self.server.run(address)),
            None if self.bench => measure(),
            None => {
                // cargo test --all-targets builds benchmarks and runs them too.
                println!("not run: cargo bench -p acton-engine --bench {name}");
                Ok(())
            }
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}
