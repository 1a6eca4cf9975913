//! The socket between the process on the network and the helper.
//!
//! Not here: what is said. Invariant: the helper reads nothing from whom the kernel does not name
//! as one of the two users that may ask.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::store::Owner;

/// What goes with a descriptor: a message has at least one byte.
const MARK: [u8; 1] = [b'f'];

/// Binds the socket at `path` in the place of a former one. Only root and the group of `tenant` can
/// connect to it.
///
/// # Errors
/// When the directory is not there, or something else has the name.
pub fn bind(path: &Path, tenant: Owner) -> io::Result<UnixListener> {
    unlink_socket(path)?;
    let listener = UnixListener::bind(path)?;
    std::os::unix::fs::chown(path, None, Some(tenant.group))?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn unlink_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(facts) if facts.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "it is there and is no socket")),
    }
}

/// Whether the process behind `stream` is root's or the tenant's, as the kernel has it.
///
/// # Errors
/// The kernel's answer.
pub fn is_welcome(stream: &UnixStream, tenant: Owner) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok([0, tenant.user].contains(&peer.uid.as_raw()))
}

/// Sends a descriptor.
///
/// # Errors
/// When the other side has gone.
pub fn send_descriptor(to: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let is_pushed = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    assert!(is_pushed, "the buffer was made for one descriptor");
    sendmsg(to.as_fd(), &[IoSlice::new(&MARK)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one.
///
/// # Errors
/// When none comes.
pub fn receive_descriptor(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut mark = MARK;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(from.as_fd(), &mut [IoSliceMut::new(&mut mark)], &mut ancillary, flags)?;
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let none = || io::Error::new(ErrorKind::UnexpectedEof, "no descriptor came");
    descriptors.flatten().next().ok_or_else(none)
}
