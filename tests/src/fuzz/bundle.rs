//! A bundle and its parts: manifest, tables, preamble, frames, the file.
//!
//! Where a digest stands before a parser, it is made right first: a fuzzer that had to find one
//! would never see what is behind.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use common::bundle::footer::{FOOTER_BYTES, Footer, HEADER_BYTES, header};
use common::bundle::{
    BundleFile, Chunk, ChunkTable, Frame, FrameKind, FrameTable, Manifest, Preamble,
    PreambleLengths, TableFacts, decode_frame, release_id,
};
use common::digest::Digest;
use common::id::ChunkIndex;
use common::limits::FRAME_RAW_BYTES_MAX;
use rustix::fs::MemfdFlags;

use super::input::Input;

/// Longest image that is put together to check its digest: gaps cost bytes to nobody but here.
const IMAGE_BYTES_MAX: u64 = 64 << 20;

/// A manifest that is accepted says the same once it is written anew.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let written = manifest.to_json();
    let read = Manifest::parse(&written).expect("what was accepted is accepted again");
    assert_eq!(read, manifest);
    assert_eq!(read.to_json(), written);
}

/// A table that is accepted has one form alone, and its entries add up.
pub fn tables(data: &[u8]) {
    if let Ok(table) = ChunkTable::parse(data) {
        assert_eq!(table.emit(), data);
        let bytes: u64 = table.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        assert_eq!(table.image_bytes(), bytes);
        assert!(table.range(ChunkIndex(0), table.len()).is_some());
        assert!(table.range(ChunkIndex(1), table.len()).is_none());
        assert!(table.range(ChunkIndex(u32::MAX), u32::MAX).is_none());
    }
    if let Ok(table) = FrameTable::parse(data) {
        assert_eq!(table.emit(), data);
        let bytes: u64 = table.iter().map(|frame| u64::from(frame.bytes)).sum();
        assert_eq!(table.payload_bytes(), bytes);
        assert!(table.frame_at(bytes).is_none());
        if let Some(last) = bytes.checked_sub(1) {
            let frame = table.frame_at(last).expect("the last byte is some frame's");
            assert!(table.payload_offset(frame) <= last);
        }
    }
}

/// A preamble: as it is, and with the digests of its tables put right. One that is accepted tiles.
pub fn preamble(data: &[u8]) {
    let mut input = Input::new(data);
    let manifest = input.part().to_vec();
    let (signatures, chunks) = (input.part(), input.part());
    let parts = [&*manifest, signatures, chunks, input.rest()];
    check_preamble(parts);
    if let Some(manifest) = with_tables(&manifest, parts) {
        check_preamble([&manifest, parts[1], parts[2], parts[3]]);
    }
}

fn check_preamble(parts: [&[u8]; 4]) {
    let [manifest, signatures, chunk_table, plan] = parts.map(|part| part.len() as u32);
    let lengths = PreambleLengths { manifest, signatures, chunk_table, plan };
    let bytes = parts.concat();
    let Ok(preamble) = Preamble::parse(&bytes, &lengths, release_id(parts[0])) else { return };
    assert_eq!(preamble.emit(), (bytes, lengths));
    let tiled: u32 = preamble.plan.iter().map(|frame| frame.chunk_count).sum();
    assert_eq!(tiled, preamble.chunks.len());
    assert_eq!(preamble.chunks.image_bytes(), preamble.manifest.image.bytes);
    let mut raw = Vec::new();
    for frame in preamble.plan.iter() {
        let _ = decode_frame(frame, b"", &preamble.chunks, &mut raw);
    }
}

/// The manifest, if it is one, with these tables and the length of their image.
fn with_tables(manifest: &[u8], parts: [&[u8]; 4]) -> Option<Vec<u8>> {
    let mut manifest = Manifest::parse(manifest).ok()?;
    let facts = |table: &[u8], count| TableFacts {
        digest: Digest::of(table),
        bytes: table.len() as u64,
        count,
    };
    let (chunks, plan) = (ChunkTable::parse(parts[2]).ok(), FrameTable::parse(parts[3]).ok());
    manifest.chunk_table = facts(parts[2], chunks.as_ref().map_or(0, ChunkTable::len));
    manifest.frame_table = facts(parts[3], plan.as_ref().map_or(0, FrameTable::len));
    if let Some(chunks) = &chunks {
        manifest.image.bytes = chunks.image_bytes();
    }
    Some(manifest.to_json())
}

