//! Counts in words, wherever a person reads one.

use std::fmt::Display;

/// `1 host`, `8 hosts`, `0 entries`: `count` with `noun`, which is given in the singular and has a
/// regular plural.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) {
        return format!("{count} {noun}");
    }
    match (noun.strip_suffix('y'), noun.ends_with('s')) {
        (Some(stem), _) => format!("{count} {stem}ies"),
        (None, true) => format!("{count} {noun}es"),
        (None, false) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_one() {
        assert_eq!(counted(1_usize, "host"), "1 host");
        assert_eq!(counted(0_u64, "host"), "0 hosts");
        assert_eq!(counted(2_u32, "repair symbol"), "2 repair symbols");
        assert_eq!([counted(1_u64, "entry"), counted(3_u64, "entry")], ["1 entry", "3 entries"]);
        assert_eq!(counted(4_u64, "process"), "4 processes");
    }
}
