//! Verdicts of several cancellations as one.

use crate::canceler::v1::Verdict;

/// How bad a verdict is: the worst of several is what all of them come to. One that is not told is worse than any that is.
#[must_use]
pub const fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Clean => 0,
        Verdict::Residue => 1,
        Verdict::Blocked => 2,
        Verdict::Aborted => 3,
        Verdict::Unspecified => 4,
    }
}