/// The bytes of one frame, whose digest is right and whose content is anything: decoding takes no
/// more memory than the table says, and accepts nothing but the chunks.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.pick(&[FrameKind::Zstd, FrameKind::Stored, FrameKind::Zero]);
    let (raw_bytes, is_split) = (input.u32() % (FRAME_RAW_BYTES_MAX + 2), input.flag());
    let sent = input.rest();
    let raw = zstd_content(kind, sent, raw_bytes as usize);
    let cut = if is_split { raw.len() / 2 } else { 0 };
    let chunk = |bytes: &[u8]| Chunk { bytes: bytes.len() as u32, digest: Digest::of(bytes) };
    let (first, second) = raw.split_at(cut);
    let chunks = [first, second].into_iter().filter(|part| !part.is_empty()).map(chunk);
    let Ok(chunks) = ChunkTable::from_chunks(chunks.collect()) else { return };
    let frame = Frame {
        kind,
        bytes: sent.len() as u32,
        digest: Digest::of(sent),
        first_chunk: ChunkIndex(0),
        chunk_count: chunks.len(),
    };
    let mut out = Vec::new();
    if decode_frame(&frame, sent, &chunks, &mut out).is_ok() && kind != FrameKind::Zero {
        assert_eq!(out, raw);
    }
    assert!(out.capacity() <= 2 * FRAME_RAW_BYTES_MAX as usize);
}

/// What the frame would have to hold: what it does, where it decompresses at all.
fn zstd_content(kind: FrameKind, sent: &[u8], raw_bytes: usize) -> Vec<u8> {
    let zeros = || vec![0; raw_bytes];
    match kind {
        FrameKind::Zstd => zstd::bulk::decompress(sent, raw_bytes).unwrap_or_else(|_| zeros()),
        FrameKind::Stored => sent.to_vec(),
        _ => zeros(),
    }
}

/// A bundle file: as it is, and with what stands before its parts put right. One that opens can be
/// verified, whatever the verdict, and gives the preamble that lies in it.
pub fn bundle(data: &[u8]) {
    open(data);
    let mut input = Input::new(data);
    let (payload, manifest, signatures) = (input.part(), input.part().to_vec(), input.part());
    let chunks = input.part().to_vec();
    let frames = input.rest();
    let Some(manifest) = with_tables(&manifest, [&[], signatures, &chunks, frames]) else { return };
    let parts = [frames, &chunks, &manifest, signatures];
    let footer = Footer::lay_out(payload.len() as u64, parts).emit();
    open(&[&header()[..], payload, &parts.concat(), &footer].concat());
}

fn open(bytes: &[u8]) {
    let file = rustix::fs::memfd_create("bundle", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = File::from(file);
    file.write_all(bytes).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Ok(bundle) = BundleFile::open(&path) else { return };
    assert_eq!(bundle.file_bytes(), bytes.len() as u64);
    let (preamble, lengths) = bundle.preamble_bytes();
    assert_eq!(preamble.len() as u64, lengths.total());
    let around = (HEADER_BYTES + FOOTER_BYTES) as u64;
    assert_eq!(bundle.payload_bytes() + lengths.total() + around, bundle.file_bytes());
    let one = NonZeroUsize::MIN;
    let _ = bundle.verify_payload(one, |_| {});
    if bundle.preamble().manifest.image.bytes <= IMAGE_BYTES_MAX
        && let Ok(verified) = bundle.verify_all(one, |_| {})
    {
        assert_eq!(verified.image_bytes, bundle.preamble().manifest.image.bytes);
        assert_eq!(verified.payload_bytes, bundle.payload_bytes());
    }
}
