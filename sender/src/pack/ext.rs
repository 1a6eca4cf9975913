//! ext2 and ext4 images, made by `mke2fs -d` without root and without mounting.
//!
//! mke2fs 1.47.0 copies owners, change and access times of the source and stamps its own clock into
//! the superblock; `patch` sets all of them, in the inode tables directly. (A `debugfs` script
//! would do the same by name, and needs quoting for names that its parser does not survive.)
//!
//! Invariant: the image depends on the tree alone. mke2fs reads directories sorted by name.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use common::id::ImageKind;

use super::cancel::Cancel;
use super::error::PackError;
use super::ext_patch::{BLOCK_BYTES, INODE_BYTES, Owner, patch};
use super::scan::{EntryKind, Tree};
use super::tool::{IMAGE_PATH, Said, Tool};

/// Fixed, so that the image does not depend on chance; also the seed of directory hashes.
const UUID: &str = "66616e66-6172-4565-8274-32696d616765";
/// Inodes that no entry of the tree takes: the reserved ones and `lost+found`.
const INODES_RESERVED: u64 = 12;
/// Blocks of a group, and the most inodes that it holds: one bitmap block has a bit for each.
const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES;
/// Block numbers in one indirect block.
const POINTERS: u64 = BLOCK_BYTES / 4;
/// Longest symbolic link that fits into the inode.
const FAST_SYMLINK_BYTES: usize = 59;
/// How often a filesystem that turned out too small is made larger.
const ATTEMPTS_MAX: u32 = 5;

/// Makes the image of `directory`, which holds exactly what `tree` lists, in `image`.
///
/// # Errors
/// When mke2fs or debugfs (both of e2fsprogs) is missing or fails, or the operator interrupts.
pub fn build(
    kind: ImageKind,
    tree: &Tree,
    directory: &Path,
    owner: Owner,
    image: &File,
    cancel: &Cancel,
) -> Result<(), PackError> {
    populate(kind, Size::estimate(tree), directory, image, cancel)?;
    remove_lost_and_found(kind, image, cancel)?;
    let root = &tree.entries[0].facts;
    patch(image, root, owner).map_err(|reason| mke2fs(kind).failed(Said(reason)))
}

fn mke2fs(kind: ImageKind) -> Tool {
    Tool { name: "mke2fs", package: "e2fsprogs", kind }
}

/// Makes the filesystem, larger if `size` turns out too small.
fn populate(
    kind: ImageKind,
    size: Size,
    directory: &Path,
    image: &File,
    cancel: &Cancel,
) -> Result<(), PackError> {
    let tool = mke2fs(kind);
    let mut size = size;
    for attempt in 1.. {
        image.set_len(0).map_err(PackError::Machine)?;
        let mut command = tool.command(image)?;
        arguments(&mut command, kind, &size, directory);
        match tool.run(&mut command, cancel)? {
            Ok(()) => break,
            Err(said) if is_too_small(&said) && attempt < ATTEMPTS_MAX => size.grow(),
            Err(said) => return Err(tool.failed(said)),
        }
    }
    Ok(())
}

fn arguments(command: &mut Command, kind: ImageKind, size: &Size, directory: &Path) {
    let features = match kind {
        ImageKind::Ext4 => "none,filetype,sparse_super,large_file,extent,extra_isize,dir_nlink",
        _ => "none,filetype,sparse_super,large_file",
    };
    let extended =
        format!("hash_seed={UUID},root_owner=0:0,lazy_itable_init=0,no_copy_xattrs,nodiscard");
    command
        // No configuration of this machine, and a clock that stands still.
        .env("MKE2FS_CONFIG", "/dev/null")
        .env("E2FSPROGS_FAKE_TIME", "1")
        .args(["-q", "-F", "-t", kind.as_str(), "-b", "4096", "-m", "0", "-U", UUID])
        .args(["-I", &INODE_BYTES.to_string(), "-N", &size.inodes.to_string()])
        .args(["-O", features, "-E", &extended, "-d"])
        .arg(directory)
        .args([IMAGE_PATH, &size.blocks.to_string()]);
}

