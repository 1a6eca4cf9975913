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

/// `7 of 8 hosts active`; where there are more than were expected, `3 hosts active (1 expected)`.
pub fn counted_of(count: usize, expected: usize, noun: &str, word: &str) -> String {
    match count > expected {
        true => format!("{} {word} ({expected} expected)", counted(count, noun)),
        false => format!("{count} of {} {word}", counted(expected, noun)),
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

    #[test]
    fn more_than_were_expected_are_no_part_of_them() {
        let line = |count, expected| counted_of(count, expected, "host", "staged");
        assert_eq!(line(7, 8), "7 of 8 hosts staged");
        assert_eq!(line(1, 1), "1 of 1 host staged");
        assert_eq!(line(3, 1), "3 hosts staged (1 expected)");
    }
}
