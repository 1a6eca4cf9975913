//! docs/PROTOCOL.md against the code: its numbers are the enums', its byte tables add up.

use super::*;
use crate::id::ImageKind;

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

/// The rows of the table behind `<!-- marker -->`, cell by cell, without its two heading lines.
fn rows(marker: &str) -> Vec<Vec<&'static str>> {
    let marker = format!("<!-- {marker} -->");
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    let table = DOCUMENT.lines().skip_while(|line| *line != marker).skip(1);
    let rows: Vec<_> = table.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "docs/PROTOCOL.md has no table behind {marker}");
    rows
}

fn assert_numbers(marker: &str, numbers: impl Iterator<Item = (u16, &'static str)>) {
    let written: Vec<_> =
        rows(marker).into_iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    assert_eq!(written, numbers.collect::<Vec<_>>(), "docs/PROTOCOL.md, {marker}");
}

#[test]
fn the_numbers_in_the_protocol_are_the_numbers_in_the_code() {
    macro_rules! assert_enum {
        ($marker:literal, $name:ident) => {
            assert_numbers($marker, $name::ALL.iter().map(|it| (*it as u16, it.as_str())));
        };
    }
    assert_enum!("numbers: messages", Kind);
    assert_enum!("numbers: image kinds", ImageKind);
    assert_enum!("numbers: activations", Activation);
    assert_enum!("numbers: stages", SenderStage);
    assert_enum!("numbers: verdicts", JoinVerdict);
    assert_enum!("numbers: phases", HostPhase);
    assert_enum!("numbers: reasons", SolicitReason);
    assert_enum!("numbers: outcomes", Outcome);
    assert_enum!("numbers: faults", Fault);
    assert_enum!("numbers: trial verdicts", TrialVerdict);
}

/// Bytes of a field of this type, none where they vary.
fn field_bytes(kind: &str) -> Option<usize> {
    match kind {
        "u8" | "bool" => Some(1),
        "u16" => Some(2),
        "u32" | "time" => Some(4),
        "u64" | "clock" => Some(8),
        "16 bytes" => Some(16),
        "digest" => Some(32),
        "name" | "T bytes" | "4 or 16 bytes" => None,
        _ if kind.starts_with("text ≤ ") || kind.starts_with("list ≤ ") => None,
        _ => panic!("docs/PROTOCOL.md names no type {kind:?} in rule 2.2"),
    }
}

/// Length of the fixed part of a table that begins at `start`.
fn fixed_bytes(marker: &str, start: usize) -> usize {
    let mut next = Some(start);
    let mut end = start;
    for row in rows(marker) {
        let written = row[0].parse::<usize>().ok();
        assert_eq!(written, next, "docs/PROTOCOL.md, {marker}: offset of {}", row[2]);
        end = next.unwrap_or(end);
        next = next.zip(field_bytes(row[1])).map(|(offset, bytes)| offset + bytes);
        end = next.unwrap_or(end);
    }
    end
}

#[test]
fn the_byte_tables_in_the_protocol_add_up_to_what_the_code_reads() {
    assert_eq!(fixed_bytes("layout: common header", 0), COMMON_HEADER_BYTES);
    assert_eq!(fixed_bytes("layout: SOURCE", 16), SymbolHeader::WIRE_BYTES);
    for message in tests::messages() {
        let table = match message.kind() {
            Kind::Cancel | Kind::Stop => continue, // One layout for the three orders, 4.13.
            kind => format!("layout: {kind}"),
        };
        let fixed = fixed_bytes(&table, COMMON_HEADER_BYTES);
        let mut datagram = Vec::new();
        message.emit(SessionId(1), 0, 0, &mut datagram);
        assert!(fixed <= datagram.len(), "{table}");
        let has_variable_part = rows(&table).iter().any(|row| field_bytes(row[1]).is_none());
        assert_eq!(fixed == datagram.len(), !has_variable_part, "{table}");
    }
}
