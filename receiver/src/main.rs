//! `fanhost`: receives releases on this host and shows what it has.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::guard::run("fanhost", || receiver::cli::run().code()).into()
}
