//! Sets what mke2fs copies from the source or from the clock: owners and times, in the inode tables
//! and superblocks of a fresh ext2 or ext4 image.
//!
//! Not here: anything about files that exist elsewhere; the image is one that [`ext`](super::ext)
//! made a moment ago, without checksums and with 32-byte group descriptors.
//!
//! Invariant: afterwards every inode has ctime, crtime = mtime and no access time.
//! Field offsets are those of the Linux kernel's `Documentation/filesystems/ext4`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::scan::Facts;

/// Block size of the images that we make.
pub const BLOCK_BYTES: u64 = 4096;
/// Inode size: larger than 128, so that times beyond 2038 fit and the kernel does not warn.
pub const INODE_BYTES: u64 = 256;

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const SUPERBLOCK_MAGIC: u16 = 0xef53;
const DESCRIPTOR_BYTES: u64 = 32;
const INODES_PER_BLOCK: u64 = BLOCK_BYTES / INODE_BYTES;
const ROOT_INODE: u64 = 2;
/// The first inode that is not reserved, which was `lost+found`.
const LOST_AND_FOUND_INODE: u64 = 11;

/// Superblock: times of last mount, last write, last check and creation.
const SUPERBLOCK_TIMES: [usize; 4] = [0x2c, 0x30, 0x40, 0x108];
const INODE_MODE: usize = 0x00;
const INODE_UID: usize = 0x02;
const INODE_ATIME: usize = 0x08;
const INODE_CTIME: usize = 0x0c;
const INODE_MTIME: usize = 0x10;
const INODE_GID: usize = 0x18;
const INODE_LINKS: usize = 0x1a;
const INODE_UID_HIGH: usize = 0x78;
const INODE_GID_HIGH: usize = 0x7a;
const INODE_CTIME_EXTRA: usize = 0x84;
const INODE_MTIME_EXTRA: usize = 0x88;
const INODE_ATIME_EXTRA: usize = 0x8c;
const INODE_CRTIME: usize = 0x90;
const INODE_CRTIME_EXTRA: usize = 0x94;

/// Who owns what is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everything belongs to 0:0.
    Root,
    /// As in the source.
    Keep,
}

/// Patches `image`; `root` are the facts of the source directory, which its root inode takes.
///
/// # Errors
/// Says what was not as expected of a fresh image, or why it could not be read or written.
pub fn patch(image: &File, root: &Facts, owner: Owner) -> Result<(), String> {
    let layout = Layout::read(image)?;
    for group in 0..layout.groups {
        patch_group(image, &layout, group, root, owner).map_err(|error| error.to_string())?;
        patch_superblock(image, &layout, group).map_err(|error| error.to_string())?;
    }
    Ok(())
}

struct Layout {
    groups: u64,
    blocks_per_group: u64,
    inodes_per_group: u64,
}

impl Layout {
    fn read(image: &File) -> Result<Self, String> {
        let mut superblock = [0; SUPERBLOCK_BYTES];
        image
            .read_exact_at(&mut superblock, SUPERBLOCK_AT)
            .map_err(|error| format!("cannot read its superblock: {error}"))?;
        let number = |at| u64::from(u32_at(&superblock, at));
        let layout = Self {
            groups: number(0x04).div_ceil(number(0x20).max(1)),
            blocks_per_group: number(0x20),
            inodes_per_group: number(0x28),
        };
        let is_ours = u16_at(&superblock, 0x38) == SUPERBLOCK_MAGIC
            && 1024_u64 << number(0x18).min(6) == BLOCK_BYTES
            && u64::from(u16_at(&superblock, 0x58)) == INODE_BYTES
            && layout.inodes_per_group.is_multiple_of(INODES_PER_BLOCK);
        if is_ours { Ok(layout) } else { Err("it made a filesystem of unexpected shape".into()) }
    }
}

