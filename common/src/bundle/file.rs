//! A bundle file, opened for sending, inspecting or verifying.
//!
//! Not here: the check of every byte ([`verify`](super::verify)).
//!
//! Invariant: an open bundle's header, footer, tables, manifest and signatures match their digests;
//! its frames are not read yet and are judged by whoever reads them.
#![expect(clippy::disallowed_methods, reason = "opens the one file it is about")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::geometry::PreambleLengths;
use crate::id::{FrameIndex, ReleaseId};

use super::decode::FrameError;
use super::footer::{FOOTER_BYTES, Footer, FooterError, HEADER_BYTES, Section, check_header};
use super::preamble::{Preamble, PreambleError};
use super::writer::tail;

/// What is wrong with a bundle file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct BundleError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: BundleFault,
}

/// The ways in which a bundle file can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    /// It cannot be opened.
    #[error("cannot open it: {0}")]
    Open(io::Error),
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// It is no bundle, an incomplete one or one of another version.
    #[error(transparent)]
    Ends(FooterError),
    /// A part does not match the digest in the footer.
    #[error("its {0} is damaged: copy the file again")]
    Damaged(&'static str),
    /// The parts are whole and do not fit each other or this version.
    #[error(transparent)]
    Preamble(PreambleError),
    /// A frame is damaged.
    #[error("frame {0} is damaged: {1}; copy the file again")]
    Frame(FrameIndex, FrameError),
    /// All chunks are right and the image is not the one that the manifest names.
    #[error("its image does not match the manifest")]
    Image,
}

impl BundleFault {
    /// Whether the file's content is to blame, rather than the machine that it lies on.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Open(_) | Self::Read(_))
    }
}

/// An open bundle.
#[derive(Debug)]
pub struct BundleFile {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    preamble: Preamble,
    release: ReleaseId,
}

impl BundleFile {
    /// Opens a bundle and checks everything but its frames.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let wrong = |fault| BundleError { path: path.to_owned(), fault };
        let file = File::open(path).map_err(|error| wrong(BundleFault::Open(error)))?;
        let file_bytes = regular_file_bytes(&file).map_err(wrong)?;
        let preamble = read_preamble(&file, file_bytes).map_err(wrong)?;
        let release = preamble.release();
        Ok(Self { path: path.to_owned(), file, file_bytes, preamble, release })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Identity of the release inside.
    pub fn release(&self) -> ReleaseId {
        self.release
    }

    /// Everything but the frames.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// The preamble as a session sends it.
    pub fn preamble_bytes(&self) -> (Vec<u8>, PreambleLengths) {
        self.preamble.emit()
    }

    /// Length of the payload.
    pub fn payload_bytes(&self) -> u64 {
        self.preamble.plan.payload_bytes()
    }

    /// Fills `buf` with the payload from `offset` on.
    ///
    /// # Errors
    /// As the file is read; also when the payload ends before `buf` is full.
    pub fn read_payload_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.payload_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, HEADER_BYTES as u64 + offset)
    }

    /// Reads one frame as sent into `sent`, without judging it.
    ///
    /// # Errors
    /// Names the file when it cannot be read.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn read_frame(&self, index: FrameIndex, sent: &mut Vec<u8>) -> Result<(), BundleError> {
        let frame = self.preamble.plan.frame(index).expect("the caller counts the plan's frames");
        sent.resize(frame.bytes as usize, 0);
        self.read_payload_at(self.preamble.plan.payload_offset(index), sent)
            .map_err(|error| self.read_failed(error))
    }

    /// Writes this bundle into `out` with another manifest and other signatures; the frames and
    /// both tables must be the same.
    ///
    /// # Errors
    /// As the files are read and written.
    pub fn copy_with(&self, preamble: &Preamble, out: &mut File) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let front_bytes = HEADER_BYTES as u64 + self.payload_bytes();
        if io::copy(&mut file.take(front_bytes), out)? != front_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.write_all(&tail(preamble))
    }

    /// The error that names this file for a read that failed.
    pub fn read_failed(&self, error: io::Error) -> BundleError {
        self.wrong(BundleFault::Read(error))
    }

    pub(super) fn wrong(&self, fault: BundleFault) -> BundleError {
        BundleError { path: self.path.clone(), fault }
    }
}

