//! The signatures of a bundle, checked against the keys that the operator trusts, and shown.
//!
//! Invariant: a signature that was not checked is never shown as one that was.

use std::path::PathBuf;

use common::bundle::BundleFile;
use common::keys::{KeyError, Keyring, PublicKey, Signature, Signatures};
use common::wire::escaped;

use super::complaint;
use crate::complaint::Complaint;
use crate::exit::Exit;
use crate::pack::error::shown;

/// Which keys are trusted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TrustArgs {
    /// Require a signature by this public key; may be repeated: by any of them
    #[arg(long, value_name = "KEY.pub")]
    pub trust: Vec<PathBuf>,
}

impl TrustArgs {
    /// The trusted keys.
    ///
    /// # Errors
    /// Names the file that is no public key.
    pub fn keys(&self) -> Result<Keyring, Complaint> {
        let keys: Result<Vec<PublicKey>, KeyError> =
            self.trust.iter().map(|path| PublicKey::load(path)).collect();
        Keyring::new(keys.map_err(complaint)?)
            .map_err(|fault| Complaint::new(Exit::Refused, format!("--trust: {fault}")))
    }
}

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Nobody named its key.
    Unchecked,
    /// A trusted key made it.
    Right,
    /// A trusted key is said to have made it, and has not.
    Wrong,
}

/// The signatures of a bundle.
#[derive(Debug)]
pub struct Checked(Vec<(Signature, Worth)>);

impl Checked {
    /// Checks the signatures of `bundle` against `trusted`.
    ///
    /// # Errors
    /// When they cannot be read, or keys are trusted and none of them has signed.
    pub fn of(bundle: &BundleFile, trusted: &Keyring) -> Result<Self, Complaint> {
        let refused =
            |says: &str| Complaint::new(Exit::Refused, format!("{}: {says}", shown(bundle.path())));
        let preamble = bundle.preamble();
        let signatures = Signatures::parse(&preamble.signatures)
            .map_err(|error| refused(&format!("its signatures are refused: {error}")))?;
        let checked = signatures.iter().map(|signature| {
            let worth = match trusted.find(signature.key()) {
                None => Worth::Unchecked,
                Some(key) if signature.is_by(key, &preamble.manifest_bytes) => Worth::Right,
                Some(_) => Worth::Wrong,
            };
            (signature.clone(), worth)
        });
        let checked = Self(checked.collect());
        let has = |wanted| checked.0.iter().any(|(_, worth)| *worth == wanted);
        match () {
            () if trusted.is_empty() || has(Worth::Right) => Ok(checked),
            () if has(Worth::Wrong) => Err(refused("a signature by a trusted key is wrong")),
            () if checked.0.is_empty() => Err(refused("it is not signed: fanfare sign does that")),
            () => Err(refused(&format!("no trusted key has signed it, but {}", checked.ids()))),
        }
    }

    fn ids(&self) -> String {
        let ids: Vec<String> = self.0.iter().map(|(it, _)| it.key().to_string()).collect();
        ids.join(", ")
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<String> {
        if self.0.is_empty() {
            return vec!["not signed".into()];
        }
        let line = |(signature, worth): &(Signature, Worth)| {
            let says = match worth {
                Worth::Unchecked => "not checked (--trust KEY.pub does)",
                Worth::Right => "right",
                Worth::Wrong => "WRONG",
            };
            // A comment counts for something only once the signature over it was checked.
            match (worth, signature.comment()) {
                (Worth::Right, comment) if !comment.is_empty() => {
                    let comment = comment.replace('\t', " ");
                    format!("{} {says}: {}", signature.key(), escaped(&comment))
                }
                _ => format!("{} {says}", signature.key()),
            }
        };
        self.0.iter().map(line).collect()
    }

    /// As scripts read them.
    pub fn to_json(&self) -> serde_json::Value {
        let checked = self.0.iter().map(|(signature, worth)| {
            let worth = match worth {
                Worth::Unchecked => "unchecked",
                Worth::Right => "right",
                Worth::Wrong => "wrong",
            };
            serde_json::json!({
                "key": signature.key(),
                "comment": signature.comment(),
                "verdict": worth,
            })
        });
        checked.collect()
    }
}
