//! `fanhost`: receives releases on this host and shows what it has.

use std::process::ExitCode;

fn main() -> ExitCode {
    receiver::cli::run().into()
}
