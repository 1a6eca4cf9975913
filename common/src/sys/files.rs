//! Files: loop devices, leases, early writeback.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::checked;

const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_bytes: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_bytes: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

/// Number of a loop device that was free a moment ago.
///
/// # Errors
/// The kernel's.
pub fn free_loop(control: &File) -> io::Result<u32> {
    // SAFETY: the request takes no argument and writes no memory of ours.
    let number = checked(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    u32::try_from(number).map_err(io::Error::other)
}

/// Attach `image` to `device` read-only; the kernel detaches it at the last close or unmount. With
/// `is_direct` the kernel reads past the image's own page cache where it can.
///
/// # Errors
/// The kernel's, `EBUSY` when the device has a file.
pub fn configure_loop(device: &File, image: &File, is_direct: bool) -> io::Result<()> {
    let raw: RawFd = image.as_raw_fd();
    let direct = if is_direct { LO_FLAGS_DIRECT_IO } else { 0 };
    let info = LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_bytes: 0,
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | direct,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let fd = u32::try_from(raw).map_err(io::Error::other)?;
    let config = LoopConfig { fd, block_bytes: 0, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one loop_config, whose layout is asserted above, and keeps no
    // pointer to it; both descriptors are open for the whole call.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })?;
    Ok(())
}

/// Detach the file behind `device`; where it is still in use, the kernel does it at the last close.
///
/// # Errors
/// The kernel's.
pub fn clear_loop(device: &File) -> io::Result<()> {
    // SAFETY: the request takes no argument and writes no memory of ours.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) })?;
    Ok(())
}

/// Whether nobody has `file`, which is open for reading only, open for writing or mapped writable.
/// The kernel grants a read lease only then.
///
/// # Errors
/// The kernel's other than that.
pub fn nobody_writes(file: &File) -> io::Result<bool> {
    let lease = |kind: libc::c_int| {
        // SAFETY: plain numbers and an open descriptor.
        checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) })
    };
    match lease(libc::F_RDLCK) {
        Ok(_) => lease(libc::F_UNLCK).map(|_| true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ask the kernel to start writing `bytes` at `offset` out; waits for nothing, promises nothing.
pub fn start_writeback(file: &File, offset: u64, bytes: u64) {
    let range = (i64::try_from(offset), i64::try_from(bytes));
    if let (Ok(offset), Ok(bytes)) = range {
        // SAFETY: plain numbers and an open descriptor. The answer is dropped because this is a
        // hint: some filesystems refuse it, and errors of the writeback are fsync's to report.
        let _ = unsafe {
            libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE)
        };
    }
}
