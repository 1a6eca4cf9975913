//! Commands of the host's administrator around a switch: which, with what facts, what became of it.
//!
//! Not here: when they run ([`crate::activation`]). They change processes, never the store.
//! Invariant: a command comes from the administrator's own configuration, as a list of arguments
//! that no shell looks at; a peer names a release, never a program.

mod check;
mod facts;
mod http;
pub mod limits;
mod run;

use std::path::Path;
use std::time::Duration;

pub use check::{check_file, check_program};
pub use facts::{Cause, Facts, Previous};
pub use http::{HttpTarget, get};
pub use run::run;

pub use common::hook::{Ending, Point, Ran};

/// One command and its patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Program, by its absolute path, and arguments.
    pub command: Vec<String>,
    /// It is killed after this.
    pub timeout: Duration,
}

impl Hook {
    /// The program.
    pub fn program(&self) -> &Path {
        Path::new(self.command.first().map_or("", String::as_str))
    }
}
