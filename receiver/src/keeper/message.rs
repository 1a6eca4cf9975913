//! What the process on the network and the helper say to each other.
//!
//! One request on a connection, then replies until the last one: a length (u32, big-endian) and as
//! many bytes of JSON. Not here: sockets. Invariant: nothing longer than [`MESSAGE_BYTES_MAX`] is
//! read or written, and a field that is not known is refused.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use common::digest::Digest;
use common::id::{AppName, ReleaseId};
use common::limits::{MANIFEST_BYTES_MAX, SIGNATURES_BYTES_MAX};
use common::wire::Fault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::activation::Progress;
use crate::store::{Capabilities, Holdings, Offer, Store, StoreError};

/// Longest message: a manifest and signatures, each letter of them escaped.
pub const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// Complaints that one reply carries; what is beyond comes with the next.
pub const COMPLAINTS_MAX: usize = 64;
/// Bytes of one line in a reply: a few paths.
const LINE_BYTES_MAX: usize = 4096;

const _: () = {
    assert!((MANIFEST_BYTES_MAX + SIGNATURES_BYTES_MAX) * 2 < MESSAGE_BYTES_MAX);
    assert!(COMPLAINTS_MAX * LINE_BYTES_MAX * 2 < MESSAGE_BYTES_MAX as usize);
};

/// What the process on the network may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Request {
    /// What this host is like: answered by [`Answer::Host`].
    Hello,
    /// The socket of `fanhost status`, as a descriptor.
    Listen,
    /// What is held: answered by [`Answer::Held`].
    Holdings {
        /// Of this app.
        app: AppName,
        /// Of this release.
        release: ReleaseId,
        /// And of this image.
        image: Digest,
    },
    /// Whether a manifest is signed by a key that an app trusts.
    Vouch {
        /// By this app.
        app: AppName,
        /// The manifest as it was signed.
        manifest: String,
        /// Signatures over that.
        signatures: String,
    },
    /// Whether a release could be staged.
    Check {
        /// Which.
        offer: Offered,
    },
    /// Sets aside what a release will take, for as long as the connection stays open.
    Reserve {
        /// Which.
        offer: Offered,
    },
    /// Makes a release of an image: replies [`Answer::Durable`] before the last one, or
    /// [`Answer::Spoiled`] where a held image is not right.
    Stage {
        /// Which.
        offer: Offered,
        /// Its image is complete in the incoming directory; else it was held from before.
        is_received: bool,
    },
    /// Switches `current`.
    Activate {
        /// Of this app.
        app: AppName,
        /// To this release.
        release: ReleaseId,
    },
    /// How far an app's last activation has come: answered by [`Answer::Progress`].
    Progress {
        /// Of this app.
        app: AppName,
    },
    /// Removes what is no longer needed.
    Prune {
        /// Of this app.
        app: AppName,
    },
}

/// An [`Offer`] as it travels; the image is the manifest's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offered {
    app: AppName,
    release: ReleaseId,
    manifest: String,
    signatures: String,
    data_bytes: u64,
}

impl Offered {
    /// For the way.
    ///
    /// # Errors
    /// When the signatures are no text, which those that hosts know are.
    pub fn of(offer: &Offer) -> Result<Self, StoreError> {
        let (manifest, signatures) = texts(&offer.manifest_bytes, &offer.signatures)?;
        Ok(Self {
            app: offer.manifest.app.clone(),
            release: offer.release,
            manifest,
            signatures,
            data_bytes: offer.data_bytes,
        })
    }

    /// The offer, if the manifest is that of its release, and `store` believes who signed it.
    ///
    /// # Errors
    /// When it is not, or is longer than a manifest may be.
    pub fn read(self, store: &Store) -> Result<Offer, StoreError> {
        let is_short = self.manifest.len() <= MANIFEST_BYTES_MAX as usize
            && self.signatures.len() <= SIGNATURES_BYTES_MAX as usize;
        if !is_short {
            let line = "the manifest or its signatures are longer than they may be";
            return Err(StoreError::new(Fault::VerifyFailed, line));
        }
        let (manifest, signatures) = (self.manifest.into_bytes(), self.signatures.into_bytes());
        // PROTOCOL 8.7: before anything of it is parsed.
        store.vouch(&self.app, &manifest, &signatures)?;
        Offer::read(&self.app, self.release, manifest, signatures, self.data_bytes)
    }
}

/// A manifest and its signatures as text.
///
/// # Errors
/// When they are no text, which those that hosts know are.
pub fn texts(manifest: &[u8], signatures: &[u8]) -> Result<(String, String), StoreError> {
    let text = |bytes: &[u8], what: &str, fault| {
        String::from_utf8(bytes.to_vec())
            .map_err(|_| StoreError::new(fault, format!("the {what} of the release is no text")))
    };
    let manifest = text(manifest, "manifest", Fault::VerifyFailed)?;
    Ok((manifest, text(signatures, "signature", Fault::SignatureWrong)?))
}

/// What the helper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// Lines for the log about what went wrong without failing anything.
    pub complaints: Vec<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// The image is durable under its final name; the release is not made yet.
    Durable,
    /// The image that was held is not there, or no longer right: it must be received.
    Spoiled,
    /// What this host is like.
    Host(HostFacts),
    /// What is held.
    Held(Holdings),
    /// How far the last activation has come, if there was one.
    Progress(Option<Box<Progress>>),
    /// It cannot be done.
    Failed {
        /// What the sender is told, by its number on the wire.
        fault: u16,
        /// Somebody else has what is needed.
        is_busy: bool,
        /// The line for a person.
        line: String,
    },
}

/// What the helper tells of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// Where the store lies.
    pub store: PathBuf,
    /// The apps that it keeps.
    pub apps: Vec<AppName>,
    /// What it can stage, and why not the rest.
    pub capabilities: Capabilities,
}

