//! One datagram, through every door that one can come through.

use common::id::SessionId;
use common::limits::TAG_BYTES_MAX;
use common::wire::{
    Announce, CHECKSUM_BYTES, CONTROL_BYTES_MAX, CommonHeader, Kind, Message, SymbolHeader,
    close_plain, open_plain, peek_kind, peek_session,
};

/// What is accepted can be written, is read again as the same, and then stays as it is, byte for
/// byte; the checksum finds what was changed.
pub fn datagram(data: &[u8]) {
    let (kind, session) = (peek_kind(data), peek_session(data));
    let _ = Announce::parse_versions(data);
    let _ = Message::open_plain(data);
    if let Ok((header, symbol)) = SymbolHeader::parse(data) {
        assert_eq!(session, Some(header.session));
        let kind = kind.filter(|kind| kind.is_symbol()).expect("only a symbol is read as one");
        let mut head = [0; SymbolHeader::WIRE_BYTES];
        header.emit(kind, &mut head);
        assert_eq!((&head[..], symbol), data.split_at(head.len()), "every bit has its field");
    }
    if let Ok((header, message)) = Message::parse(data) {
        assert_eq!((kind, session), (Some(header.kind), Some(header.session)));
        assert!(!message.kind().is_symbol() && message.kind() == header.kind);
        let emit = |message: &Message| {
            let mut out = Vec::new();
            message.emit(header.session, header.seq, header.key_epoch, &mut out);
            out
        };
        let first = emit(&message);
        let (again, reread) = Message::parse(&first).expect("what was accepted can be said");
        assert_eq!(reread, message);
        assert_eq!((again.session, again.seq), (header.session, header.seq));
        assert_eq!(emit(&reread), first);
        through_the_checksum(&first);
    }
}

fn through_the_checksum(inner: &[u8]) {
    let mut closed = inner.to_vec();
    closed.resize(inner.len() + CHECKSUM_BYTES, 0);
    close_plain(&mut closed);
    assert_eq!(open_plain(&closed), Ok(inner));
    // Which bit is changed follows from the bytes: each input tries another.
    let sum = inner
        .iter()
        .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let bit = sum % (closed.len() * 8);
    closed[bit / 8] ^= 1 << (bit % 8);
    assert!(open_plain(&closed).is_err(), "bit {bit}");
}

/// The whole datagram of a message, as its receiver would have it without the trailer; it fits,
/// and is understood.
pub(super) fn assert_speakable(message: &Message) {
    let mut out = Vec::new();
    message.emit(SessionId(1), 0, 0, &mut out);
    let bytes = out.len() + TAG_BYTES_MAX;
    assert!(bytes <= CONTROL_BYTES_MAX, "{} of {bytes} bytes", message.kind());
    let (header, read) = Message::parse(&out).expect("what a session says can be read");
    assert_eq!(header.kind, message.kind());
    // Times and texts may be cut on the way, once.
    let mut again = Vec::new();
    read.emit(SessionId(1), 0, 0, &mut again);
    assert_eq!(again, out);
}

/// The bytes of a datagram of this kind and session, without a trailer.
pub(super) fn shaped(kind: Kind, session: SessionId, seq: u32, body: &[&[u8]]) -> Vec<u8> {
    let header = CommonHeader { kind, session, seq, key_epoch: 0, flags: 0 };
    let mut out = Vec::new();
    header.emit(&mut out);
    body.iter().for_each(|part| out.extend_from_slice(part));
    out
}
