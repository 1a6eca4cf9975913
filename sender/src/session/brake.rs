//! The brake: how fast to send below the ceiling.
//!
//! Looks at a quantile of sampled hosts, never at the worst. Hosts that overrun slow the stream to
//! what they took; loss on the way is first tried with less rate, and where that does not lower it,
//! it is left to parity (PROTOCOL 5.4).

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::id::Slot;
use common::limits::TRAIN_SYMBOLS_MAX;
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{Rate, SHARE_PPM_MAX};

/// Reports are judged so often: 256 MB at a ceiling of 5 Gbit/s take 0.46 s, and every interval at
/// the beginning is one at less than that.
pub const JUDGE_INTERVAL: Duration = Duration::from_millis(25);
/// Hosts whose reports one judgement looks at.
const REPORTS_MAX: usize = 1000;
/// A host's last report counts for this long: of a few hosts not all are heard in every interval,
/// and one of two must not decide alone.
const REPORT_AGE_MAX: Duration = Duration::from_millis(100);
/// Rates remembered: reports reach back two intervals, and each interval changes the rate once.
const HISTORY_MAX: usize = 16;
/// A host that was not heard for this long is forgotten.
const HOST_AGE_MAX: Duration = Duration::from_secs(2);
/// Loss of the 75th percentile above its baseline by this is a reason to try less; below it costs
/// less than the rate would.
const LOSS_STEP: f64 = 0.015;
/// And by so many standard deviations: of 1 % of random loss one interval of 25 ms at 1 Gbit/s
/// shows between none and 3 %, and cuts for that cost a link 15 % of what it carries.
const LOSS_STEP_SIGMAS: f64 = 3.0;
/// No baseline is trusted to be less.
const LOSS_CALM: f64 = 0.01;
/// Less is enough to end a trial by.
const VERDICT_SIGMAS: f64 = 1.5;
/// A trial that is not clear by then is judged as it stands.
const TRIAL_MAX: Duration = Duration::from_millis(200);
/// What is lost together: a train of datagrams of 1.4 KB.
const TRAIN_BYTES: f64 = TRAIN_SYMBOLS_MAX as f64 * 1424.0;
/// Trains over which a host's loss is averaged, two intervals at 1 Gbit/s.
const MEMORY_TRAINS: f64 = 256.0;
/// A host that falls behind by less than this keeps up.
const OVERRUN_PPM_CALM: u32 = 10_000;
/// Hosts that fall behind are not sent less than this, or a twentieth of a lower ceiling: a disk
/// that stands still for a moment is not to hold up whoever comes, and slower hosts than that are
/// repaired when the others are done.
const OVERRUN_RATE_MIN: Bitrate = Bitrate::from_megabits(20);
/// First step of a climb past a rate that was too much, in percent; it doubles with each.
const STEP_PERCENT_MIN: u64 = 1;
/// Largest step.
const STEP_PERCENT_MAX: u64 = 100;

/// How the rate is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePolicy {
    /// Exactly this, whatever the hosts say.
    Fixed(Bitrate),
    /// At most this, on the sender's own guess of what the network takes.
    Guessed(Bitrate),
    /// At most this, as the operator said.
    Ceiling(Bitrate),
}

/// A share lost on the way, and of how many trains it is known.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    share: f64,
    trains: f64,
}

impl Loss {
    /// Takes in what `trains` more of them showed; what is old fades.
    fn observe(&mut self, share: f64, trains: f64) {
        let kept = self.trains * (-trains / MEMORY_TRAINS).exp();
        let all = kept + trains;
        if all > 0.0 {
            *self = Self { share: (self.share * kept + share * trains) / all, trains: all };
        }
    }

    /// How far off the share may be by chance, where `share` is the true one: the standard
    /// deviation of a binomial distribution.
    fn sigma(&self, share: f64) -> f64 {
        (share * (1.0 - share) / self.trains.max(1.0)).sqrt()
    }
}

/// What one host's reports come to.
#[derive(Debug, Clone, Copy)]
struct Sample {
    loss: Loss,
    /// The change of rate that the loss was measured after.
    changed_at: Timestamp,
    /// What the host could make use of.
    taken: Bitrate,
    /// Whether it could not keep up.
    is_overrun: bool,
    heard_at: Timestamp,
}

