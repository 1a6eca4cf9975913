//! An open file goes from one process to another, over a UNIX socket.
//!
//! Not here: who may ask for one. It comes as it was opened: who could not open it himself reads it
//! all the same, and who was given it for reading cannot write.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// What goes with a descriptor: a message has at least one byte.
const MARK: [u8; 1] = [b'f'];

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
