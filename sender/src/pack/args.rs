//! The command line of `fanfare pack`, and its result as people and scripts read it.
#![expect(clippy::disallowed_methods, reason = "the command line reads clock and environment")]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::count::counted;
use common::id::{AppName, ImageKind, Label};
use common::keys::PublicKey;
use common::units::ByteSize;

use super::cancel::Cancel;
use super::error::{PackError, shown};
use super::ext_patch::Owner;
use super::progress::Progress;
use super::{Packed, Request, pack};
use crate::complaint::Complaint;
use crate::console::Console;
use crate::keys::{self, open_secret};

/// Make a release bundle of a directory or file
#[derive(Debug, Clone, clap::Args)]
pub struct PackArgs {
    /// Directory, image, tar (also .gz, .xz, .zst) or any other file
    source: PathBuf,
    /// App that this is a release of
    #[arg(long, value_name = "NAME")]
    app: AppName,
    /// Label of the release, such as a tag or a date
    #[arg(long, value_name = "LABEL")]
    release: Label,
    /// Bundle to make
    #[arg(short, long, value_name = "FILE.fan")]
    output: PathBuf,
    /// Kind of image [default: ext2 for a directory, what a file is for a file]
    #[arg(long, value_name = "KIND", value_parser = image_kinds())]
    image: Option<ImageKind>,
    /// Creation time: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", env = "SOURCE_DATE_EPOCH")]
    created: Option<Moment>,
    /// Sequence; hosts refuse a lower one than they hold [default: created, in seconds]
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// Epoch; a higher one starts sequences anew
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u32,
    /// When hosts begin to refuse it: RFC 3339, Unix seconds, or a span after creation (90days)
    #[arg(long, value_name = "TIME")]
    expires: Option<Expiry>,
    /// Who owns what is packed: 0:0, or as in the source
    #[arg(long, value_name = "WHO", default_value = "root", value_parser = owners())]
    owner: Owner,
    /// Leave out what matches, as in .gitignore; may be repeated; .fanignore files do the same
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Release key that signs it; fanfare sign can do that later, on another machine
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// Public key that hosts trust from this release on, too
    #[arg(long, value_name = "KEY.pub")]
    next_key: Option<PathBuf>,
    /// Level of compression, 1 to 19
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Threads that compress [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

impl PackArgs {
    /// Packs and prints the result.
    ///
    /// # Errors
    /// As [`pack`].
    pub fn run(self, console: &Console) -> Result<(), Complaint> {
        let begin = Instant::now();
        let json = self.json;
        let request = self.into_request()?;
        let cancel = Cancel::on_signals()?;
        let packed = pack(&request, &cancel, &mut Progress::on(console))?;
        let seconds = begin.elapsed();
        match json {
            true => console.result(&format!("{}\n", as_json(&request, &packed, seconds))),
            false => console.result(&as_text(&request, &packed, seconds)),
        }
    }

    fn into_request(self) -> Result<Request, Complaint> {
        let created = match self.created {
            Some(Moment(created)) => created,
            None => now()?,
        };
        let key = self.key.as_deref().map(open_secret).transpose()?;
        let next_key = self.next_key.as_deref().map(PublicKey::load).transpose();
        Ok(Request {
            source: self.source,
            output: self.output,
            app: self.app,
            label: self.release,
            kind: self.image,
            created,
            sequence: self.sequence.unwrap_or(created),
            epoch: self.epoch,
            expires: self.expires.map(|expiry| expiry.after(created)),
            owner: self.owner,
            excludes: self.exclude,
            key: key.map(Arc::new),
            next_key: next_key.map_err(keys::complaint)?,
            level: self.level,
            threads: self.threads.unwrap_or_else(all_cores),
            temporary: std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from),
        })
    }
}

/// As many threads as there are cores for this process.
pub fn all_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn now() -> Result<u64, PackError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| {
        PackError::Usage("the clock stands before 1970: set it, or give --created".into())
    })?;
    Ok(since.as_secs())
}

fn image_kinds() -> impl TypedValueParser<Value = ImageKind> {
    let names = PossibleValuesParser::new(ImageKind::ALL.map(ImageKind::as_str));
    names.map(|name| {
        let named = ImageKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        named.expect("only names of kinds are possible")
    })
}

fn owners() -> impl TypedValueParser<Value = Owner> {
    let names = PossibleValuesParser::new(["root", "keep"]);
    names.map(|name| if name == "keep" { Owner::Keep } else { Owner::Root })
}