/// Opening a directory succeeds, reading it says "Is a directory"; a pipe has no end to look at.
fn regular_file_bytes(file: &File) -> Result<u64, BundleFault> {
    let metadata = file.metadata().map_err(BundleFault::Open)?;
    if metadata.is_dir() {
        return Err(BundleFault::Open(io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(BundleFault::Ends(FooterError::NotABundle));
    }
    Ok(metadata.len())
}

fn read_preamble(file: &File, file_bytes: u64) -> Result<Preamble, BundleFault> {
    let footer = read_footer(file, file_bytes)?;
    let part = |name, section| read_section(file, name, section);
    let frame_table = part("frame table", footer.frame_table)?;
    let chunk_table = part("chunk table", footer.chunk_table)?;
    let manifest = part("manifest", footer.manifest)?;
    let signatures = part("signature", footer.signatures)?;
    let bytes_of = |part: &Vec<u8>| u32::try_from(part.len()).expect("the footer bounds its parts");
    let lengths = PreambleLengths {
        manifest: bytes_of(&manifest),
        signatures: bytes_of(&signatures),
        chunk_table: bytes_of(&chunk_table),
        plan: bytes_of(&frame_table),
    };
    let release = ReleaseId(footer.manifest.digest);
    let bytes = [manifest, signatures, chunk_table, frame_table].concat();
    let preamble = Preamble::parse(&bytes, &lengths, release).map_err(BundleFault::Preamble)?;
    if preamble.plan.payload_bytes() != footer.payload_bytes {
        return Err(BundleFault::Ends(FooterError::Layout));
    }
    Ok(preamble)
}

fn read_footer(file: &File, file_bytes: u64) -> Result<Footer, BundleFault> {
    if file_bytes < HEADER_BYTES as u64 {
        return Err(BundleFault::Ends(FooterError::NotABundle));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).map_err(BundleFault::Read)?;
    check_header(&header).map_err(BundleFault::Ends)?;
    let offset = file_bytes
        .checked_sub(FOOTER_BYTES as u64)
        .ok_or(BundleFault::Ends(FooterError::Truncated))?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, offset).map_err(BundleFault::Read)?;
    Footer::parse(&footer, file_bytes).map_err(BundleFault::Ends)
}

fn read_section(file: &File, name: &'static str, section: Section) -> Result<Vec<u8>, BundleFault> {
    let length = usize::try_from(section.bytes).expect("the footer bounds its parts");
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, section.offset).map_err(BundleFault::Read)?;
    if Digest::of(&bytes) == section.digest { Ok(bytes) } else { Err(BundleFault::Damaged(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::writer::tests::small_bundle;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn an_open_bundle_gives_its_preamble_and_payload() {
        let (bytes, preamble) = small_bundle();
        let bundle = BundleFile::open(file(&bytes).path()).unwrap();
        assert_eq!(bundle.preamble(), &preamble);
        assert_eq!(bundle.release(), preamble.release());
        assert_eq!(bundle.file_bytes(), bytes.len() as u64);
        let payload_bytes = usize::try_from(bundle.payload_bytes()).unwrap();
        let mut payload = vec![0; payload_bytes];
        bundle.read_payload_at(0, &mut payload).unwrap();
        assert_eq!(payload, bytes[16..16 + payload_bytes]);
        assert!(bundle.read_payload_at(1, &mut payload).is_err(), "ends one byte early");
        assert!(bundle.read_payload_at(u64::MAX, &mut payload).is_err());
    }

    #[test]
    fn every_truncation_is_refused_when_opening() {
        let (bytes, _) = small_bundle();
        for end in 0..bytes.len() {
            let error = BundleFile::open(file(&bytes[..end]).path()).unwrap_err();
            assert!(error.fault.is_refusal(), "{end}: {error}");
        }
    }

    #[test]
    fn every_flipped_byte_outside_the_payload_is_refused_when_opening() {
        let (bytes, preamble) = small_bundle();
        let payload_bytes = usize::try_from(preamble.plan.payload_bytes()).unwrap();
        for at in (0..bytes.len()).filter(|at| !(16..16 + payload_bytes).contains(at)) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let error = BundleFile::open(file(&bytes).path()).unwrap_err();
            assert!(error.fault.is_refusal(), "{at}: {error}");
        }
    }

    #[test]
    fn what_is_no_bundle_is_named_with_its_path() {
        let text = file(b"#!/bin/sh\necho not a bundle at all\n");
        let error = BundleFile::open(text.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{}: it is not a fanfare bundle", text.path().display()));
        let missing = BundleFile::open(Path::new("/nonexistent/x.fan")).unwrap_err();
        assert!(!missing.fault.is_refusal());
        let directory = BundleFile::open(Path::new("/")).unwrap_err();
        assert_eq!(directory.to_string(), "/: cannot open it: is a directory");
    }
}
