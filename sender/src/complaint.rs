//! What the operator reads when something cannot be done: one line, with a code of [`Exit`].

use common::complaint::ExitCodes;

use crate::exit::Exit;

/// One line on standard error and the code that `fanfare` ends with.
pub type Complaint = common::complaint::Complaint<Exit>;

impl ExitCodes for Exit {
    const USAGE: Self = Self::Usage;
}
