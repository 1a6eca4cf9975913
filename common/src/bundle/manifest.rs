//! The manifest: the signed description of a release, as JSON that `jq` reads.
//!
//! Not here: the check of its signatures. The bytes are signed and hashed as they lie in the
//! bundle; nothing is serialised again, so two spellings of one manifest are two releases.
//!
//! Invariant: a parsed manifest keeps every rule of BUNDLE 4; a reader that does not know a field
//! named in `critical` refuses the whole.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{AppName, ImageKind, Label, ReleaseId};
use crate::keys::PublicKey;
use crate::limits::{IMAGE_BYTES_MAX, MANIFEST_BYTES_MAX};

use super::{CODEC, FORMAT_VERSION};

/// Every field that this version understands, for `critical`.
const KNOWN_FIELDS: [&str; 14] = [
    "format",
    "app",
    "label",
    "epoch",
    "sequence",
    "created",
    "expires",
    "image",
    "chunk_table",
    "frame_table",
    "codec",
    "mount_options",
    "unpack",
    "next_key",
];
/// Mount options of one manifest: a filesystem takes two or three.
const MOUNT_OPTIONS_MAX: usize = 8;
/// Characters of one mount option.
const MOUNT_OPTION_BYTES_MAX: usize = 32;

/// Bytes of one component of a path that any filesystem takes.
const NAME_BYTES_MAX: u32 = 255;

/// The image, whatever way it is obtained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// What it is and so how it is activated.
    pub kind: ImageKind,
    /// Its length.
    pub bytes: u64,
    /// Digest of all its bytes, gaps included.
    pub digest: Digest,
}

/// A table of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Length of its bytes.
    pub bytes: u64,
    /// Number of its entries.
    pub count: u32,
}

/// What unpacking a tar may cost; counted when packing, enforced by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// Entries: files, directories and links.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Components of the longest path.
    pub depth: u32,
    /// Bytes of the longest component; a former version did not say.
    #[serde(default = "any_name")]
    pub name: u32,
}

/// What a filesystem takes.
fn any_name() -> u32 {
    NAME_BYTES_MAX
}

/// The description of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format, [`FORMAT_VERSION`].
    pub format: u32,
    /// What it is a release of.
    pub app: AppName,
    /// What people call it.
    pub label: Label,
    /// Raised to start sequences anew, after a stolen key.
    pub epoch: u32,
    /// Hosts refuse a lower one than they hold.
    pub sequence: u64,
    /// When it was packed, in Unix seconds.
    pub created: u64,
    /// From when on hosts refuse it, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The image.
    pub image: ImageFacts,
    /// The chunk table.
    pub chunk_table: TableFacts,
    /// The frame table, which is a full session's plan.
    pub frame_table: TableFacts,
    /// How frames are compressed, [`CODEC`].
    pub codec: String,
    /// Mount options besides those that the host always takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    /// Present for a tar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<UnpackLimits>,
    /// A key that hosts which accept this release trust from then on, besides those that they
    /// trusted before: that of the next releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
    /// Names of fields without which this manifest must not be acted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

/// Bytes that are no manifest of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than any manifest has.
    #[error("it is longer than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or a field is missing or has the wrong type or value.
    #[error("it is not valid at line {line}, column {column}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Made by another version of the format.
    #[error("it has format {0}, this program knows format {FORMAT_VERSION}: update the program")]
    Format(u32),
    /// Needs something that this version does not know.
    #[error("it depends on {0:?}, which this program does not know: update the program")]
    UnknownCritical(String),
    /// Frames in a codec that this version does not know.
    #[error("its frames are compressed with {0:?}, this program knows {CODEC:?}")]
    Codec(String),
    /// Mount options that are no plain words.
    #[error("its mount options are not plain words")]
    MountOptions,
    /// An image that is empty or larger than any image may be.
    #[error("its image has {0} bytes, which is none or too many")]
    ImageBytes(u64),
    /// `unpack` is there exactly for a tar.
    #[error("its limits for unpacking do not fit the kind of its image")]
    Unpack,
}

impl Manifest {
    /// Reads a manifest from its signed bytes.
    ///
    /// # Errors
    /// Names the first rule of BUNDLE 4 that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX as usize {
            return Err(ManifestError::TooLong);
        }
        Self::check_preconditions(bytes)?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(json_error)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest as JSON, fields in the order of the struct, one line end after the last.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest has only string keys");
        bytes.push(b'\n');
        bytes
    }

    /// Version and critical fields are judged first: in a later format the rest may look different.
    fn check_preconditions(bytes: &[u8]) -> Result<(), ManifestError> {
        #[derive(Deserialize)]
        struct Preconditions {
            format: u32,
            #[serde(default)]
            critical: Vec<String>,
        }
        let Preconditions { format, critical } =
            serde_json::from_slice(bytes).map_err(json_error)?;
        if format != FORMAT_VERSION {
            return Err(ManifestError::Format(format));
        }
        match critical.into_iter().find(|name| !KNOWN_FIELDS.contains(&name.as_str())) {
            Some(name) => Err(ManifestError::UnknownCritical(name)),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.codec != CODEC {
            return Err(ManifestError::Codec(self.codec.clone()));
        }
        let is_plain = |option: &String| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=".contains(&byte);
            (1..=MOUNT_OPTION_BYTES_MAX).contains(&option.len()) && option.bytes().all(is_allowed)
        };
        if self.mount_options.len() > MOUNT_OPTIONS_MAX || !self.mount_options.iter().all(is_plain)
        {
            return Err(ManifestError::MountOptions);
        }
        if !(1..=IMAGE_BYTES_MAX).contains(&self.image.bytes) {
            return Err(ManifestError::ImageBytes(self.image.bytes));
        }
        if self.unpack.is_some() != (self.image.kind == ImageKind::Tar) {
            return Err(ManifestError::Unpack);
        }
        Ok(())
    }
}

