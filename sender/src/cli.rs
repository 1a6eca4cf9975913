//! The command line of `fanfare`: which verb, and what the program ends with.
//!
//! Not here: what the verbs do.

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use common::net::SystemNetwork;

use crate::complaint::Complaint;
use crate::console::{Console, Verbosity};
use crate::exit::Exit;
use crate::inspect::InspectArgs;
use crate::keys::keygen::KeygenArgs;
use crate::keys::sign::SignArgs;
use crate::pack::args::PackArgs;
use crate::send::{self, args::SendArgs};
use crate::verify::VerifyArgs;

/// Pushes one release to a whole fleet at once
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pack a directory, an image, an archive or a file into a bundle
    #[command(args_override_self = true)]
    Pack(Box<PackArgs>),
    /// Say what a bundle holds
    Inspect(InspectArgs),
    /// Check every byte of a bundle
    Verify(VerifyArgs),
    /// Sign a bundle, or make a new release of its image and sign that
    Sign(Box<SignArgs>),
    /// Make the keys of a site, or the key of one host
    Keygen(KeygenArgs),
    /// Send a release to every host that listens, once
    Send(Box<SendArgs>),
}

/// Does what the command line says.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let console = Console::open(cli.verbosity);
    let done = match cli.verb {
        Verb::Pack(args) => args.run(&console),
        Verb::Inspect(args) => args.run(&console),
        Verb::Verify(args) => args.run(&console),
        Verb::Sign(args) => args.run(&console),
        Verb::Keygen(args) => args.run(&console),
        Verb::Send(args) => send::run(&args, &SystemNetwork, &console),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(complaint) => {
            console.say(&complaint);
            complaint.exit
        }
    }
}

/// Help and version are results; anything else is one line and a usage error.
fn refuse(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader who has gone away has read enough of the help.
            let _ = error.print();
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            let complaint = Complaint::of_usage_page(&error.render().to_string());
            Console::open(Verbosity::default()).say(&complaint);
            complaint.exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
