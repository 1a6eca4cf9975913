//! The harness of the whole-system tests: what they stage things with and how they judge the end.
//!
//! * [`sim`]: a sender and many hosts in virtual time, from one seed;
//! * [`lab`]: hosts, a sender and a snooping bridge in network namespaces, with faults (root);
//! * [`loopback`]: the libraries on real sockets in one process;
//! * [`process`], [`memory`]: the real binaries as children, with logs, deadlines and certain ends;
//! * [`product`], [`outcome`]: the command lines of DESIGN's chapter 8 and what they answer;
//! * [`fixture`], [`tree`]: directories to pack, and the comparison of two of them;
//! * [`lossy`]: a network that loses datagrams, for real sockets without root;
//! * [`keyring`]: the keys of a site;
//! * [`fuzz`]: every way that bytes of strangers come in, as a function of bytes;
//! * [`watch`], [`hostile`], [`attack`]: a reader of `current` in a tight loop, a peer that sends
//!   rubbish, and people who know what they do.
//!
//! Nothing here is linked into the product. A harness function panics with a sentence when the
//! *machine* lets it down, and returns a value when the *product* does.

pub mod attack;
pub mod fixture;
pub mod fuzz;
pub mod hostile;
pub mod keyring;
pub mod lab;
pub mod loopback;
pub mod lossy;
pub mod memory;
pub mod outcome;
pub mod process;
pub mod product;
pub mod sim;
pub mod tree;
pub mod watch;