/// A cut made to see whether it lowers the loss.
#[derive(Debug, Clone, Copy)]
struct Trial {
    cause: f64,
    /// The rate before it, and what hosts took of that.
    before: Bitrate,
    taken: Bitrate,
    since: Timestamp,
}

impl Trial {
    /// Whether the cut was for nothing; `None` while that may be chance. What parts the two is the
    /// middle between the loss of weather, which stays, and that of a full link, which takes what
    /// it took.
    fn is_in_vain(&self, now: Timestamp, loss: Loss) -> Option<bool> {
        let full_link = (self.cause - 0.3).max(0.0) / 0.7;
        let middle = self.cause.midpoint(full_link);
        let sigma = loss.sigma(loss.share.max(middle));
        let is_clear = (loss.share - middle).abs() > VERDICT_SIGMAS * sigma;
        (is_clear || now.since(self.since) > TRIAL_MAX).then_some(loss.share > middle)
    }
}

/// The rate in force and why.
#[derive(Debug)]
pub struct Brake {
    policy: RatePolicy,
    rate: Bitrate,
    /// The rates of late and since when, the newest last.
    history: VecDeque<(Timestamp, Bitrate)>,
    /// What hosts took when the rate was last too much.
    limit: Option<Bitrate>,
    /// When the rate last changed so much that loss before says nothing of loss now.
    changed_at: Timestamp,
    step_percent: u64,
    judged_at: Timestamp,
    samples: BTreeMap<Slot, Sample>,
    /// Loss that is not for the rate's sake: what there was at the low rate of the beginning, and
    /// what less rate did not lower. `None` before the first reports.
    baseline: Option<f64>,
    trial: Option<Trial>,
}

impl Brake {
    /// Starts at a quarter of a guess or at half of what the operator said, and doubles while the
    /// fleet is calm.
    pub fn new(policy: RatePolicy) -> Self {
        let slow = Bitrate::from_megabits(100);
        let rate = match policy {
            RatePolicy::Fixed(rate) => rate,
            RatePolicy::Guessed(guess) => guess.scaled(1, 4).max(slow).min(guess),
            RatePolicy::Ceiling(ceiling) => ceiling.scaled(1, 2).max(slow).min(ceiling),
        };
        Self {
            policy,
            rate,
            history: VecDeque::from([(Timestamp::ZERO, rate)]),
            limit: None,
            changed_at: Timestamp::ZERO,
            step_percent: STEP_PERCENT_MAX,
            judged_at: Timestamp::ZERO,
            samples: BTreeMap::new(),
            baseline: None,
            trial: None,
        }
    }

    /// The rate in force.
    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    /// Whether nothing that hosts say changes the rate.
    pub fn is_fixed(&self) -> bool {
        matches!(self.policy, RatePolicy::Fixed(_))
    }

    /// Takes one host's report; a bounded number counts in one interval.
    pub fn on_report(&mut self, now: Timestamp, report: &Rate) {
        if self.samples.len() == REPORTS_MAX && !self.samples.contains_key(&report.slot) {
            // Of a large fleet each poll asks others.
            self.samples.retain(|_, sample| now.since(sample.heard_at) < REPORT_AGE_MAX);
            if self.samples.len() == REPORTS_MAX {
                return;
            }
        }
        let since = Timestamp::from_nanos(
            now.as_nanos().saturating_sub(report.interval.as_nanos().try_into().unwrap_or(0)),
        );
        if self.trial.is_some_and(|trial| since < trial.since) {
            // What was sent before the cut says nothing about it.
            return;
        }
        let rate = self.rate_between(since, now);
        let missed = report.loss_ppm.saturating_add(report.overrun_ppm).min(SHARE_PPM_MAX);
        let taken = u64::from(SHARE_PPM_MAX - missed);
        let before = self.samples.get(&report.slot);
        // Until all that a report is about was sent at the new rate, it is taken with what was.
        let kept = before.filter(|it| since < self.changed_at || it.changed_at == self.changed_at);
        let kept = kept.map(|sample| (sample.loss, sample.changed_at));
        let (mut loss, changed_at) = kept.unwrap_or_else(|| (Loss::default(), self.changed_at));
        // Reports reach back beyond the one before.
        let unheard = before.map_or(report.interval, |sample| now.since(sample.heard_at));
        let trains = rate.bytes_in(unheard.min(report.interval)) as f64 / TRAIN_BYTES;
        loss.observe(f64::from(report.loss_ppm) / f64::from(SHARE_PPM_MAX), trains);
        let sample = Sample {
            loss,
            changed_at,
            taken: rate.scaled(taken, SHARE_PPM_MAX.into()),
            is_overrun: report.kernel_drops > 0 || report.overrun_ppm > OVERRUN_PPM_CALM,
            heard_at: now,
        };
        self.samples.insert(report.slot, sample);
    }

