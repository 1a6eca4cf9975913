//! `fanfare`: packs releases, checks them and sends them to a fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    sender::guard::run(sender::cli::run).into()
}