fn patch_group(
    image: &File,
    layout: &Layout,
    group: u64,
    root: &Facts,
    owner: Owner,
) -> io::Result<()> {
    let mut descriptor = [0; DESCRIPTOR_BYTES as usize];
    image.read_exact_at(&mut descriptor, BLOCK_BYTES + group * DESCRIPTOR_BYTES)?;
    let table_at = u64::from(u32_at(&descriptor, 8)) * BLOCK_BYTES;
    let mut block = [0; BLOCK_BYTES as usize];
    for index in 0..layout.inodes_per_group / INODES_PER_BLOCK {
        let at = table_at + index * BLOCK_BYTES;
        image.read_exact_at(&mut block, at)?;
        // Unused blocks stay holes.
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let first = group * layout.inodes_per_group + index * INODES_PER_BLOCK + 1;
        for (number, inode) in (first..).zip(block.chunks_exact_mut(INODE_BYTES as usize)) {
            patch_inode(number, inode, root, owner);
        }
        image.write_all_at(&block, at)?;
    }
    Ok(())
}

fn patch_inode(number: u64, inode: &mut [u8], root: &Facts, owner: Owner) {
    if number == LOST_AND_FOUND_INODE && u16_at(inode, INODE_LINKS) == 0 {
        inode.fill(0);
        return;
    }
    if number == ROOT_INODE {
        put_u16(inode, INODE_MODE, 0o040_000 | (root.mode & 0o7777));
        put_u32(inode, INODE_MTIME, root.mtime);
        put_owner(inode, root.uid, root.gid);
    } else if number < LOST_AND_FOUND_INODE {
        // Reserved inodes carry only the clock of mke2fs.
        put_u32(inode, INODE_MTIME, 0);
    }
    if owner == Owner::Root {
        put_owner(inode, 0, 0);
    }
    let mtime = i64::from(u32_at(inode, INODE_MTIME));
    put_u32(inode, INODE_ATIME, 0);
    put_u32(inode, INODE_CTIME, mtime);
    let has_crtime = u16_at(inode, 0x80) >= 28;
    if has_crtime {
        put_u32(inode, INODE_CRTIME, mtime);
        let extra = i64::from(u32_at(inode, INODE_MTIME_EXTRA));
        put_u32(inode, INODE_CTIME_EXTRA, extra);
        put_u32(inode, INODE_CRTIME_EXTRA, extra);
        put_u32(inode, INODE_ATIME_EXTRA, 0);
    }
}

fn patch_superblock(image: &File, layout: &Layout, group: u64) -> io::Result<()> {
    let at = if group == 0 { SUPERBLOCK_AT } else { group * layout.blocks_per_group * BLOCK_BYTES };
    let mut superblock = [0; SUPERBLOCK_BYTES];
    image.read_exact_at(&mut superblock, at)?;
    let is_copy = has_superblock(group) && u16_at(&superblock, 0x38) == SUPERBLOCK_MAGIC;
    if !is_copy {
        return Ok(());
    }
    for field in SUPERBLOCK_TIMES {
        put_u32(&mut superblock, field, 0);
    }
    image.write_all_at(&superblock, at)
}

/// With `sparse_super` groups 0, 1 and the powers of 3, 5 and 7 have a copy; elsewhere these bytes
/// belong to files.
fn has_superblock(group: u64) -> bool {
    let is_power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || [3, 5, 7].into_iter().any(is_power_of)
}

fn put_owner(inode: &mut [u8], uid: u32, gid: u32) {
    put_u16(inode, INODE_UID, uid & 0xffff);
    put_u16(inode, INODE_UID_HIGH, uid >> 16);
    put_u16(inode, INODE_GID, gid & 0xffff);
    put_u16(inode, INODE_GID_HIGH, gid >> 16);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// The low 16 bits of `value`.
fn put_u16(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
}

/// The low 32 bits of `value`, as the filesystem keeps seconds.
fn put_u32(bytes: &mut [u8], at: usize, value: i64) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblock_copies_lie_in_groups_of_powers_of_three_five_and_seven() {
        let with_copy: Vec<_> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(with_copy, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }
}
