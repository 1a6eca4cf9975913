//! `fanfare sign`: signs a bundle, or makes a new release of its image and signs that.
//!
//! Not here: packing. Invariant: the payload and the tables stay what they are, byte for byte; the
//! bundle appears signed and whole or stays what it was.
#![expect(
    clippy::disallowed_methods,
    reason = "reads a signature and the clock, syncs a directory"
)]

use std::fs::{self, File, Permissions};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use common::bundle::{BundleFile, Manifest, Preamble};
use common::id::Label;
use common::keys::{KeyError, KeyFault, PublicKey, SecretKey, Signatures};

use super::shown::{Checked, TrustArgs};
use super::{complaint, open_secret};
use crate::complaint::Complaint;
use crate::console::Console;
use crate::exit::Exit;
use crate::pack::args::{Expiry, Moment};
use crate::pack::error::{PackError, shown};

/// Sign a bundle, or make a new release of its image and sign that
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("signer").required(true).args(["key", "add"])))]
pub struct SignArgs {
    /// The bundle
    #[arg(value_name = "FILE.fan")]
    file: PathBuf,
    /// Release key that signs
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// Add a signature that minisign made of the manifest (fanfare inspect --manifest)
    #[arg(long, value_name = "FILE.minisig", requires = "trust", conflicts_with = "key")]
    add: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Make a new release of it, with this sequence; next: now in seconds, or one more than it has
    #[arg(long, value_name = "N|next", requires = "key")]
    sequence: Option<SequenceArg>,
    /// Its label [default: as it was]
    #[arg(long, value_name = "LABEL", requires = "sequence")]
    release: Option<Label>,
    /// Its epoch; a higher one starts sequences anew [default: as it was]
    #[arg(long, value_name = "N", requires = "sequence")]
    epoch: Option<u32>,
    /// Its creation time [default: now]
    #[arg(long, value_name = "TIME", requires = "sequence", env = "SOURCE_DATE_EPOCH")]
    created: Option<Moment>,
    /// When hosts begin to refuse it [default: as it was]
    #[arg(long, value_name = "TIME", requires = "sequence")]
    expires: Option<Expiry>,
    /// Public key that hosts trust from this release on, too
    #[arg(long, value_name = "KEY.pub", requires = "sequence")]
    next_key: Option<PathBuf>,
    /// Write the signed bundle here instead of in its place
    #[arg(short, long, value_name = "FILE.fan")]
    output: Option<PathBuf>,
}

/// The sequence of a new release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequenceArg {
    Next,
    Number(u64),
}

impl FromStr for SequenceArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "next" => Ok(Self::Next),
            text => text.parse().map(Self::Number).map_err(|_| "neither a number nor \"next\""),
        }
    }
}

/// What the signature says besides: the same for the same manifest, so that packing stays
/// reproducible.
pub fn comment(manifest: &Manifest) -> String {
    let Manifest { app, label, epoch, sequence, .. } = manifest;
    format!("app:{app}\tlabel:{label}\tepoch:{epoch}\tsequence:{sequence}")
}

/// The bytes of one signature, by `key`.
pub fn signature(key: &SecretKey, manifest: &Manifest, manifest_bytes: &[u8]) -> Vec<u8> {
    let mut signatures = Signatures::default();
    let signature = key.sign(manifest_bytes, &comment(manifest));
    signatures.put(signature).expect("the first one has room");
    signatures.emit()
}

