//! Trains that come to a host where somebody forges: its driver looks at the bytes.

use common::drops::DropReason;
use common::geometry::Geometry;
use receiver::session::{Verdict, Via};

use super::{Host, Mask, Scratch, Train};

impl Host {
    /// What arrives of a train, false symbols among it.
    pub(super) fn sift_train(
        &mut self,
        geometry: &Geometry,
        train: &Train,
        via: Via,
        (arrived, twice): (Mask, Mask),
        scratch: &mut Scratch,
    ) {
        let (Some(session), Some(sifting)) = (&mut self.session, &mut self.sifting) else { return };
        scratch.selection.take(train, arrived, twice);
        let headers = &mut scratch.selection.headers;
        headers.retain(|header| !(train.is_forged && sifting.refuses(header)));
        if headers.is_empty() || session.id() != train.session {
            return;
        }
        self.deliveries += headers.len() as u64;
        scratch.verdicts.clear();
        session.handle_symbols(self.clock, via, headers, &mut scratch.verdicts);
        let (mut has_conflict, mut complete) = (false, Vec::new());
        for (verdict, header) in scratch.verdicts.iter().zip(headers) {
            match *verdict {
                Verdict::Drop(reason) => {
                    let is_there = reason == DropReason::Duplicate;
                    has_conflict |= is_there && sifting.has_another(header, train.is_forged);
                }
                Verdict::Keep { block, symbol } => sifting.keep(block, symbol, train.is_forged),
                Verdict::KeepInsteadOf { block, symbol, evicted } => {
                    sifting.discard(evicted);
                    sifting.keep(block, symbol, train.is_forged);
                }
                Verdict::KeepAndDecode { block, symbol, evicted } => {
                    evicted.into_iter().for_each(|evicted| sifting.discard(evicted));
                    sifting.keep(block, symbol, train.is_forged);
                    complete.push(block);
                }
            }
        }
        if has_conflict {
            session.handle_conflict(self.clock);
        }
        complete.into_iter().for_each(|block| self.hand_on(geometry, block));
        self.drain();
    }
}
