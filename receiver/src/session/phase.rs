//! Where a host's session stands, as a table of transitions (PROTOCOL 5.2).

use common::wire::HostPhase;

/// What moves a session from one phase to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The first symbol that is of use has arrived.
    FirstSymbol,
    /// Every block is decoded and handed on.
    LastBlock,
    /// The image that was held turned out wrong.
    ImageSpoiled,
    /// The image is verified as a whole and durable under its final name.
    ImageDurable,
    /// The release is mounted or unpacked under its final name.
    Staged,
    /// Policy or ACTIVATE asks for the switch.
    Switch,
    /// `current` points at the release.
    Switched,
    /// It did not do well where it was current.
    Condemned,
    /// The release will not be had in this session.
    GaveUp,
}

impl Step {
    /// Every step, in the order of the phases they lead to.
    pub const ALL: [Self; 9] = [
        Self::FirstSymbol,
        Self::LastBlock,
        Self::ImageSpoiled,
        Self::ImageDurable,
        Self::Staged,
        Self::Switch,
        Self::Switched,
        Self::Condemned,
        Self::GaveUp,
    ];
}

/// The phase after `step`; `None` where the step is no arrow of the diagram.
pub const fn after(phase: HostPhase, step: Step) -> Option<HostPhase> {
    use HostPhase::{Activating, Active, Failed, Joined, Receiving, Staged, Staging, Verifying};
    match (phase, step) {
        (Joined, Step::FirstSymbol) => Some(Receiving),
        (Joined | Receiving, Step::LastBlock) => Some(Verifying),
        (Verifying, Step::ImageSpoiled) => Some(Receiving),
        (Joined | Receiving | Verifying, Step::ImageDurable) => Some(Staging),
        (Joined | Staging, Step::Staged) => Some(Staged),
        (Staged, Step::Switch) => Some(Activating),
        // A host that joined with the release as its current one has nothing left to switch.
        (Staged | Activating, Step::Switched) => Some(Active),
        (Active, Step::Condemned) => Some(Failed),
        (Active | Failed, Step::GaveUp) => None,
        (_, Step::GaveUp) => Some(Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagram_in_the_protocol_is_the_table_in_the_code() {
        let text = include_str!("../../../docs/PROTOCOL.md");
        let phases = HostPhase::ALL.iter().copied();
        let mut arrows: Vec<String> = phases
            .flat_map(|phase| Step::ALL.into_iter().map(move |step| (phase, step)))
            .filter_map(|(phase, step)| {
                Some(format!("    {phase:?} --{step:?}--> {:?}", after(phase, step)?))
            })
            .collect();
        arrows.sort();
        let mut written: Vec<String> = text
            .lines()
            .skip_while(|line| !line.starts_with("<!-- host phases"))
            .skip(1)
            .take_while(|line| !line.starts_with("-->"))
            .map(|line| line.trim_end().to_owned())
            .collect();
        written.sort();
        assert_eq!(written, arrows, "docs/PROTOCOL.md 5.2 should read:\n{}", arrows.join("\n"));
    }
}