impl SignArgs {
    /// Signs and prints what was signed.
    ///
    /// # Errors
    /// When the bundle or the key cannot be used, or the result cannot be written.
    pub fn run(self, console: &Console) -> Result<(), Complaint> {
        let bundle = BundleFile::open(&self.file).map_err(PackError::from)?;
        let mut trusted = self.trust.keys()?;
        let mut preamble = bundle.preamble().clone();
        if self.sequence.is_some() {
            preamble = self.renewed(&bundle, now()?)?;
        }
        let signed = |error| refuse(&self.file, format!("its signatures are refused: {error}"));
        let mut signatures = Signatures::parse(&preamble.signatures).map_err(signed)?;
        match (&self.key, &self.add) {
            (Some(key), _) => {
                let key = open_secret(key)?;
                let comment = comment(&preamble.manifest);
                let signature = key.sign(&preamble.manifest_bytes, &comment);
                signatures.put(signature).map_err(signed)?;
                if trusted.is_empty() {
                    trusted = common::keys::Keyring::new([*key.public()])
                        .map_err(|fault| complaint(KeyError { path: self.file.clone(), fault }))?;
                }
            }
            (None, Some(path)) => {
                for signature in read_signatures(path)?.iter() {
                    let key = trusted.find(signature.key());
                    if !key.is_some_and(|key| signature.is_by(key, &preamble.manifest_bytes)) {
                        let key = signature.key();
                        let line = format!("it is no signature of this bundle by {key}");
                        return Err(refuse(path, line));
                    }
                    signatures.put(signature.clone()).map_err(signed)?;
                }
            }
            (None, None) => unreachable!("one of them is required"),
        }
        preamble.signatures = signatures.emit();
        let output = self.output.as_deref().unwrap_or(&self.file);
        write_anew(&bundle, &preamble, output).map_err(|error| {
            Complaint::from(PackError::Output { path: output.to_owned(), error })
        })?;
        let bundle = BundleFile::open(output).map_err(PackError::from)?;
        let Manifest { app, label, epoch, sequence, .. } = &preamble.manifest;
        let checked = Checked::of(&bundle, &trusted)?.lines().join("\n         ");
        console.result(&format!(
            "{}: {app} {label}, sequence {sequence} in epoch {epoch}, release {}\n\
             signed   {checked}\n",
            shown(output),
            bundle.release(),
        ))
    }

    /// The bundle's release made anew, without signatures.
    fn renewed(&self, bundle: &BundleFile, now: u64) -> Result<Preamble, Complaint> {
        let former = bundle.preamble();
        let mut manifest = former.manifest.clone();
        let is_next_epoch = self.epoch.is_some_and(|epoch| epoch > manifest.epoch);
        manifest.sequence = match self.sequence {
            Some(SequenceArg::Number(number)) => number,
            _ if is_next_epoch => now,
            _ => now.max(manifest.sequence.saturating_add(1)),
        };
        manifest.created = self.created.map_or(now, |Moment(created)| created);
        manifest.epoch = self.epoch.unwrap_or(manifest.epoch);
        if let Some(label) = &self.release {
            manifest.label = label.clone();
        }
        if let Some(expiry) = self.expires {
            manifest.expires = Some(expiry.after(manifest.created));
        }
        if manifest.expires.is_some_and(|expires| expires <= manifest.created) {
            let line = "it has expired, and so would the new release: give --expires";
            return Err(refuse(&self.file, line.into()));
        }
        let next_key = self.next_key.as_deref().map(PublicKey::load).transpose();
        manifest.next_key = next_key.map_err(complaint)?;
        let manifest_bytes = manifest.to_json();
        Ok(Preamble { manifest, manifest_bytes, signatures: Vec::new(), ..former.clone() })
    }
}

fn refuse(path: &Path, line: String) -> Complaint {
    Complaint::new(Exit::Refused, format!("{}: {line}", shown(path)))
}

fn read_signatures(path: &Path) -> Result<Signatures, Complaint> {
    let bytes = fs::read(path).map_err(|error| {
        complaint(KeyError { path: path.to_owned(), fault: KeyFault::Read(error) })
    })?;
    let signatures = Signatures::parse(&bytes);
    let signatures = signatures.map_err(|error| refuse(path, format!("it is refused: {error}")))?;
    match signatures.is_empty() {
        true => Err(refuse(path, "there is no signature in it".into())),
        false => Ok(signatures),
    }
}

/// Writes the bundle with another preamble beside `output`, then gives it that name.
fn write_anew(bundle: &BundleFile, preamble: &Preamble, output: &Path) -> std::io::Result<()> {
    let output = output.canonicalize().unwrap_or_else(|_| output.to_owned());
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    let mode = fs::metadata(bundle.path())?.permissions();
    let mut file = tempfile::Builder::new().prefix(".fanfare-").tempfile_in(directory)?;
    bundle.copy_with(preamble, file.as_file_mut())?;
    file.as_file().set_permissions(Permissions::clone(&mode))?;
    file.as_file().sync_all()?;
    file.persist(&output).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn now() -> Result<u64, Complaint> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since
        .map_err(|_| Complaint::usage("the clock stands before 1970: set it, or give --created"))?;
    Ok(since.as_secs())
}
