//! A session's named timers: every reason why it can wake is on one screen.

use crate::time::Timestamp;

/// The timers of one kind of session, as an enum without data.
pub trait TimerName: Copy + 'static {
    /// All names, in the order of their declaration.
    const ALL: &'static [Self];

    /// Position in [`TimerName::ALL`].
    fn index(self) -> usize;

    /// What the session waits for, for traces.
    fn as_str(self) -> &'static str;
}

/// When a session wants to be called again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The instant.
    pub at: Timestamp,
    /// The timer that is due then.
    pub why: &'static str,
}

/// One slot for each timer name; a slot is armed or not.
#[derive(Debug, Clone)]
pub struct Timers<N> {
    slots: Box<[Timestamp]>,
    name: std::marker::PhantomData<N>,
}

impl<N: TimerName> Default for Timers<N> {
    fn default() -> Self {
        let slots = vec![Timestamp::NEVER; N::ALL.len()].into_boxed_slice();
        Self { slots, name: std::marker::PhantomData }
    }
}

impl<N: TimerName> Timers<N> {
    /// Arms `name` for `at`, replacing what it was armed for.
    pub fn arm(&mut self, name: N, at: Timestamp) {
        self.slots[name.index()] = at;
    }

    /// Arms `name` for `at` unless it is already due earlier.
    pub fn arm_earlier(&mut self, name: N, at: Timestamp) {
        let slot = &mut self.slots[name.index()];
        *slot = at.min(*slot);
    }

    /// Forgets `name`.
    pub fn disarm(&mut self, name: N) {
        self.slots[name.index()] = Timestamp::NEVER;
    }

    /// Whether `name` waits.
    pub fn is_armed(&self, name: N) -> bool {
        self.slots[name.index()] != Timestamp::NEVER
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Deadline> {
        let earliest = N::ALL.iter().min_by_key(|name| self.slots[name.index()])?;
        let at = self.slots[earliest.index()];
        (at != Timestamp::NEVER).then_some(Deadline { at, why: earliest.as_str() })
    }

    /// Disarms and returns one timer that is due at `now`, in the order of their declaration.
    pub fn take_expired(&mut self, now: Timestamp) -> Option<N> {
        let due = N::ALL.iter().copied().find(|name| self.slots[name.index()] <= now)?;
        self.disarm(due);
        Some(due)
    }
}

/// Declares an enum of timers with what each waits for.
#[macro_export]
macro_rules! timer_names {
    (
        $(#[$doc:meta])* $vis:vis enum $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name { $($(#[$variant_doc])* $variant),* }

        impl $crate::timers::TimerName for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn index(self) -> usize {
                self as usize
            }

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    timer_names! {
        enum Name { First, Second }
    }

    #[test]
    fn expired_timers_come_out_once_and_the_next_deadline_says_why() {
        let mut timers = Timers::<Name>::default();
        assert_eq!(timers.next(), None);
        timers.arm(Name::Second, Timestamp::from_nanos(5));
        timers.arm(Name::First, Timestamp::from_nanos(9));
        timers.arm_earlier(Name::First, Timestamp::from_nanos(12));
        let next = timers.next().unwrap();
        assert_eq!((next.at, next.why), (Timestamp::from_nanos(5), "Second"));
        assert_eq!(timers.take_expired(Timestamp::from_nanos(4)), None);
        assert_eq!(timers.take_expired(Timestamp::from_nanos(9)), Some(Name::First));
        assert_eq!(timers.take_expired(Timestamp::from_nanos(9)), Some(Name::Second));
        assert_eq!(timers.take_expired(Timestamp::from_nanos(9)), None);
    }
}
