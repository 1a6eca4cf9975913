//! How many hosts are where, kept up to date: what the session asks at every STATUS.
//!
//! Ten thousand hosts answer a sweep; looking at all of them for each answer took a sender longer
//! than the answers came apart. Invariant: the tally is what counting the roster would give, since
//! a host changes through an [`Edit`] alone.

use std::ops::{Deref, DerefMut};

use common::wire::HostPhase;

use super::host::Host;

/// Present hosts by phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    present: [usize; HostPhase::ALL.len() + 1],
    /// Those that take symbols and are stragglers, and of these the ones that the group serves.
    stragglers: usize,
    grouped: usize,
    /// Those whose verdict on the release is awaited.
    on_trial: usize,
}

impl Tally {
    /// Hosts that take symbols.
    pub fn receiving(&self) -> usize {
        self.in_phase(HostPhase::Joined) + self.in_phase(HostPhase::Receiving)
    }

    /// Hosts that are present.
    pub fn present(&self) -> usize {
        self.present.iter().sum()
    }

    /// Hosts that take symbols and are no stragglers.
    pub fn fleet_receiving(&self) -> usize {
        self.receiving() - self.stragglers
    }

    /// Stragglers that take symbols.
    pub fn stragglers_receiving(&self) -> usize {
        self.stragglers
    }

    /// Those of them that are served together.
    pub fn grouped_receiving(&self) -> usize {
        self.grouped
    }

    /// Hosts that are present and neither in `goal` nor active.
    pub fn short_of(&self, goal: HostPhase) -> usize {
        let elsewhere = |phase: &HostPhase| *phase != goal && *phase != HostPhase::Active;
        HostPhase::ALL.iter().copied().filter(elsewhere).map(|phase| self.in_phase(phase)).sum()
    }

    /// Hosts that have staged and not yet switched.
    pub fn to_activate(&self) -> usize {
        self.in_phase(HostPhase::Staged) + self.in_phase(HostPhase::Activating)
    }

    /// Hosts that have the release on trial.
    pub fn on_trial(&self) -> usize {
        self.on_trial
    }

    fn in_phase(&self, phase: HostPhase) -> usize {
        self.present[phase as usize]
    }

    /// Counts a host that is new.
    pub fn add(&mut self, host: &Host) {
        self.present[host.phase as usize] += usize::from(host.is_present());
        let (is_straggler, is_grouped) = Self::standing(host);
        self.stragglers += usize::from(is_straggler);
        self.grouped += usize::from(is_grouped);
        self.on_trial += usize::from(host.is_on_trial());
    }

    fn remove(&mut self, host: &Host) {
        self.present[host.phase as usize] -= usize::from(host.is_present());
        let (is_straggler, is_grouped) = Self::standing(host);
        self.stragglers -= usize::from(is_straggler);
        self.grouped -= usize::from(is_grouped);
        self.on_trial -= usize::from(host.is_on_trial());
    }

    fn standing(host: &Host) -> (bool, bool) {
        let straggling = host.straggling().filter(|_| host.is_receiving());
        (straggling.is_some(), straggling.is_some_and(|it| !it.is_alone))
    }
}

/// A host that is being changed; counted again at the end.
#[derive(Debug)]
pub struct Edit<'a> {
    host: &'a mut Host,
    tally: &'a mut Tally,
}

impl<'a> Edit<'a> {
    /// Begins to change `host`, which `tally` counts.
    pub fn new(host: &'a mut Host, tally: &'a mut Tally) -> Self {
        tally.remove(host);
        Self { host, tally }
    }
}

impl Deref for Edit<'_> {
    type Target = Host;

    fn deref(&self) -> &Host {
        self.host
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut Host {
        self.host
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        self.tally.add(self.host);
    }
}
