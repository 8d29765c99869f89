//! How often one call was tried.

use crate::row::CallErrorKind;
use crate::spec::RetrySpec;

/// Failed tries of one call. Each kind has its own number: many throttled tries do not make the first lost reply the last
/// try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    throttled: u32,
    transient: u32,
}

impl Tries {
    /// Counts a failed try. How long to wait before the next one, in milliseconds; nothing when there is none.
    pub(crate) fn failed(&mut self, kind: CallErrorKind, retry: &RetrySpec) -> Option<u64> {
        match kind {
            CallErrorKind::Throttled => self.throttled += 1,
            CallErrorKind::Transient => self.transient += 1,
            CallErrorKind::Permanent => return None,
        }
        let again = self.throttled < retry.max_throttled && self.transient < retry.max_attempts;
        again.then(|| retry.delay_ms(self.throttled.saturating_add(self.transient)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_own_number_of_tries() {
        let retry = RetrySpec {
            first_delay_ms: 100,
            max_delay_ms: 400,
            max_attempts: 2,
            max_throttled: 5,
        };
        let mut tries = Tries::default();
        let throttled: Vec<_> = (0..4).map(|_| tries.failed(CallErrorKind::Throttled, &retry)).collect();
        assert_eq!(throttled, [Some(100), Some(200), Some(400), Some(400)]);
        assert_eq!(tries.failed(CallErrorKind::Transient, &retry), Some(400));
        assert_eq!(tries.clone().failed(CallErrorKind::Throttled, &retry), None);
        assert_eq!(tries.failed(CallErrorKind::Transient, &retry), None);
        assert_eq!(Tries::default().failed(CallErrorKind::Permanent, &retry), None);
    }
}
