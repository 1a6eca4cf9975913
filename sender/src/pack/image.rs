//! Images as streams of data and holes: files on disk, and what other threads produce.
//!
//! Not here: how an image is made of a directory ([`ext`](super::ext) and its siblings).

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use common::bundle::UnpackLimits;
use rustix::fs::SeekFrom;

use super::cancel::Cancel;
use super::cutter::{Cutter, RawFrame};
use super::error::PackError;

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// What comes next in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// This many bytes were put into the buffer.
    Data(usize),
    /// This many zeros, which were not read.
    Gap(u64),
    /// Nothing more.
    End,
}

/// Anything that an image can be read from, once, front to back.
pub trait ImageSource: Send {
    /// Puts the next bytes into `buf`, or says that a gap or the end is next.
    ///
    /// # Errors
    /// Names what could not be read.
    fn next_segment(&mut self, buf: &mut [u8]) -> Result<Segment, PackError>;
}

/// An image in a file; its holes are not read.
#[derive(Debug)]
pub struct FileImage {
    file: File,
    path: PathBuf,
    at: u64,
    end: u64,
    /// Up to here there is data; beyond it has to be asked for.
    data_end: u64,
}

impl FileImage {
    /// Reads `file`, known to people as `path`, from its start to its present end.
    ///
    /// # Errors
    /// When its length cannot be had.
    pub fn new(file: File, path: &Path) -> Result<Self, PackError> {
        let metadata = file.metadata().map_err(|error| PackError::source(path, error))?;
        Ok(Self { file, path: path.to_owned(), at: 0, end: metadata.len(), data_end: 0 })
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Where the next data begins and ends; filesystems without holes call everything data.
    fn look_ahead(&mut self) -> Result<u64, PackError> {
        let seek = |from| rustix::fs::seek(&self.file, from);
        let begin = match seek(SeekFrom::Data(self.at)) {
            Ok(begin) => begin.min(self.end),
            Err(rustix::io::Errno::NXIO) => self.end,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => self.at,
            Err(error) => return Err(PackError::source(&self.path, error.into())),
        };
        let hole = seek(SeekFrom::Hole(begin)).unwrap_or(self.end);
        self.data_end = if hole > begin { hole.min(self.end) } else { self.end };
        Ok(begin)
    }
}

impl ImageSource for FileImage {
    fn next_segment(&mut self, buf: &mut [u8]) -> Result<Segment, PackError> {
        if self.at == self.end {
            return Ok(Segment::End);
        }
        if self.at >= self.data_end {
            let begin = self.look_ahead()?;
            if begin > self.at {
                let gap = begin - self.at;
                self.at = begin;
                return Ok(Segment::Gap(gap));
            }
        }
        let most = usize::try_from(self.data_end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let count = self
            .file
            .read_at(&mut buf[..most], self.at)
            .map_err(|error| PackError::source(&self.path, error))?;
        if count == 0 {
            return Err(PackError::Changed(self.path.clone()));
        }
        self.at += count as u64;
        Ok(Segment::Data(count))
    }
}

/// What a producer knows when it has produced everything.
pub type Produced = Result<Option<UnpackLimits>, PackError>;

/// An image that another thread produces while it is read.
#[derive(Debug)]
pub struct PipeImage {
    reader: PipeReader,
    producer: Option<JoinHandle<Produced>>,
    limits: std::sync::Arc<std::sync::OnceLock<UnpackLimits>>,
}

impl PipeImage {
    /// Runs `produce` on its own thread with the writing end.
    ///
    /// # Errors
    /// When no pipe or thread can be had.
    pub fn new(
        produce: impl FnOnce(PipeWriter) -> Produced + Send + 'static,
    ) -> Result<Self, PackError> {
        let (reader, writer) = io::pipe().map_err(PackError::Machine)?;
        let producer = thread::Builder::new()
            .name("image".into())
            .spawn(move || produce(writer))
            .map_err(PackError::Machine)?;
        Ok(Self { reader, producer: Some(producer), limits: Default::default() })
    }

    /// Where the producer's limits for unpacking will be once the image was read to its end.
    pub fn limits(&self) -> std::sync::Arc<std::sync::OnceLock<UnpackLimits>> {
        self.limits.clone()
    }
}

impl ImageSource for PipeImage {
    fn next_segment(&mut self, buf: &mut [u8]) -> Result<Segment, PackError> {
        let count = self.reader.read(buf).map_err(PackError::Machine)?;
        if count > 0 {
            return Ok(Segment::Data(count));
        }
        if let Some(producer) = self.producer.take() {
            let limits =
                producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            if let Some(limits) = limits {
                let _ = self.limits.set(limits);
            }
        }
        Ok(Segment::End)
    }
}

/// The frames of an image, cut as they are asked for.
pub struct Frames<'a> {
    source: &'a mut dyn ImageSource,
    cancel: &'a Cancel,
    cutter: Cutter,
    buf: Vec<u8>,
    is_ended: bool,
}

impl<'a> Frames<'a> {
    /// Cuts what `source` gives until `cancel` is set.
    pub fn new(source: &'a mut dyn ImageSource, cancel: &'a Cancel) -> Self {
        let buf = vec![0; READ_BYTES];
        Self { source, cancel, cutter: Cutter::default(), buf, is_ended: false }
    }

    fn advance(&mut self) -> Result<(), PackError> {
        self.cancel.check()?;
        match self.source.next_segment(&mut self.buf)? {
            Segment::Data(count) => self.cutter.handle_data(&self.buf[..count]),
            Segment::Gap(count) => self.cutter.handle_gap(count),
            Segment::End => {
                self.cutter.handle_end();
                self.is_ended = true;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<RawFrame, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.cutter.poll_frame() {
                return Some(Ok(frame));
            }
            if self.is_ended {
                return None;
            }
            if let Err(error) = self.advance() {
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn segments(source: &mut dyn ImageSource) -> Result<Vec<Segment>, PackError> {
        let mut buf = vec![0; 1 << 20];
        let mut all = Vec::new();
        loop {
            match source.next_segment(&mut buf)? {
                Segment::End => return Ok(all),
                segment => all.push(segment),
            }
        }
    }

    #[test]
    fn holes_of_a_file_are_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 30).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        let mut image = FileImage::new(file, Path::new("x")).unwrap();
        let behind = (4 << 30) - (1 << 20) - 4096;
        let expected = [Segment::Gap(1 << 20), Segment::Data(4096), Segment::Gap(behind)];
        assert_eq!(segments(&mut image).unwrap(), expected);
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_has_changed() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        let mut image = FileImage::new(file.try_clone().unwrap(), Path::new("x")).unwrap();
        assert_eq!(image.next_segment(&mut [0; 4096]).unwrap(), Segment::Data(4096));
        file.set_len(4096).unwrap();
        assert!(matches!(image.next_segment(&mut [0; 4096]), Err(PackError::Changed(_))));
    }

    #[test]
    fn an_error_of_the_producer_is_the_error_of_the_image() {
        let mut image = PipeImage::new(|mut out| {
            out.write_all(b"some").map_err(PackError::Machine)?;
            Err(PackError::Changed("y".into()))
        })
        .unwrap();
        assert!(matches!(segments(&mut image), Err(PackError::Changed(_))));
    }
}
