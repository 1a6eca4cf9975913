//! Where the sender's session stands, as a table of transitions (PROTOCOL 5.1).

use common::wire::SenderStage;

/// Where the session stands; ANNOUNCE says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Asks and listens whether somebody else already sends this app.
    Listening,
    /// Announces and takes hosts in.
    Joining,
    /// Sends the preamble.
    Preamble,
    /// Sends the payload once, repairs between.
    Pass,
    /// Repairs until no host takes symbols any more.
    Flush,
    /// Serves the stragglers together, by a group of their own.
    CatchUp,
    /// Serves those who are left one after another, by their own addresses.
    Unicast,
    /// Waits until every host has staged or failed.
    Settling,
    /// Repeats ACTIVATE until it is acknowledged.
    Activating,
    /// Waits for the verdicts of hosts that have the release on trial.
    Judging,
    /// Repeats STOP a few times.
    Closing,
    /// Over.
    Ended,
}

/// What moves the session from one phase to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nobody else sends this app.
    Clear,
    /// The join window is over, or everybody expected is here.
    Gathered,
    /// The preamble went out and was quiet, or waited for long enough.
    PreambleSent,
    /// The pass has sent its last window.
    PassSent,
    /// No host takes symbols but stragglers.
    FleetServed,
    /// The stragglers' group has had its time, or none of it takes symbols.
    GroupServed,
    /// No host takes symbols.
    Repaired,
    /// A late host takes symbols.
    LateHost,
    /// Enough hosts have staged, and policy is to switch together.
    Decided,
    /// Hosts have switched, and some have yet to say how the release does.
    Watched,
    /// Nothing more can change.
    Settled,
    /// STOP was said often enough.
    Closed,
    /// Nothing was begun that a host would have to be told of.
    Dropped,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 13] = [
        Self::Clear,
        Self::Gathered,
        Self::PreambleSent,
        Self::PassSent,
        Self::FleetServed,
        Self::GroupServed,
        Self::Repaired,
        Self::LateHost,
        Self::Decided,
        Self::Watched,
        Self::Settled,
        Self::Closed,
        Self::Dropped,
    ];
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 12] = [
        Self::Listening,
        Self::Joining,
        Self::Preamble,
        Self::Pass,
        Self::Flush,
        Self::CatchUp,
        Self::Unicast,
        Self::Settling,
        Self::Activating,
        Self::Judging,
        Self::Closing,
        Self::Ended,
    ];

    /// The phase after `step`; `None` where the step is no arrow of the diagram.
    pub const fn after(self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Listening, Step::Clear) => Some(Self::Joining),
            (Self::Joining, Step::Gathered) => Some(Self::Preamble),
            (Self::Preamble, Step::PreambleSent) => Some(Self::Pass),
            (Self::Pass, Step::PassSent) => Some(Self::Flush),
            (Self::Flush, Step::FleetServed) => Some(Self::CatchUp),
            (Self::CatchUp, Step::GroupServed) => Some(Self::Unicast),
            (Self::Flush | Self::CatchUp | Self::Unicast, Step::Repaired) => Some(Self::Settling),
            (Self::Settling, Step::LateHost) => Some(Self::Flush),
            (Self::Settling, Step::Decided) => Some(Self::Activating),
            (Self::Settling | Self::Activating, Step::Watched) => Some(Self::Judging),
            (Self::Joining, Step::Settled)
            | (Self::Preamble, Step::Settled)
            | (Self::Pass, Step::Settled)
            | (Self::Flush, Step::Settled)
            | (Self::CatchUp, Step::Settled)
            | (Self::Unicast, Step::Settled)
            | (Self::Settling, Step::Settled)
            | (Self::Activating, Step::Settled)
            | (Self::Judging, Step::Settled) => Some(Self::Closing),
            (Self::Closing, Step::Closed) => Some(Self::Ended),
            (Self::Listening | Self::Joining, Step::Dropped) => Some(Self::Ended),
            _ => None,
        }
    }

    /// The stage that the announce names; `None` when nothing is announced any more.
    pub const fn stage(self) -> Option<SenderStage> {
        match self {
            Self::Ended => None,
            Self::Listening => Some(SenderStage::Listening),
            Self::Joining => Some(SenderStage::Joining),
            Self::Preamble => Some(SenderStage::Preamble),
            Self::Pass => Some(SenderStage::Pass),
            Self::Flush => Some(SenderStage::Flush),
            Self::CatchUp | Self::Unicast => Some(SenderStage::CatchUp),
            Self::Settling => Some(SenderStage::Settling),
            Self::Activating => Some(SenderStage::Activating),
            Self::Judging => Some(SenderStage::Judging),
            Self::Closing => Some(SenderStage::Closing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagram_in_the_protocol_is_the_table_in_the_code() {
        let text = include_str!("../../../docs/PROTOCOL.md");
        let mut arrows: Vec<String> = Phase::ALL
            .into_iter()
            .flat_map(|phase| Step::ALL.into_iter().map(move |step| (phase, step)))
            .filter_map(|(phase, step)| {
                Some(format!("    {phase:?} --{step:?}--> {:?}", phase.after(step)?))
            })
            .collect();
        arrows.sort();
        let mut written: Vec<String> = text
            .lines()
            .skip_while(|line| !line.starts_with("<!-- sender phases"))
            .skip(1)
            .take_while(|line| !line.starts_with("-->"))
            .map(|line| line.trim_end().to_owned())
            .collect();
        written.sort();
        assert_eq!(written, arrows, "docs/PROTOCOL.md 5.1 should read:\n{}", arrows.join("\n"));
    }
}
