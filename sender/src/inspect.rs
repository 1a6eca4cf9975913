//! `fanfare inspect`: what a bundle is, without reading its frames.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use common::bundle::{BundleFile, FrameKind};
use common::count::counted;
use common::units::ByteSize;

use crate::complaint::Complaint;
use crate::console::Console;
use crate::keys::shown::{Checked, TrustArgs};
use crate::pack::error::{PackError, shown};

/// Say what a bundle is
#[derive(Debug, Clone, clap::Args)]
pub struct InspectArgs {
    /// The bundle
    #[arg(value_name = "FILE.fan")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long, conflicts_with_all = ["manifest", "signatures"])]
    json: bool,
    /// Print the manifest as it was signed: what minisign signs and verifies
    #[arg(long, conflicts_with = "signatures")]
    manifest: bool,
    /// Print the signatures as minisign writes them
    #[arg(long)]
    signatures: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

impl InspectArgs {
    /// Opens the bundle and prints what it is.
    ///
    /// # Errors
    /// When it cannot be read or is no whole bundle.
    pub fn run(self, console: &Console) -> Result<(), Complaint> {
        let bundle = BundleFile::open(&self.file).map_err(PackError::from)?;
        let checked = Checked::of(&bundle, &self.trust.keys()?)?;
        let preamble = bundle.preamble();
        match () {
            () if self.manifest => console.result_bytes(&preamble.manifest_bytes),
            () if self.signatures => console.result_bytes(&preamble.signatures),
            () if self.json => console.result(&format!("{}\n", as_json(&bundle, &checked))),
            () => console.result(&as_text(&bundle, &checked)),
        }
    }
}

fn count(bundle: &BundleFile, kind: FrameKind) -> usize {
    bundle.preamble().plan.iter().filter(|frame| frame.kind == kind).count()
}

fn gap_bytes(bundle: &BundleFile) -> u64 {
    let gaps = bundle.preamble().chunks.iter().filter(|chunk| chunk.is_zero());
    gaps.map(|gap| u64::from(gap.bytes)).sum()
}

fn as_text(bundle: &BundleFile, checked: &Checked) -> String {
    let preamble = bundle.preamble();
    let manifest = &preamble.manifest;
    let image = &manifest.image;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12}{value}");
    };
    line("file", format!("{}, {}", shown(bundle.path()), ByteSize(bundle.file_bytes())));
    line("release", bundle.release().to_string());
    line("app", manifest.app.to_string());
    line("label", manifest.label.to_string());
    line("sequence", format!("{} in epoch {}", manifest.sequence, manifest.epoch));
    line("created", utc(manifest.created));
    line("expires", manifest.expires.map_or_else(|| "never".into(), utc));
    line("image", format!("{}, {} ({} bytes)", image.kind, ByteSize(image.bytes), image.bytes));
    line("", format!("digest {}", image.digest));
    line("", format!("{} of it gaps", ByteSize(gap_bytes(bundle))));
    let (chunks, plan) = (&manifest.chunk_table, &manifest.frame_table);
    line("chunks", format!("{} in a table of {}", chunks.count, ByteSize(chunks.bytes)));
    line(
        "frames",
        format!(
            "{} in a table of {}: {} compressed, {} stored, {}",
            plan.count,
            ByteSize(plan.bytes),
            count(bundle, FrameKind::Zstd),
            count(bundle, FrameKind::Stored),
            counted(count(bundle, FrameKind::Zero), "gap"),
        ),
    );
    line("payload", format!("{}, {}", ByteSize(bundle.payload_bytes()), manifest.codec));
    if let Some(limits) = manifest.unpack {
        let bytes = ByteSize(limits.bytes);
        line(
            "unpacks to",
            format!("{}, {bytes}, {} deep", counted(limits.entries, "entry"), limits.depth),
        );
    }
    if let Some(next) = manifest.next_key {
        line("next key", format!("{} ({next})", next.id()));
    }
    for (nth, seal) in checked.lines().into_iter().enumerate() {
        line(if nth == 0 { "signatures" } else { "" }, seal);
    }
    out
}

fn as_json(bundle: &BundleFile, checked: &Checked) -> serde_json::Value {
    let preamble = bundle.preamble();
    serde_json::json!({
        "schema": 1,
        "file": bundle.path().to_string_lossy(),
        "file_bytes": bundle.file_bytes(),
        "release": bundle.release(),
        "manifest": preamble.manifest,
        "payload_bytes": bundle.payload_bytes(),
        "preamble_bytes": bundle.preamble_bytes().1.total(),
        "gap_bytes": gap_bytes(bundle),
        "frames": {
            "zstd": count(bundle, FrameKind::Zstd),
            "stored": count(bundle, FrameKind::Stored),
            "zero": count(bundle, FrameKind::Zero),
        },
        "signature_bytes": preamble.signatures.len(),
        "signatures": checked.to_json(),
    })
}

/// A time of a manifest, which may lie beyond what calendars count.
fn utc(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(time) if seconds < 253_402_300_800 => {
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => format!("@{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_the_calendar_are_printed_as_seconds() {
        assert_eq!(utc(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(utc(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(utc(253_402_300_800), "@253402300800");
        assert_eq!(utc(u64::MAX), "@18446744073709551615");
    }
}
