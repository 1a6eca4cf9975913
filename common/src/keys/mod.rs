//! Keys: who may say what, and how their files look.
//!
//! Not here: what a host believes whom (`receiver::store`), and how packets are sealed
//! ([`wire`](crate::wire)).
//!
//! Four keys make a site. The *release key* signs manifests and may live on a machine without a
//! network; the *operator key* signs what a sender orders. Both are minisign key pairs. The *group
//! key*, which all hosts hold, and the *master key*, which only the sender holds, are 32 bytes
//! each; of the master key every host has one key of its own, the *host key*.
//!
//! Invariant: a secret is wiped from memory when it is dropped, is never printed, and is read from
//! no file that others may read. Everything here is pure but [`mod@file`].

mod error;
pub mod file;
mod id;
mod public;
mod secret;
mod signature;
mod symmetric;
mod text;

pub use error::{KeyError, KeyFault, read_remedy};
pub use id::{KeyId, KeyIdTextError};
pub use public::{Keyring, PublicKey, RawSignature, SIGNATURE_BYTES, Untrusted};
pub use secret::{Protection, SecretKey, SecretKeyFile};
pub use signature::{Signature, Signatures, SignaturesError};
pub use symmetric::{KEY_BYTES, Role, SymmetricKey};
