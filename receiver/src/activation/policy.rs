//! What the administrator wants done around an app's switch.

use std::path::Path;
use std::time::Duration;

use common::id::{HostName, ReleaseId};

use super::health::{Health, Probe};
use crate::hooks::{Hook, check_program};

/// Reloads are spread over this unless configured otherwise: 2,000 hosts that reload at once are
/// the cache storm that a release should not be.
pub const SPLAY_DEFAULT: Duration = Duration::from_secs(30);
/// The longest that hosts may be spread over: later, and a release is active nowhere.
pub const SPLAY_MAX: Duration = Duration::from_secs(3600);

/// Hooks and patience of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Run before the switch; the first that fails refuses it.
    pub pre_activate: Vec<Hook>,
    /// Run after the switch, one after another, whatever becomes of each.
    pub post_activate: Vec<Hook>,
    /// The window over which hosts spread their post-activate hooks.
    pub splay: Duration,
    /// How the health of a release is asked after that.
    pub health: Option<Health>,
}

impl Default for Policy {
    fn default() -> Self {
        let (pre_activate, post_activate) = (Vec::new(), Vec::new());
        Self { pre_activate, post_activate, splay: SPLAY_DEFAULT, health: None }
    }
}

impl Policy {
    /// Whether something is to be done after the switch.
    pub fn has_sequel(&self) -> bool {
        !self.post_activate.is_empty() || self.health.is_some()
    }

    /// Whether health is asked over the network.
    pub fn asks_the_network(&self) -> bool {
        matches!(&self.health, Some(Health { probe: Probe::Http { .. }, .. }))
    }

    /// Every program that may be run.
    pub fn programs(&self) -> impl Iterator<Item = &Path> {
        let probe = match self.health.as_ref().map(|health| &health.probe) {
            Some(Probe::Command(command)) => command.first().map(Path::new),
            _ => None,
        };
        let hooks = self.pre_activate.iter().chain(&self.post_activate);
        hooks.map(Hook::program).chain(probe)
    }

    /// Time that the hooks after the switch may take.
    pub fn post_activate_longest(&self) -> Duration {
        self.post_activate.iter().map(|hook| hook.timeout).sum()
    }

    /// How long after the switch `host` waits with its hooks: within the window, the same for the
    /// same release whenever it is asked, and as good as random over hosts and releases. Without
    /// hooks there is nothing to wait for.
    pub fn delay(&self, host: &HostName, release: &ReleaseId) -> Duration {
        let mut hasher = blake3::Hasher::new();
        hasher.update(release.0.as_bytes()).update(host.as_str().as_bytes());
        let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
        let share = f64::from(u32::from_le_bytes([a, b, c, d])) / 2f64.powi(32);
        match self.post_activate.is_empty() {
            true => Duration::ZERO,
            false => self.splay.mul_f64(share),
        }
    }

    /// Checks every program that may be run.
    ///
    /// # Errors
    /// The first that may not, and what to do.
    pub fn check_programs(&self) -> Result<(), String> {
        self.programs().try_for_each(check_program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::digest::Digest;

    fn hook() -> Hook {
        Hook { command: vec!["/bin/true".into()], timeout: Duration::from_secs(1) }
    }

    #[test]
    fn two_thousand_hosts_are_spread_over_the_window_without_a_crowd() {
        let policy = Policy { post_activate: vec![hook()], ..Policy::default() };
        let release = ReleaseId(Digest::of(b"2.0"));
        let delay = |nth: usize| policy.delay(&format!("web-{nth}").parse().unwrap(), &release);
        let mut seconds = [0; 30];
        (0..2000).for_each(|nth| seconds[delay(nth).as_secs() as usize] += 1);
        // 67 in each second on average, with a standard deviation of 8.
        let extremes = (seconds.iter().min(), seconds.iter().max());
        assert_eq!(extremes, (Some(&51), Some(&83)), "{seconds:?}");
        assert_eq!(delay(7), delay(7));
        let other = ReleaseId(Digest::of(b"2.1"));
        assert_ne!(policy.delay(&"web-7".parse().unwrap(), &other), delay(7));
    }

    #[test]
    fn without_a_window_or_hooks_nobody_waits() {
        let release = ReleaseId(Digest::of(b"2.0"));
        let at_once =
            |policy: Policy| policy.delay(&"web-1".parse().unwrap(), &release) == Duration::ZERO;
        let post_activate = vec![hook()];
        let hooks = Policy { post_activate, ..Policy::default() };
        assert!(!at_once(hooks.clone()));
        assert!(at_once(Policy { splay: Duration::ZERO, ..hooks }));
        assert!(at_once(Policy::default()), "nor where there is nothing to spread");
    }
}