impl Answer {
    /// The answer that tells of `error`.
    pub fn failed(error: &StoreError) -> Self {
        let line = cut(error.to_string());
        Self::Failed { fault: error.fault() as u16, is_busy: error.is_busy(), line }
    }

    /// The error, where the answer tells of one.
    ///
    /// # Errors
    /// That error.
    pub fn into_result(self) -> Result<Self, StoreError> {
        match self {
            Self::Failed { fault, is_busy: false, line } => {
                Err(StoreError::new(Fault::from_wire(fault), line))
            }
            Self::Failed { line, .. } => Err(StoreError::busy(line)),
            other => Ok(other),
        }
    }
}

/// A line that fits into a reply.
pub fn cut(mut line: String) -> String {
    if line.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
    }
    line
}

/// Writes one message.
///
/// # Errors
/// When it is too long, or the other side has gone.
pub fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    to.write_all(&[&length.to_be_bytes()[..], &body].concat())
}

/// Reads one message.
///
/// # Errors
/// When there is none, or it is too long or not understood.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message that is too long"));
    }
    let mut body = Vec::new();
    from.take(length.into()).read_to_end(&mut body)?;
    if body.len() < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AppConfig;
    use crate::store::fixture::Place;
    use proptest::prelude::*;

    fn offered() -> Offered {
        let release = ReleaseId(Digest::of(b"release"));
        let (manifest, signatures) = ("{\"a\": 1}\n".into(), "untrusted comment: x\n".into());
        Offered { app: "shop".parse().unwrap(), release, manifest, signatures, data_bytes: 17 }
    }

    fn requests() -> Vec<Request> {
        let app: AppName = "shop".parse().unwrap();
        let release = ReleaseId(Digest::of(b"release"));
        vec![
            Request::Hello,
            Request::Listen,
            Request::Holdings { app: app.clone(), release, image: Digest::of(b"image") },
            Request::Vouch {
                app: app.clone(),
                manifest: "{}".into(),
                signatures: "untrusted comment: x\n".into(),
            },
            Request::Check { offer: offered() },
            Request::Reserve { offer: offered() },
            Request::Stage { offer: offered(), is_received: true },
            Request::Activate { app: app.clone(), release },
            Request::Progress { app: app.clone() },
            Request::Prune { app },
        ]
    }

    fn sent(message: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        send(&mut bytes, message).unwrap();
        bytes
    }

    #[test]
    fn requests_come_back_as_they_were_and_cut_ones_not_at_all() {
        for request in requests() {
            let bytes = sent(&request);
            assert_eq!(receive::<Request>(&*bytes).unwrap(), request);
            for end in 0..bytes.len() {
                assert!(receive::<Request>(&bytes[..end]).is_err(), "{request:?} cut at {end}");
            }
        }
    }

    #[test]
    fn a_reply_carries_the_error_as_it_was() {
        let told = Answer::failed(&StoreError::new(Fault::DiskFull, "no space"));
        let reply = Reply { answer: told, complaints: vec!["a line".into()] };
        let read: Reply = receive(&*sent(&reply)).unwrap();
        assert_eq!(read.complaints, ["a line"]);
        let error = read.answer.into_result().unwrap_err();
        assert_eq!((error.fault(), error.to_string()), (Fault::DiskFull, "no space".into()));
        let busy = Answer::failed(&StoreError::busy("in use".into())).into_result().unwrap_err();
        assert!(busy.is_busy());
        assert_eq!(Answer::Done.into_result().unwrap(), Answer::Done);
    }

    #[test]
    fn what_is_too_long_or_unknown_is_refused_before_it_is_kept() {
        let mut bytes = (MESSAGE_BYTES_MAX + 1).to_be_bytes().to_vec();
        bytes.extend([b' '; 64]);
        assert_eq!(receive::<Request>(&*bytes).unwrap_err().kind(), ErrorKind::InvalidData);
        let long = Reply { answer: Answer::Done, complaints: vec!["x".repeat(2 << 20)] };
        assert!(send(Vec::new(), &long).is_err());
        for text in [
            r#""mount""#,
            r#"{"prune":{"app":"shop","force":true}}"#,
            r#"{"prune":{"app":"../etc"}}"#,
            r#"{"activate":{"app":"shop","release":"12"}}"#,
            r#"{"prune":{"app":"shop"}} {}"#,
            r#"["hello"]"#,
            "",
        ] {
            let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
            bytes.extend(text.bytes());
            assert!(receive::<Request>(&*bytes).is_err(), "{text}");
        }
        assert_eq!(cut("ä".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_manifest_of_another_release_is_no_offer() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        let apps = vec![AppConfig { trust: None, ..place.config() }];
        let store = Store::open(&place.store, apps).unwrap();
        let error = offered().read(&store).unwrap_err();
        assert_eq!(error.fault(), Fault::VerifyFailed);
        assert!(error.to_string().contains("not that of the release"), "{error}");
        let long = Offered { manifest: " ".repeat(MANIFEST_BYTES_MAX as usize + 1), ..offered() };
        assert!(long.read(&store).unwrap_err().to_string().contains("longer"));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_the_reader_down(
            at in 0_usize..400, value: u8, which in 0_usize..9, tail: Vec<u8>,
        ) {
            let mut bytes = sent(&requests()[which]);
            let place = at % bytes.len();
            bytes[place] = value;
            bytes.extend(&tail);
            // Whatever it is now, it is read whole or refused.
            if let Ok(request) = receive::<Request>(&*bytes) {
                prop_assert_eq!(receive::<Request>(&*sent(&request)).unwrap(), request);
            }
            prop_assert!(receive::<Reply>(&*tail).is_err());
        }
    }
}