fn is_too_small(said: &Said) -> bool {
    // What the filesystem lacks, not the disk that the image lies on.
    said.0.contains("Could not allocate") || said.0.contains("No free space in the directory")
}

/// The mounted release shows the tree and nothing else; a filesystem that is never written to and
/// never repaired in place has no use for it.
fn remove_lost_and_found(kind: ImageKind, image: &File, cancel: &Cancel) -> Result<(), PackError> {
    let debugfs = Tool { name: "debugfs", package: "e2fsprogs", kind };
    let mut command = debugfs.command(image)?;
    command.env("E2FSPROGS_FAKE_TIME", "1").args(["-w", "-R", "rmdir lost+found", IMAGE_PATH]);
    debugfs.run(&mut command, cancel)?.map_err(|said| debugfs.failed(said))
}

/// How large the filesystem has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    inodes: u64,
    blocks: u64,
}

impl Size {
    /// An upper bound for a tree without surprises; free blocks are gaps and cost nothing.
    fn estimate(tree: &Tree) -> Self {
        let mut inodes = INODES_RESERVED;
        let mut data_blocks = 0;
        for entry in tree.inodes() {
            inodes += 1;
            data_blocks += match &entry.kind {
                EntryKind::File => file_blocks(entry.facts.bytes),
                EntryKind::Symlink(target) => {
                    u64::from(target.as_os_str().len() > FAST_SYMLINK_BYTES)
                }
                EntryKind::Directory => 1,
            };
        }
        // A name takes 8 bytes and itself, rounded to 4; blocks are left at worst half empty.
        let name_bytes: u64 = tree
            .entries
            .iter()
            .filter_map(|entry| entry.path.file_name())
            .map(|name| 12 + name.len() as u64)
            .sum();
        data_blocks += 2 * name_bytes / BLOCK_BYTES;
        Self { inodes, blocks: data_blocks }.with_overhead()
    }

    fn with_overhead(self) -> Self {
        let table_blocks = (self.inodes * INODE_BYTES).div_ceil(BLOCK_BYTES);
        let used = self.blocks + table_blocks + self.blocks / 64 + 256;
        // mke2fs refuses more inodes than blocks.
        let used = used.max(self.inodes + self.inodes / 8);
        let groups = used.div_ceil(GROUP_BLOCKS);
        // Bitmaps, the copy of superblock and descriptors, and the rounding of inode tables.
        let group_blocks = 4 + 1 + (groups * 32).div_ceil(BLOCK_BYTES);
        Self { inodes: self.inodes, blocks: used + groups * group_blocks }
    }

    fn grow(&mut self) {
        self.blocks += self.blocks / 4;
    }
}

fn file_blocks(bytes: u64) -> u64 {
    let data = bytes.div_ceil(BLOCK_BYTES);
    let indirect = data.saturating_sub(12).div_ceil(POINTERS);
    data + indirect + indirect.saturating_sub(1).div_ceil(POINTERS) + u64::from(indirect > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_file_count_its_indirect_blocks() {
        assert_eq!(file_blocks(0), 0);
        assert_eq!(file_blocks(1), 1);
        assert_eq!(file_blocks(12 * 4096), 12);
        assert_eq!(file_blocks(12 * 4096 + 1), 14, "one indirect block");
        assert_eq!(file_blocks((12 + 1024) * 4096), 1037);
        assert!(file_blocks((12 + 1024 + 1) * 4096) >= 1037 + 3, "and a doubly indirect one");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "makes a real tree")]
    fn a_filesystem_that_turns_out_too_small_is_made_larger() {
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("file"), vec![1; 1 << 20]).unwrap();
        let image = tempfile::tempfile().unwrap();
        let size = Size { inodes: 16, blocks: 200 };
        let made = populate(ImageKind::Ext2, size, source.path(), &image, &Cancel::default());
        match made {
            Err(PackError::ToolMissing { .. }) => {
                assert!(std::env::var_os("CI").is_none(), "mke2fs is needed in CI");
                eprintln!("SKIPPED: needs mke2fs");
            }
            made => {
                made.unwrap();
                assert!(image.metadata().unwrap().len() > 256 * BLOCK_BYTES);
            }
        }
    }
}