    /// The mean of the rates in force from `since` to `now`.
    fn rate_between(&self, since: Timestamp, now: Timestamp) -> Bitrate {
        let (mut end, mut bytes) = (now, 0);
        for (from, rate) in self.history.iter().rev() {
            bytes += rate.bytes_in(end.since((*from).max(since)));
            end = end.min(*from);
            if *from <= since {
                break;
            }
        }
        if now.since(since).is_zero() { self.rate } else { Bitrate::of(bytes, now.since(since)) }
    }

    /// Judges the reports of the interval that ends at `now`; true when the rate changed.
    pub fn judge(&mut self, now: Timestamp) -> bool {
        let ceiling = match self.policy {
            RatePolicy::Fixed(_) => return false,
            RatePolicy::Guessed(ceiling) | RatePolicy::Ceiling(ceiling) => ceiling,
        };
        self.samples.retain(|_, sample| now.since(sample.heard_at) < HOST_AGE_MAX);
        let has_news = self.samples.values().any(|sample| sample.heard_at > self.judged_at);
        if !has_news || now.since(self.judged_at) < JUDGE_INTERVAL {
            return false;
        }
        self.judged_at = now;
        let before = self.rate;
        self.rate = self.next_rate(now, ceiling).min(ceiling);
        if self.rate == before {
            return false;
        }
        if self.rate.as_bits().abs_diff(before.as_bits()) > before.as_bits() / 10 {
            self.changed_at = now;
        }
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back((now, self.rate));
        true
    }

    fn next_rate(&mut self, now: Timestamp, ceiling: Bitrate) -> Bitrate {
        let is_fresh = |sample: &&Sample| now.since(sample.heard_at) < REPORT_AGE_MAX;
        let samples: Vec<Sample> = self.samples.values().filter(is_fresh).copied().collect();
        let loss = quantile(samples.iter().map(|sample| sample.loss), 75, |loss| loss.share);
        let taken = quantile(samples.iter().map(|sample| sample.taken), 50, Bitrate::as_bits);
        let overruns = samples.iter().filter(|sample| sample.is_overrun);
        if overruns.clone().count() * 2 > samples.len() {
            // Most hosts cannot keep up: that is never weather. What they took is what they can
            // take; a little less lets their buffers empty.
            let taken = quantile(overruns.map(|sample| sample.taken), 50, Bitrate::as_bits);
            self.trial = None;
            self.back_off(taken);
            let floor = OVERRUN_RATE_MIN.min(ceiling.scaled(1, 20));
            return taken.scaled(9, 10).max(floor).min(self.rate);
        }
        if let Some(trial) = self.trial {
            return self.end_trial(now, trial, loss);
        }
        // At the beginning the climb itself is the experiment: loss that was there before it is
        // taken for weather until more rate has made more of it.
        let baseline = *self.baseline.get_or_insert(loss.share);
        let step = LOSS_STEP.max(LOSS_STEP_SIGMAS * loss.sigma(baseline.max(LOSS_CALM)));
        if loss.share > baseline + step {
            let before = self.rate;
            self.trial = Some(Trial { cause: loss.share, before, taken, since: now });
            self.samples.clear();
            let floor = ceiling.scaled(1, 20).max(Bitrate::from_megabits(1));
            return self.rate.scaled(7, 10).max(floor).min(self.rate);
        }
        self.baseline = Some(baseline.min(loss.share));
        self.climb()
    }