/// Identity of the release that these manifest bytes describe.
pub fn release_id(manifest_bytes: &[u8]) -> ReleaseId {
    ReleaseId(Digest::of(manifest_bytes))
}

fn json_error(error: serde_json::Error) -> ManifestError {
    ManifestError::Json { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let facts = |count| TableFacts { digest: Digest::of(b"t"), bytes: 48, count };
        Manifest {
            format: FORMAT_VERSION,
            app: "shop".parse().unwrap(),
            label: "v1".parse().unwrap(),
            epoch: 0,
            sequence: 7,
            created: 1_700_000_000,
            expires: None,
            image: ImageFacts { kind: ImageKind::Raw, bytes: 5, digest: Digest::of(b"image") },
            chunk_table: facts(1),
            frame_table: facts(1),
            codec: CODEC.into(),
            mount_options: Vec::new(),
            unpack: None,
            next_key: None,
            critical: Vec::new(),
        }
    }

    fn with(field: &str, value: serde_json::Value) -> Vec<u8> {
        let mut json: serde_json::Value = serde_json::from_slice(&manifest().to_json()).unwrap();
        json[field] = value;
        serde_json::to_vec(&json).unwrap()
    }

    #[test]
    fn a_manifest_is_read_back_and_its_bytes_are_golden() {
        let bytes = manifest().to_json();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest()));
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with("{\n  \"format\": 1,\n  \"app\": \"shop\",\n  \"label\": \"v1\",\n")
        );
        assert!(text.ends_with("  \"codec\": \"zstd\"\n}\n"), "{text}");
        assert_eq!(
            release_id(&bytes).to_string(),
            "87de3459a7fd8777b54cbef0242d3cc7807807235ab3cccf45a4daa19b2cba13"
        );
    }

    #[test]
    fn fields_of_a_later_version_are_skipped_unless_critical() {
        assert_eq!(Manifest::parse(&with("colour", "red".into())), Ok(manifest()));
        let critical = serde_json::json!(["image", "colour"]);
        let error = ManifestError::UnknownCritical("colour".into());
        assert_eq!(Manifest::parse(&with("critical", critical)), Err(error));
        let known = serde_json::json!(["unpack"]);
        assert!(Manifest::parse(&with("critical", known)).is_ok());
    }

    #[test]
    fn every_broken_rule_is_named() {
        let long = vec![b' '; MANIFEST_BYTES_MAX as usize + 1];
        assert_eq!(Manifest::parse(&long), Err(ManifestError::TooLong));
        assert_eq!(Manifest::parse(&with("format", 2.into())), Err(ManifestError::Format(2)));
        let codec = ManifestError::Codec("lzma".into());
        assert_eq!(Manifest::parse(&with("codec", "lzma".into())), Err(codec));
        for options in [vec!["a,b"], vec![""], vec!["x"; 9]] {
            let bytes = with("mount_options", options.into());
            assert_eq!(Manifest::parse(&bytes), Err(ManifestError::MountOptions));
        }
        let limits = serde_json::json!({"entries": 1, "bytes": 1, "depth": 1});
        assert_eq!(Manifest::parse(&with("unpack", limits)), Err(ManifestError::Unpack));
        for (field, value) in
            [("app", "a/b".into()), ("label", "..".into()), ("sequence", (-1).into())]
        {
            let result = Manifest::parse(&with(field, value));
            assert!(matches!(result, Err(ManifestError::Json { .. })), "{field}: {result:?}");
        }
    }

    #[test]
    fn limits_of_a_former_version_have_no_limit_of_names() {
        let limits = |text: &str| serde_json::from_str::<UnpackLimits>(text).unwrap();
        let former = limits(r#"{"entries": 1, "bytes": 2, "depth": 3}"#);
        assert_eq!(former, UnpackLimits { entries: 1, bytes: 2, depth: 3, name: 255 });
        let now = serde_json::to_string(&former).unwrap();
        assert_eq!(limits(&now), former);
    }

    #[test]
    fn an_image_without_bytes_or_with_too_many_is_refused() {
        for bytes in [0, IMAGE_BYTES_MAX + 1] {
            let mut manifest = manifest();
            manifest.image.bytes = bytes;
            let result = Manifest::parse(&manifest.to_json());
            assert_eq!(result, Err(ManifestError::ImageBytes(bytes)));
        }
    }

    #[test]
    fn no_prefix_of_a_manifest_is_a_manifest() {
        let bytes = manifest().to_json();
        for end in 0..bytes.len() - 1 {
            assert!(Manifest::parse(&bytes[..end]).is_err(), "{end}");
        }
    }
}