/// A point in time, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('@').unwrap_or(text);
        if let Ok(seconds) = digits.parse() {
            return Ok(Self(seconds));
        }
        // A bare date is its first second.
        let full = if text.len() == "2026-01-31".len() {
            format!("{text}T00:00:00Z")
        } else {
            text.into()
        };
        humantime::parse_rfc3339_weak(&full)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map(|since| Self(since.as_secs()))
            .ok_or("neither Unix seconds nor a UTC time such as 2026-01-31 or 2026-01-31T12:00:00Z")
    }
}

/// A point in time, or a span after creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// In Unix seconds.
    At(u64),
    /// From creation on.
    After(Duration),
}

impl Expiry {
    /// In Unix seconds, for what was made at `created`.
    pub fn after(self, created: u64) -> u64 {
        match self {
            Self::At(moment) => moment,
            Self::After(span) => created.saturating_add(span.as_secs()),
        }
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(Moment(moment)) = text.parse() {
            return Ok(Self::At(moment));
        }
        humantime::parse_duration(text)
            .map(Self::After)
            .map_err(|_| "neither a time such as 2026-01-31 nor a span such as 90days")
    }
}

fn as_text(request: &Request, packed: &Packed, time: Duration) -> String {
    let preamble = &packed.preamble;
    let manifest = &preamble.manifest;
    let image = &manifest.image;
    let payload_bytes = preamble.plan.payload_bytes();
    format!(
        "{}: {} {}, release {}\n\
         image    {}, {} ({} bytes), digest {}\n\
         payload  {} in {}{}\n\
         packed in {:.1} s\n",
        shown(&request.output),
        manifest.app,
        manifest.label,
        preamble.release(),
        image.kind,
        ByteSize(image.bytes),
        image.bytes,
        image.digest,
        ByteSize(payload_bytes),
        counted(preamble.plan.len(), "frame"),
        match payload_bytes {
            0 => ": the image is nothing but zeros".into(),
            _ => format!(", {:.2} times smaller than the image", ratio(image.bytes, payload_bytes)),
        },
        time.as_secs_f64(),
    )
}

fn as_json(request: &Request, packed: &Packed, time: Duration) -> serde_json::Value {
    let preamble = &packed.preamble;
    let manifest = &preamble.manifest;
    let payload_bytes = preamble.plan.payload_bytes();
    serde_json::json!({
        "schema": 1,
        "file": request.output.to_string_lossy(),
        "release": preamble.release(),
        "app": manifest.app,
        "label": manifest.label,
        "sequence": manifest.sequence,
        "image": manifest.image,
        "chunks": preamble.chunks.len(),
        "frames": preamble.plan.len(),
        "payload_bytes": payload_bytes,
        "file_bytes": packed.file_bytes,
        "ratio": ratio(manifest.image.bytes, payload_bytes),
        "seconds": time.as_secs_f64(),
    })
}

/// How many times smaller; an image of nothing but gaps has no payload to compare with.
fn ratio(image_bytes: u64, payload_bytes: u64) -> f64 {
    image_bytes as f64 / payload_bytes.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        pack: PackArgs,
    }

    fn parse(more: &[&str]) -> Result<Request, clap::Error> {
        let fixed = ["pack", "dir", "--app", "shop", "--release", "v1", "-o", "x.fan"];
        let args = fixed.iter().chain(more);
        Ok(Cli::try_parse_from(args)?.pack.into_request().unwrap())
    }

    #[test]
    fn times_are_seconds_dates_or_spans() {
        let request = parse(&["--created", "@1700000000", "--expires", "2days"]).unwrap();
        assert_eq!((request.created, request.sequence), (1_700_000_000, 1_700_000_000));
        assert_eq!(request.expires, Some(1_700_172_800));
        let request = parse(&["--created", "2023-11-14T22:13:20Z", "--expires", "2024-01-01"]);
        let request = request.unwrap();
        assert_eq!((request.created, request.expires), (1_700_000_000, Some(1_704_067_200)));
        for bad in ["yesterday", "-1", "2023-13-01", ""] {
            assert!(parse(&["--created", bad]).is_err(), "{bad:?}");
            assert!(parse(&["--expires", bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_repeated_flag_takes_its_last_value_and_excludes_add_up() {
        let request =
            parse(&["--image", "tar", "--image", "erofs", "--exclude", "a", "--exclude", "b"]);
        let request = request.unwrap();
        assert_eq!(request.kind, Some(ImageKind::Erofs));
        assert_eq!(request.excludes, ["a", "b"]);
        assert_eq!(request.owner, Owner::Root);
    }

    #[test]
    fn names_and_kinds_that_cannot_be_are_usage_errors() {
        for bad in [["--image", "zip"], ["--app", "a/b"], ["--level", "0"], ["--threads", "0"]] {
            let error = parse(&bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
    }
}
