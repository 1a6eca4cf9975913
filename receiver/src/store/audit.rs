//! Looking whether what is on disk still is what was verified when it came.
//!
//! Not here: what follows. Reads only, so it works beside a running daemon; what a prune removes
//! meanwhile is passed over. Pages that are in memory are believed: what a disk would say of them
//! is known once they are read from it again.

#![expect(clippy::disallowed_methods, reason = "opens images to hash them")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::digest::Digest;
use common::id::{AppName, ImageKind, Label, ReleaseId};
use serde::Serialize;

use super::app::{App, Known, read_current};
use super::error::StoreError;
use super::layout::Layout;
use super::record::Verdict;
use super::stage::digest_of;

/// What was found of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Of which app.
    pub app: AppName,
    /// What people call it.
    pub label: Label,
    /// Its identity.
    pub id: ReleaseId,
    /// Whether services are on it.
    pub is_current: bool,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// Every byte is as it was.
    Intact {
        /// How many.
        bytes: u64,
    },
    /// Something else is there.
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// It is mounted or should be, and its image is gone.
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// The archive went once its tree was active; a tree has no digest.
    Unknown,
}

impl Audit {
    /// Whether something is wrong.
    pub fn is_bad(&self) -> bool {
        matches!(self.finding, Finding::Damaged { .. } | Finding::Gone { .. })
    }

    /// What is wrong and what to do; nothing for what is not.
    pub fn complaint(&self) -> Option<String> {
        let (path, what) = match &self.finding {
            Finding::Damaged { path } => (path, "was changed since it was verified"),
            Finding::Gone { path } => (path, "is gone"),
            Finding::Intact { .. } | Finding::Unknown => return None,
        };
        let Self { app, label, is_current, .. } = self;
        let path = path.display();
        let remedy = match is_current {
            true => format!(
                "services are on it: fanhost rollback {app}, or send a newer release; check this \
                 disk and who may write to it"
            ),
            false => "it is not gone back to any more and goes at a later prune".to_owned(),
        };
        Some(format!("{app} {label}: {path} {what}; {remedy}"))
    }
}

/// Hashes what is on disk of a release.
fn look(layout: &Layout, known: &Known, hashed: &mut Hashed) -> io::Result<Finding> {
    let image = &known.manifest.image;
    let path = layout.image(&image.digest, image.kind);
    let place = layout.release(&known.id, &known.manifest.label);
    let mut files = vec![path.clone()];
    if image.kind == ImageKind::Raw {
        files.push(place.join(layout.raw_name()));
    }
    let mut bytes = 0;
    for file in files {
        match hashed.digest(&file)? {
            Some((digest, length)) if digest == image.digest => bytes = length,
            Some(_) => return Ok(Finding::Damaged { path: file }),
            None if !layout.manifest(&known.id).exists() => return Ok(Finding::Unknown),
            None if image.kind == ImageKind::Tar => return Ok(Finding::Unknown),
            None => return Ok(Finding::Gone { path: file }),
        }
    }
    Ok(Finding::Intact { bytes })
}

/// Files that were hashed already: releases share images, and a raw release is its image.
#[derive(Debug, Default)]
pub(super) struct Hashed(BTreeMap<(u64, u64), (Digest, u64)>);

impl Hashed {
    fn digest(&mut self, path: &Path) -> io::Result<Option<(Digest, u64)>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = file.metadata()?;
        let key = (facts.dev(), facts.ino());
        if let Some(known) = self.0.get(&key) {
            return Ok(Some(*known));
        }
        let found = (digest_of(&file)?, facts.len());
        self.0.insert(key, found);
        Ok(Some(found))
    }
}

/// Hashes what is on disk of one release.
pub(super) fn audit(
    app: &AppName,
    layout: &Layout,
    known: &Known,
    hashed: &mut Hashed,
) -> Result<Audit, StoreError> {
    let label = &known.manifest.label;
    let link = read_current(layout).unwrap_or(None);
    let finding = look(layout, known, hashed)
        .map_err(|error| StoreError::of_read(format!("{app} {label}"), &error))?;
    Ok(Audit {
        app: app.clone(),
        label: label.clone(),
        id: known.id,
        is_current: link == Some(Layout::link_text(&known.id, label)),
        finding,
    })
}

impl App {
    /// Looks at the release that services are on, and judges it bad when it is not what it was.
    pub(super) fn audit_current(&self) -> Result<Option<Audit>, StoreError> {
        let Some(current) = self.lock().current else { return Ok(None) };
        let Some(known) = self.known(&current)? else { return Ok(None) };
        let audit = audit(&self.config.app, &self.layout, &known, &mut Hashed::default())?;
        if audit.is_bad() {
            self.judge(current, Verdict::Bad(DAMAGED.into()))?;
        }
        Ok(Some(audit))
    }
}

/// Why a release whose image is not what it was is bad.
pub const DAMAGED: &str = "its image is damaged";
