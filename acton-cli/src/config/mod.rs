//! Files of settings: a TOML file in which each option of `acton server` or `acton client` is a key
//! of the option's long name, a list where the option may be given more than once, a boolean where
//! it is a flag.
//!
//! What a key is, which values it takes and what it is without one, clap's definition of the options
//! says and nothing here: a new option is a key at once. What a file says is given to clap as if it
//! stood on the command line, unless the command line or the environment say otherwise; so that what
//! options demand of one another is checked once, wherever they come from.

mod example;
mod file;
mod invocation;
mod key;
mod problem;
mod reload;
mod report;
mod role;
mod running;
mod show;
#[cfg(test)]
mod tests;

pub use file::check;
pub use problem::Problem;
pub use report::{ConfigReport, KeyReport, Outcome, RefusedReload};
pub use role::Role;

pub(crate) use example::example;
pub(crate) use invocation::{
    CONFIG_OPTION, Failed, Invocation, Reading, config_option, first_paragraph,
};
pub(crate) use key::{Key, without_environment};
pub(crate) use reload::{OtherKeys, Reloader};
pub(crate) use running::RunningConfig;
pub(crate) use show::{json, toml};
