//! `fanfare`: packs releases, checks them and sends them to a fleet.
#![expect(clippy::print_stderr, reason = "errors go to stderr, one line each")]

use std::process::ExitCode;

use clap::Parser;
use sender::complaint::Complaint;
use sender::exit::Exit;
use sender::inspect::InspectArgs;
use sender::pack::args::PackArgs;
use sender::verify::VerifyArgs;

/// Pushes one release to a whole fleet at once
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, args_override_self = true)]
enum Command {
    #[command(args_override_self = true)]
    Pack(PackArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
}

fn main() -> ExitCode {
    match run() {
        Ok(exit) => exit.into(),
        Err(complaint) => {
            eprintln!("fanfare: {complaint}");
            complaint.exit.into()
        }
    }
}

fn run() -> Result<Exit, Complaint> {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) if error.use_stderr() => return Err(Complaint::of_clap(&error)),
        // Help and version are results.
        Err(error) => return print_help(&error),
    };
    match command {
        Command::Pack(args) => args.run()?,
        Command::Inspect(args) => args.run()?,
        Command::Verify(args) => args.run()?,
    }
    Ok(Exit::Done)
}

fn print_help(help: &clap::Error) -> Result<Exit, Complaint> {
    help.print().map_err(|error| Complaint::new(Exit::Internal, error))?;
    Ok(Exit::Done)
}
