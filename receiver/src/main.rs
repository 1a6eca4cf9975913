//! `fanhost`: receives releases on this host and shows what it has.

use std::process::ExitCode;

fn main() -> ExitCode {
    receiver::guard::run(receiver::cli::run).into()
}
