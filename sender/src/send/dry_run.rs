//! `--dry-run`: what would be sent, from where and how, without a datagram.

use std::fmt::Write;

use common::bundle::BundleFile;
use common::count::counted;
use common::geometry::Space;
use common::net::Interface;
use common::units::{Bitrate, ByteSize};

use super::reach;
use crate::session::{Expect, Quorum};
use crate::summary::activation_name;
use crate::transfer::{Plan, RateOption, SendOptions};

/// Version of the object's form.
const SCHEMA: u32 = 1;

/// All that is known before a send begins.
pub struct Planned<'a> {
    /// What was asked for.
    pub options: &'a SendOptions,
    /// The bundle, open.
    pub bundle: &'a BundleFile,
    /// What follows from both.
    pub plan: &'a Plan,
}

impl Planned<'_> {
    /// For people.
    pub fn to_table(&self) -> String {
        let image = &self.bundle.preamble().manifest.image;
        let options = self.options;
        let rows = [
            ("release", format!("{} {} ({})", self.plan.app, self.plan.label, self.plan.release)),
            ("bundle", self.bundle_line()),
            ("image", format!("{}, {}, {}", image.kind, ByteSize(image.bytes), image.digest)),
            ("from", from_line(&self.plan.interface, options)),
            ("to", format!("{}, {}", options.group, reach(options.ttl))),
            ("expect", expect_line(options)),
            ("activate", activation_name(options.activation).to_owned()),
            ("rate", self.rate_line()),
            ("geometry", self.geometry_line()),
            ("join", humantime::format_duration(options.join_window).to_string()),
            (
                "timeout",
                options.timeout.map_or_else(
                    || "none".to_owned(),
                    |time| humantime::format_duration(time).to_string(),
                ),
            ),
        ];
        let mut text = "dry run: nothing is sent\n".to_owned();
        for (name, line) in rows {
            let _ = writeln!(text, "{name:<10}{line}");
        }
        text
    }

    /// For scripts.
    pub fn to_json(&self) -> String {
        let image = &self.bundle.preamble().manifest.image;
        let (options, geometry) = (self.options, &self.plan.geometry);
        let value = serde_json::json!({
            "schema": SCHEMA,
            "dry_run": true,
            "release": self.plan.release.to_string(),
            "app": self.plan.app,
            "label": self.plan.label,
            "activation": activation_name(options.activation),
            "expected": expected(&options.expect),
            "image": { "kind": image.kind, "bytes": image.bytes },
            "payload_bytes": self.bundle.payload_bytes(),
            "interface": self.plan.interface.name,
            "mtu": self.plan.interface.mtu,
            "group": options.group.to_string(),
            "ttl": options.ttl,
            "rate": rate_ceiling(options.rate).map(Bitrate::as_bits),
            "symbol_bytes": geometry.symbol_bytes(),
            "source_symbols": geometry.space_symbols(Space::Payload),
            "blocks": geometry.block_count(),
        });
        format!("{value:#}\n")
    }

    fn bundle_line(&self) -> String {
        let (path, payload) = (self.bundle.path().display(), self.bundle.payload_bytes());
        format!("{path}, {} of payload", ByteSize(payload))
    }

    fn geometry_line(&self) -> String {
        let geometry = &self.plan.geometry;
        let blocks = |space| geometry.space_blocks(space).len();
        format!(
            "{} of {} bytes, {} a block; payload blocks: {}, \
             preamble blocks: {} for {}, windows: {}",
            counted(geometry.space_symbols(Space::Payload), "source symbol"),
            geometry.symbol_bytes(),
            counted(geometry.repair_symbols(), "repair symbol"),
            blocks(Space::Payload),
            blocks(Space::Preamble),
            ByteSize(geometry.space_bytes(Space::Preamble)),
            geometry.window_count(),
        )
    }

    fn rate_line(&self) -> String {
        let bytes = self.bundle.payload_bytes();
        let pass = |rate: Bitrate| match rate.time_for(bytes).as_secs_f64() {
            seconds if seconds < 0.05 => "the pass takes no time to speak of".to_owned(),
            seconds => format!("the pass takes at least {seconds:.1} s"),
        };
        match self.options.rate {
            RateOption::Fixed(rate) => format!("{rate}, whatever is lost; {}", pass(rate)),
            RateOption::Ceiling(rate) => format!("at most {rate}; {}", pass(rate)),
            RateOption::Auto => format!(
                "at most half of the slower of this link ({}) and the hosts' 5th percentile",
                link_speed(&self.plan.interface)
            ),
        }
    }
}

const fn rate_ceiling(rate: RateOption) -> Option<Bitrate> {
    match rate {
        RateOption::Auto => None,
        RateOption::Ceiling(rate) | RateOption::Fixed(rate) => Some(rate),
    }
}

fn link_speed(interface: &Interface) -> String {
    interface.speed.map_or_else(|| "speed unknown".to_owned(), |speed| speed.to_string())
}

fn from_line(interface: &Interface, options: &SendOptions) -> String {
    let own = match options.group.is_ipv4() {
        true => interface.v4.map(|address| address.to_string()),
        false => interface.v6.map(|address| address.to_string()),
    };
    let address = options.source.map(|source| source.to_string()).or(own).unwrap_or_default();
    format!("{} {address}, MTU {}, {}", interface.name, interface.mtu, link_speed(interface))
}

const fn expected(expect: &Expect) -> Option<usize> {
    match expect {
        Expect::Count(count) => Some(*count),
        Expect::Names(names) => Some(names.len()),
        Expect::Any => None,
    }
}

fn expect_line(options: &SendOptions) -> String {
    let who = match &options.expect {
        Expect::Any => return "whoever joins; the outcome is unstated".to_owned(),
        Expect::Count(count) => counted(*count, "host"),
        Expect::Names(names) => format!("{} by name", counted(names.len(), "host")),
    };
    match options.quorum {
        Quorum::All => format!("{who}, all of them"),
        Quorum::Count(count) => format!("{who}, at least {count} of them"),
        Quorum::Percent(percent) => format!("{who}, at least {percent} % of them"),
    }
}