    fn end_trial(&mut self, now: Timestamp, trial: Trial, loss: Loss) -> Bitrate {
        let Some(is_in_vain) = trial.is_in_vain(now, loss) else { return self.rate };
        self.trial = None;
        if is_in_vain {
            self.baseline = Some(loss.share);
            return trial.before;
        }
        // What was taken for weather may have been the rate's, too.
        self.baseline = Some(0.0);
        self.back_off(trial.taken);
        self.climb()
    }

    fn back_off(&mut self, taken: Bitrate) {
        self.limit = Some(taken);
        self.step_percent = STEP_PERCENT_MIN;
    }

    /// Half of the way to a rate that was too much, past it by steps that double: hosts may have
    /// been slow for a moment only. By equal steps of 3 % a cut in the first tenth of a second cost
    /// a transfer of 2.7 s up to 7.4 s.
    fn climb(&mut self) -> Bitrate {
        let gap = self.limit.map_or(0, |limit| limit.as_bits().saturating_sub(self.rate.as_bits()));
        let (half, least) = (gap / 2, self.rate.scaled(3, 100).as_bits());
        if half > least {
            return Bitrate::from_bits(self.rate.as_bits() + half);
        }
        let raised = self.rate.scaled(100 + self.step_percent, 100);
        self.step_percent = (2 * self.step_percent).min(STEP_PERCENT_MAX);
        raised
    }
}

