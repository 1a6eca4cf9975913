//! `profile`: see [`bench::profile`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::profile::main()
}
