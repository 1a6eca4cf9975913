//! What can be wrong on a host, as a number that the sender can count and a line for people.
//!
//! Two bytes on the wire. A number from a newer host is read as [`Fault::Internal`]: its report
//! still counts, and its words say what this program has no name for (PROTOCOL 4.15).

use std::fmt;

use super::WireError;
use super::cursor::{Field, Reader, Writer};

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $value:literal $name:literal $text:literal,)+) => {
        /// A host's fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(u16)]
        pub enum Fault {
            /// Nothing is wrong.
            #[default]
            None = 0,
            $($(#[$doc])* $variant = $value,)+
        }

        impl Fault {
            /// Every fault, in wire order, [`Fault::None`] first.
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$variant),+];

            /// The fault with this number; [`Fault::Internal`] where it is unknown.
            pub const fn from_wire(number: u16) -> Self {
                match number {
                    0 => Self::None,
                    $($value => Self::$variant,)+
                    _ => Self::Internal,
                }
            }

            /// Name in JSON and in the documentation.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, in words for the operator.
            pub const fn text(self) -> &'static str {
                match self {
                    Self::None => "nothing is wrong",
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

faults! {
    /// Not enough space for the image.
    DiskFull = 1 "disk-full" "the host's disk is full",
    /// The store cannot be written to.
    DiskReadOnly = 2 "disk-read-only" "the host's store is read-only",
    /// A write, a read or an fsync failed.
    DiskFailed = 3 "disk-failed" "the host's disk failed",
    /// A digest is not what the manifest says.
    VerifyFailed = 4 "verify-failed" "the image does not match its digest",
    /// The host cannot put images of this kind in place.
    KindUnsupported = 5 "kind-unsupported" "the host cannot use images of this kind",
    /// The verified image could not be mounted.
    MountFailed = 6 "mount-failed" "the image could not be mounted",
    /// The archive holds an entry that is not unpacked, or exceeds its limits.
    UnpackRefused = 7 "unpack-refused" "the archive was refused while unpacking",
    /// Two machines joined under one name.
    NameCollision = 8 "name-collision" "another machine joined under the same name",
    /// The host has accepted a newer release of this app.
    SequenceOld = 9 "sequence-old" "the host has accepted a newer release already",
    /// The session is not sealed and the host was not told to accept that.
    InsecureRefused = 10 "insecure-refused" "the host refuses sessions without keys",
    /// Announces arrive, symbols do not.
    NoData = 11 "no-data" "the host hears announces but no data: MTU or IGMP",
    /// The memory budget is too small for this session.
    MemoryShort = 12 "memory-short" "the host has too little memory for this session",
    /// `current` could not be switched.
    SwitchFailed = 13 "switch-failed" "the host could not switch to the release",
    /// The host was told to stop.
    Stopped = 14 "stopped" "the host was stopped",
    /// A defect of the host's program, or a fault that this version has no name for.
    Internal = 15 "internal" "the host failed for a reason of its own",
    /// It fell behind the fleet and did not finish in the time that stragglers have.
    TooSlow = 16 "too-slow" "the host could not keep up, not even when it was served alone",
    /// A command of the host's administrator refused the switch.
    HookFailed = 17 "hook-failed" "a hook of the host refused the release",
    /// The release was current and did not do well.
    Unhealthy = 18 "unhealthy" "the release did not do well on the host",
    /// The host found the release bad before, and was not told to take it nevertheless.
    MarkedBad = 19 "marked-bad" "the host found this release bad before",
    /// The host's administrator went back from this release or a newer one.
    Held = 20 "held" "the host is held where its administrator went back to",
    /// Nobody has signed the release.
    Unsigned = 21 "unsigned" "the release is not signed",
    /// No key that the host trusts has signed the release.
    KeyUnknown = 22 "key-unknown" "no key that the host trusts has signed the release",
    /// The host's administrator revoked the key that signed the release.
    KeyRevoked = 23 "key-revoked" "the key that signed the release is revoked on the host",
    /// The key that signed the release has expired.
    KeyExpired = 24 "key-expired" "the key that signed the release has expired on the host",
    /// A signature that is said to be by a trusted key is not.
    SignatureWrong = 25 "signature-wrong" "the signature of the release is wrong",
    /// The manifest is another app's than was announced.
    OtherApp = 26 "other-app" "the release is of another app than was announced",
    /// The host has accepted a release of a newer epoch.
    EpochOld = 27 "epoch-old" "the host has accepted a release of a newer epoch already",
    /// The release has expired.
    Expired = 28 "expired" "the release has expired",
    /// The release was made in the future of the host's clock.
    FromFuture = 29 "from-future" "the release is from the future: one of the clocks is wrong",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl Field for Fault {
    const BYTES: usize = 2;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.read().map(Self::from_wire)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(*self as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_their_number_and_have_names_and_words_of_their_own() {
        for (index, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, index, "numbers are dense and in order");
            assert_eq!(Fault::from_wire(index as u16), *fault);
            let others = Fault::ALL.iter().filter(|other| *other != fault);
            assert!(others.clone().all(|other| other.as_str() != fault.as_str()));
            assert!(others.clone().all(|other| other.text() != fault.text()));
        }
        assert_eq!(Fault::from_wire(0x1234), Fault::Internal);
        assert_eq!(Fault::from_wire(u16::MAX), Fault::Internal);
    }
}