/// The value that `percent` of `values` do not exceed, by a key; the default for none.
fn quantile<T: Copy + Default, K: PartialOrd>(
    values: impl Iterator<Item = T>,
    percent: usize,
    key: impl Fn(T) -> K,
) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|left, right| key(*left).partial_cmp(&key(*right)).unwrap_or(Ordering::Equal));
    values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::BootNonce;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const CEILING: Bitrate = Bitrate::from_megabits(1000);

    /// What a host sees in one interval.
    #[derive(Clone, Copy, Default)]
    struct Sight {
        loss_ppm: u32,
        overrun_ppm: u32,
        kernel_drops: u32,
    }

    fn at(interval: u64) -> Timestamp {
        Timestamp::from_nanos(interval * JUDGE_INTERVAL.as_nanos() as u64)
    }

    fn report(slot: u32, sight: Sight) -> Rate {
        let Sight { loss_ppm, overrun_ppm, kernel_drops } = sight;
        let (slot, nonce, interval) = (Slot(slot), BootNonce(0), JUDGE_INTERVAL);
        Rate { slot, nonce, interval, loss_ppm, overrun_ppm, kernel_drops, delay_us: 0 }
    }

    /// Eight hosts report what they saw since the last interval; then it is judged. In Mbit/s.
    fn judge(brake: &mut Brake, interval: u64, sights: &[Sight]) -> u64 {
        for (index, sight) in sights.iter().enumerate() {
            brake.on_report(at(interval), &report(index as u32, *sight));
        }
        brake.judge(at(interval));
        brake.rate().as_bits() / 1_000_000
    }

    /// The rates of `intervals` in front of hosts that show what `sight` makes of a rate.
    fn run(
        brake: &mut Brake,
        intervals: std::ops::Range<u64>,
        sight: impl Fn(f64) -> Sight,
    ) -> Vec<u64> {
        let see = |brake: &Brake| sight(brake.rate().as_bits() as f64 / 1e6);
        intervals
            .map(|interval| {
                let sight = see(brake);
                judge(brake, interval, &[sight; 8])
            })
            .collect()
    }

    /// Hosts that lose a share of `ppm`, whatever the rate.
    fn weather(ppm: u32) -> impl Fn(f64) -> Sight {
        move |_| Sight { loss_ppm: ppm, ..Sight::default() }
    }

    /// The share of a rate beyond `megabits`.
    fn excess(rate: f64, megabits: f64) -> u32 {
        ((1.0 - megabits / rate).max(0.0) * 1e6) as u32
    }

    #[test]
    fn a_calm_fleet_is_at_the_ceiling_after_two_doublings() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        assert_eq!(run(&mut brake, 1..5, weather(0)), [500, 1000, 1000, 1000]);
    }

    // PROTOCOL 5.4: loss that a cut does not lower is no reason for less rate.
    #[test]
    fn steady_random_loss_does_not_collapse_the_rate() {
        for ppm in [50_000, 100_000, 300_000] {
            let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
            let rates = run(&mut brake, 1..60, weather(ppm));
            assert_eq!(rates[..2], [500, 1000]);
            assert!(rates[2..].iter().all(|rate| *rate == 1000), "{rates:?}");
        }
    }

    /// Eight hosts that each lose whole trains by chance, as 25 ms at the rate in force have them.
    fn run_in_chance(brake: &mut Brake, intervals: std::ops::Range<u64>, share: f64) -> Vec<u64> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut see = |rate: Bitrate| {
            let trains = rate.bytes_in(JUDGE_INTERVAL) as f64 / TRAIN_BYTES;
            let lost = (0..trains as u32).filter(|_| rng.random_bool(share)).count();
            Sight { loss_ppm: (lost as f64 / trains * 1e6) as u32, ..Sight::default() }
        };
        let mut sights = |rate| [(); 8].map(|()| see(rate));
        intervals.map(|interval| judge(brake, interval, &sights(brake.rate()))).collect()
    }

    // PROTOCOL 5.4: one interval shows more or less of random loss than there is.
    #[test]
    fn chance_in_random_loss_costs_next_to_nothing() {
        for share in [0.001, 0.01, 0.05, 0.1] {
            let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
            let rates = run_in_chance(&mut brake, 1..1000, share);
            let mean = rates.iter().sum::<u64>() / rates.len() as u64;
            assert!(mean >= 990, "{share}: {mean} {rates:?}");
        }
    }

    #[test]
    fn random_loss_that_begins_later_costs_one_trial() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        run(&mut brake, 1..4, weather(0));
        let rates = run(&mut brake, 4..40, weather(100_000));
        assert_eq!(rates[..4], [700, 1000, 1000, 1000], "cut on trial and taken back");
        assert!(rates[4..].iter().all(|rate| *rate == 1000), "{rates:?}");
    }

    #[test]
    fn of_a_large_fleet_those_decide_that_were_asked_last() {
        let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
        let hear = |brake: &mut Brake, interval: u64, overrun_ppm: u32| {
            let sight = Sight { overrun_ppm, ..Sight::default() };
            for slot in interval * 128..(interval + 1) * 128 {
                brake.on_report(at(interval), &report(slot as u32, sight));
            }
            brake.judge(at(interval));
        };
        (1..20).for_each(|interval| hear(&mut brake, interval, 0));
        assert_eq!(brake.rate(), CEILING);
        (20..25).for_each(|interval| hear(&mut brake, interval, 900_000));
        assert!(brake.rate() < CEILING.scaled(1, 2), "{}", brake.rate());
        assert!(brake.samples.len() <= REPORTS_MAX);
    }

    #[test]
    fn hosts_that_take_nothing_for_a_while_are_sent_a_little_and_then_all_again() {
        let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
        let stalled = |_| Sight { overrun_ppm: 1_000_000, ..Sight::default() };
        assert_eq!(run(&mut brake, 1..40, stalled).last(), Some(&20));
        let rates = run(&mut brake, 40..80, weather(0));
        assert_eq!(rates.last(), Some(&1000), "{rates:?}");
        let mut slow = Brake::new(RatePolicy::Ceiling(Bitrate::from_megabits(100)));
        assert_eq!(run(&mut slow, 1..40, stalled).last(), Some(&5), "a twentieth");
    }

    #[test]
    fn a_link_too_narrow_for_the_first_rate_is_found() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        let link = |rate| Sight { loss_ppm: excess(rate, 150.0), ..Sight::default() };
        let rates = run(&mut brake, 1..200, link);
        let late = &rates[40..];
        let mean = late.iter().sum::<u64>() / late.len() as u64;
        assert!((115..=155).contains(&mean), "{mean} {rates:?}");
    }

    #[test]
    fn loss_that_ends_is_weather_no_more() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        run(&mut brake, 1..10, weather(100_000));
        run(&mut brake, 10..30, weather(0));
        let rates = run(&mut brake, 30..34, weather(100_000));
        assert!(rates.contains(&700), "it is tried again: {rates:?}");
    }

    #[test]
    fn a_full_link_is_not_overrun_for_long() {
        let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
        let link = |rate| Sight { loss_ppm: excess(rate, 600.0), ..Sight::default() };
        let rates = run(&mut brake, 1..200, link);
        let late = &rates[20..];
        let mean = late.iter().sum::<u64>() / late.len() as u64;
        assert!((480..=620).contains(&mean), "{mean} {rates:?}");
        assert!(late.iter().all(|rate| *rate <= 700), "{rates:?}");
    }

    #[test]
    fn hosts_that_decompress_slower_than_they_receive_slow_the_stream_to_what_they_take() {
        let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
        let slow = |rate| Sight { overrun_ppm: excess(rate, 300.0), ..Sight::default() };
        let rates = run(&mut brake, 1..200, slow);
        let late = &rates[5..];
        let mean = late.iter().sum::<u64>() / late.len() as u64;
        assert!((270..=315).contains(&mean), "{mean} {rates:?}");
        assert!(late.iter().all(|rate| *rate <= 400), "{rates:?}");
    }

    #[test]
    fn a_cut_for_a_passing_cause_is_made_good_within_half_a_second() {
        let mut brake = Brake::new(RatePolicy::Ceiling(Bitrate::from_megabits(5000)));
        let hiccup = Sight { loss_ppm: 900_000, kernel_drops: 9, ..Sight::default() };
        assert_eq!(judge(&mut brake, 1, &[hiccup; 8]), 225, "nine tenths of what arrived");
        let rates = run(&mut brake, 2..22, weather(0));
        assert_eq!(*rates.last().unwrap(), 5000, "{rates:?}");
    }

    #[test]
    fn hosts_that_overrun_slow_the_stream_when_they_are_most_and_not_when_one() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        run(&mut brake, 1..5, weather(0));
        let sight = Sight { loss_ppm: 200_000, kernel_drops: 900, ..Sight::default() };
        let mut one = [Sight::default(); 8];
        one[3] = sight;
        assert_eq!(judge(&mut brake, 6, &one), 1000);
        assert_eq!(judge(&mut brake, 7, &[sight; 8]), 720, "nine tenths of what arrived");
    }

    #[test]
    fn of_two_hosts_the_one_that_overruns_does_not_decide_alone_while_the_other_is_not_heard() {
        let mut brake = Brake::new(RatePolicy::Guessed(CEILING));
        let sight = Sight { overrun_ppm: 500_000, ..Sight::default() };
        assert_eq!(judge(&mut brake, 1, &[sight, Sight::default()]), 500);
        assert_eq!(judge(&mut brake, 2, &[sight]), 1000);
        assert_eq!(judge(&mut brake, 8, &[sight]), 450, "the other has been silent for long");
    }

    #[test]
    fn a_report_about_a_rate_no_longer_in_force_does_not_cut_twice() {
        let mut brake = Brake::new(RatePolicy::Ceiling(CEILING));
        run(&mut brake, 1..3, weather(0));
        let sight = Sight { overrun_ppm: 500_000, ..Sight::default() };
        assert_eq!(judge(&mut brake, 3, &[sight; 8]), 450);
        assert_eq!(brake.rate_between(at(2), at(3)), CEILING);
        assert_eq!(brake.rate_between(at(2), at(4)).as_bits() / 1_000_000, 725);
    }

    #[test]
    fn a_fixed_rate_has_no_brake() {
        let mut brake = Brake::new(RatePolicy::Fixed(CEILING));
        let sight = Sight { loss_ppm: 900_000, kernel_drops: 9, ..Sight::default() };
        assert_eq!(judge(&mut brake, 1, &[sight; 8]), 1000);
    }
}
