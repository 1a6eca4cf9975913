//! The target `datagram` alone: libFuzzer looks at the counters of everything that is linked after
//! each input, and a datagram costs less than that.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::datagram(data));
