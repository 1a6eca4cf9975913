//! The receiver library.
