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
    /// Whether services are to be on it.
    pub is_current: bool,
    /// Whether they can be: it is mounted, where it must be.
    pub is_staged: bool,
    /// Whether it was noted as damaged before.
    pub was_damaged: bool,
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
        self.is_damaged() == Some(true)
    }

    /// Whether what lies here is not what was verified, where that can be told.
    pub fn is_damaged(&self) -> Option<bool> {
        match self.finding {
            Finding::Damaged { .. } | Finding::Gone { .. } => Some(true),
            Finding::Intact { .. } => Some(false),
            Finding::Unknown => None,
        }
    }

    /// What is wrong and what to do; nothing for what is not.
    pub fn complaint(&self) -> Option<String> {
        let (path, what) = match &self.finding {
            Finding::Damaged { path } => (path, CHANGED),
            Finding::Gone { path } => (path, "is gone"),
            Finding::Intact { .. } | Finding::Unknown => return None,
        };
        let Self { app, label, is_current, is_staged, .. } = self;
        let path = path.display();
        let services = match (is_current, is_staged) {
            (true, true) => "; services are on it",
            (true, false) => "; services have nothing: it is not mounted",
            (false, _) => "",
        };
        let remedy = remedy(app, *is_current);
        Some(format!("{app} {label}: {path} {what}{services}: {remedy}"))
    }
}

/// What became of an image that is not what it was.
pub(super) const CHANGED: &str = "was changed since it was verified";

/// What to do about a release that is damaged on this disk.
pub(super) fn remedy(app: &AppName, is_current: bool) -> String {
    match is_current {
        true => format!(
            "send the same release again, or fanhost rollback {app}; and check this disk and who \
             may write to it"
        ),
        // An older one than is current is not taken again.
        false => {
            "nobody goes back to it, and it goes at a later prune; check this disk and who may \
                  write to it"
                .to_owned()
        }
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
    seen: Condition,
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
        is_staged: seen.is_staged,
        was_damaged: seen.was_damaged,
        finding,
    })
}

/// What was known of a release before its image was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) is_staged: bool,
    pub(super) was_damaged: bool,
}

impl App {
    /// Looks at the release that services are on, and notes whether it is what it was. One that
    /// they cannot be on was read when that was found.
    pub(super) fn audit_current(&self) -> Result<Option<Audit>, StoreError> {
        let (current, was_damaged) = {
            let state = self.lock();
            let Some(current) = state.current else { return Ok(None) };
            (current, state.record(&current).damaged)
        };
        let Some(known) = self.known(&current)? else { return Ok(None) };
        if !self.is_staged(&known)? {
            return Ok(None);
        }
        let seen = Condition { is_staged: true, was_damaged };
        let (app, hashed) = (&self.config.app, &mut Hashed::default());
        let audit = audit(app, &self.layout, &known, seen, hashed)?;
        if let Some(damaged) = audit.is_damaged() {
            self.note_condition(current, damaged)?;
        }
        Ok(Some(audit))
    }
}
