//! `fanfare verify`: reads every byte of a bundle and says whether it is what was packed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use common::bundle::{BundleFile, Verified};
use common::count::counted;
use common::units::ByteSize;

use crate::complaint::Complaint;
use crate::console::Console;
use crate::keys::shown::{Checked, TrustArgs};
use crate::pack::args::all_cores;
use crate::pack::error::{PackError, shown};
use crate::pack::progress::Progress;

/// Check every byte of a bundle
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The bundle
    #[arg(value_name = "FILE.fan")]
    file: PathBuf,
    /// Threads that check [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

impl VerifyArgs {
    /// Checks the bundle and prints that it is right.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn run(self, console: &Console) -> Result<(), Complaint> {
        let bundle = BundleFile::open(&self.file).map_err(PackError::from)?;
        let checked = Checked::of(&bundle, &self.trust.keys()?)?;
        let mut progress = Progress::on(console);
        let image_bytes = bundle.preamble().manifest.image.bytes;
        progress.begin(format!("verifying {}", self.file.display()), Some(image_bytes));
        let threads = self.threads.unwrap_or_else(all_cores);
        let verified = bundle.verify_all(threads, |bytes| progress.advance(bytes));
        let verified = verified.map_err(PackError::from)?;
        progress.end();
        match self.json {
            true => console.result(&format!("{}\n", as_json(&bundle, verified, &checked))),
            false => console.result(&format!(
                "{}: right, {}, {} of payload, {} of image, release {}\nsignatures  {}\n",
                shown(bundle.path()),
                counted(verified.frames, "frame"),
                ByteSize(verified.payload_bytes),
                ByteSize(verified.image_bytes),
                bundle.release(),
                checked.lines().join("\n            "),
            )),
        }
    }
}

fn as_json(bundle: &BundleFile, verified: Verified, checked: &Checked) -> serde_json::Value {
    serde_json::json!({
        "schema": 1,
        "file": bundle.path().to_string_lossy(),
        "release": bundle.release(),
        "frames": verified.frames,
        "payload_bytes": verified.payload_bytes,
        "image_bytes": verified.image_bytes,
        "signatures": checked.to_json(),
    })
}
