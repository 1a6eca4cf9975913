//! Every bound of hooks and probes, with its reason.

use std::time::Duration;

/// Hooks at one point: enough for a stack of services, few enough that the report holds all.
pub const HOOKS_MAX: usize = 4;

/// What a hook may take unless configured otherwise: a reload of php-fpm waits for requests.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The longest that a hook may be allowed: an activation that waits longer is no activation.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Between the polite and the last signal to a hook that is out of time.
pub const KILL_GRACE: Duration = Duration::from_secs(1);

/// How long a killed hook's end is waited for; one that hangs in the kernel is left.
pub const KILL_WAIT: Duration = Duration::from_secs(2);

/// Bytes of output that are kept, the last ones: what went wrong stands at the end.
pub const OUTPUT_BYTES_MAX: usize = 4 << 10;

/// Bytes of an HTTP answer that are read: its first words tell, the rest is for people.
pub const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Bytes read after a hook has ended; a process that it left behind may go on writing for ever.
pub const DRAIN_BYTES_MAX: usize = 1 << 20;
