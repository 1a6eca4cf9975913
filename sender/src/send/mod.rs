//! `fanfare send`: from the command line to the exit code.
//!
//! Not here: the transfer itself. Order: what was asked, what would be sent, the send, the result.
//! Invariant: whatever ends it, the exit code is the outcome's, and the last line on standard
//! error says why when it is not 0.

pub mod args;
mod dry_run;
pub mod expect;
pub mod settings;
pub mod signals;

use common::bundle::BundleFile;
use common::count::counted;
use common::limits::SYMBOL_FRAMING_BYTES;
use common::net::{Network, StopFlag};
use common::units::ByteSize;

use self::args::{ProgressArg, SendArgs};
use crate::complaint::Complaint;
use crate::console::Console;
use crate::exit::Exit;
use crate::progress::{self, Style};
use crate::summary;
use crate::transfer::{self, Observer, Plan, Report, SendError, SendOptions};

/// Carries out the command line.
///
/// # Errors
/// One line and the exit code, for everything but a success.
pub fn run(args: &SendArgs, network: &dyn Network, console: &Console) -> Result<(), Complaint> {
    let config = settings::Config::load(args.config.as_deref())?;
    let options = settings::resolve(args, &config)?;
    let (bundle, plan) = transfer::plan(&options).map_err(of_send)?;
    check_datagram_fits(&options, &plan)?;
    if args.dry_run {
        let planned = dry_run::Planned { options: &options, bundle: &bundle, plan: &plan };
        return console.result(&if args.json { planned.to_json() } else { planned.to_table() });
    }
    let notice = opening(&options, &bundle, &plan);
    drop(bundle);
    let report = transfer(args, &options, network, console, &notice)?;
    let text = match args.json {
        true => summary::to_json(&report, &options),
        false => summary::to_table(&report, &options, console.is_result_coloured),
    };
    console.result(&text)?;
    summary::complaint(&report, &options).map_or(Ok(()), Err)
}

/// Runs the transfer with its progress on the console.
fn transfer(
    args: &SendArgs,
    options: &SendOptions,
    network: &dyn Network,
    console: &Console,
    notice: &str,
) -> Result<Report, Complaint> {
    let machine = |error| Complaint::new(Exit::Resources, format!("cannot start: {error}"));
    let interrupt = StopFlag::new().map_err(machine)?;
    let (raised, told) = (interrupt.clone(), console.clone());
    let on_first = move || {
        raised.raise();
        told.say("interrupted: telling the hosts to stop; once more to leave at once");
    };
    signals::watch(on_first).map_err(machine)?;
    let mut display = progress::display(style(args, console), &console.screen);
    display.notice(notice);
    let observer: &mut dyn Observer = &mut *display;
    let report = transfer::send(options, network, &interrupt, observer);
    display.finish();
    report.map_err(of_send)
}

fn of_send(error: SendError) -> Complaint {
    Complaint::new(error.exit(), error)
}

fn style(args: &SendArgs, console: &Console) -> Style {
    match args.progress {
        Some(ProgressArg::Tty) => console.surroundings.tty(),
        Some(ProgressArg::Plain) => Style::Plain,
        Some(ProgressArg::Json) => Style::Json,
        Some(ProgressArg::None) => Style::None,
        Some(ProgressArg::Auto) | None if console.is_quiet => Style::None,
        Some(ProgressArg::Auto) | None => console.surroundings.automatic(),
    }
}

/// What the operator should know before the first datagram: what, where to, how far.
fn opening(options: &SendOptions, bundle: &BundleFile, plan: &Plan) -> String {
    let image = &bundle.preamble().manifest.image;
    format!(
        "{} {}: {} for {} of {}, to {} through {}, {}",
        plan.app,
        plan.label,
        ByteSize(bundle.payload_bytes()),
        ByteSize(image.bytes),
        image.kind,
        options.group,
        plan.interface.name,
        reach(options.ttl)
    )
}

/// How far datagrams go.
fn reach(ttl: u8) -> String {
    match ttl {
        1 => "--ttl 1 (this network only)".to_owned(),
        ttl => format!("--ttl {ttl} (at most {} away)", counted(ttl - 1, "router")),
    }
}

/// A datagram that must be cut in pieces is lost with any of them, and switches drop the rest.
fn check_datagram_fits(options: &SendOptions, plan: &Plan) -> Result<(), Complaint> {
    let symbol_bytes = usize::from(plan.geometry.symbol_bytes());
    let (packet_bytes, mtu) = (symbol_bytes + SYMBOL_FRAMING_BYTES, plan.interface.mtu);
    if options.symbol_bytes.is_none() || packet_bytes <= mtu as usize {
        return Ok(());
    }
    Err(Complaint::usage(format!(
        "--symbol-bytes {symbol_bytes} makes packets of up to {packet_bytes} bytes, and {} carries \
         {mtu}: give at most {}, or nothing",
        plan.interface.name,
        (mtu as usize).saturating_sub(SYMBOL_FRAMING_BYTES) / 64 * 64
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_of_a_send_is_said_in_words() {
        assert_eq!(reach(1), "--ttl 1 (this network only)");
        assert_eq!(reach(2), "--ttl 2 (at most 1 router away)");
        assert_eq!(reach(4), "--ttl 4 (at most 3 routers away)");
    }
}
