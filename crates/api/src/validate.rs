//! Checks of request fields. A [`Checker`] collects every violation of a request, so that the caller sees all bad fields
//! at once; it becomes a `BadRequest` detail of an `INVALID_ARGUMENT` status.

use std::{ops::RangeInclusive, time::Duration};
use tonic_types::FieldViolation;

/// Longest WorkloadId, in characters: a Temporal keyword attribute holds 255 on every store.
pub const MAX_WORKLOAD_ID: usize = 255;
/// Longest request id, in characters; with our prefixes it stays far below Temporal's 1,000 for a workflow id.
pub const MAX_REQUEST_ID: usize = 100;
/// Longest reason, in characters.
pub const MAX_REASON: usize = 500;
/// Largest page of any List rpc.
pub const MAX_PAGE_SIZE: i32 = 1_000;
/// Page size of a List rpc when none is asked for.
pub const DEFAULT_PAGE_SIZE: i32 = 50;

/// Most violations that are told of one request: an answer's headers may have 16 KiB.
const MOST_TOLD: usize = 25;
/// Characters of a violation that are told: all of them go into the headers of one answer, which may have 16 KiB.
const LONGEST_TOLD: usize = 200;

/// Collects violations of one request.
#[derive(Debug, Default)]
pub struct Checker {
    violations: Vec<FieldViolation>,
}

impl Checker {
    /// A checker with nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a violation, of the first 25. `field` is the path as the caller writes it, for example `spec.target.query`.
    pub fn reject(&mut self, field: &str, description: impl Into<String>) {
        if self.violations.len() < MOST_TOLD {
            let mut description: String = description.into();
            // Some repeat a word of the caller's, and all of them go into headers.
            if let Some((at, _)) = description.char_indices().nth(LONGEST_TOLD) {
                description.truncate(at);
                description.push_str("...");
            }
            self.violations.push(FieldViolation::new(field, description));
        }
    }

    /// `value`, if all violations so far are none.
    ///
    /// # Errors
    /// All violations, in the order in which they were found.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<FieldViolation>> {
        if self.violations.is_empty() {
            Ok(value)
        } else {
            Err(self.violations)
        }
    }

    /// A WorkloadId that can stand in a visibility query between double quotes.
    pub fn workload_id(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.reject(field, "must be given");
        } else if value.chars().count() > MAX_WORKLOAD_ID {
            self.reject(field, format!("must have at most {MAX_WORKLOAD_ID} characters"));
        } else if value
            .chars()
            .any(|c| c.is_control() || matches!(c, '"' | '\'' | '\\' | '`'))
        {
            self.reject(field, "must not contain quotes, backslashes or control characters");
        }
    }

    /// A request id, or empty for a random one.
    pub fn request_id(&mut self, field: &str, value: &str) {
        if value.chars().count() > MAX_REQUEST_ID {
            self.reject(field, format!("must have at most {MAX_REQUEST_ID} characters"));
        } else if !value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            self.reject(field, "may contain only letters, digits, '-', '_' and '.'");
        }
    }

    /// An id that names an existing thing.
    pub fn required_id(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.reject(field, "must be given");
        } else if value.len() > 1_000 {
            self.reject(field, "must have at most 1,000 bytes");
        } else if value.chars().any(char::is_control) {
            self.reject(field, "must not contain control characters");
        }
    }

    /// A reason. Empty is allowed only where `required` is false.
    pub fn reason(&mut self, field: &str, value: &str, required: bool) {
        if required && value.trim().is_empty() {
            self.reject(field, "must be given: it is stored on every stopped execution");
        } else if value.chars().count() > MAX_REASON {
            self.reject(field, format!("must have at most {MAX_REASON} characters"));
        } else if value.chars().any(char::is_control) {
            self.reject(field, "must not contain control characters");
        }
    }

    /// A whole number whose 0 means `default`.
    pub fn int<T>(&mut self, field: &str, value: T, default: T, range: RangeInclusive<T>) -> T
    where
        T: PartialOrd + PartialEq + Default + Copy + std::fmt::Display,
    {
        if value == T::default() {
            return default;
        }
        if !range.contains(&value) {
            self.reject(
                field,
                format!(
                    "must be from {} to {}, or 0 for the default ({default})",
                    range.start(),
                    range.end()
                ),
            );
            return default;
        }
        value
    }

    /// A page size; 0 means [`DEFAULT_PAGE_SIZE`].
    pub fn page_size(&mut self, field: &str, value: i32) -> i32 {
        self.int(field, value, DEFAULT_PAGE_SIZE, 1..=MAX_PAGE_SIZE)
    }

    /// A duration; absent means `default`.
    pub fn duration(
        &mut self,
        field: &str,
        value: Option<prost_types::Duration>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = value else { return default };
        // By hand: prost's conversion brings into form what is not normal, and overflows on the smallest of all.
        let normal = match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
            _ => None,
        };
        match normal {
            Some(value) if range.contains(&value) => value,
            Some(_) => {
                self.reject(field, format!("must be from {:?} to {:?}", range.start(), range.end()));
                default
            }
            None => {
                self.reject(
                    field,
                    "must be a valid duration that is not negative, with nanos below a second",
                );
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_told_at_once() {
        let mut check = Checker::new();
        check.workload_id("workload_id", "a\"b");
        check.request_id("request_id", "a b");
        check.reason("reason", " ", true);
        assert_eq!(check.int("looks", 50, 3, 2..=20), 3);
        check.page_size("page_size", -1);
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        check.duration(
            "ttl",
            Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            Duration::from_secs(5),
            range,
        );
        let fields: Vec<_> = check.finish(()).unwrap_err().into_iter().map(|v| v.field).collect();
        assert_eq!(
            fields,
            ["workload_id", "request_id", "reason", "looks", "page_size", "ttl"]
        );
    }

    #[test]
    fn a_long_list_of_violations_is_cut() {
        let mut check = Checker::new();
        for n in 0..1_000 {
            check.required_id(&format!("executions[{n}].workflow_id"), "");
        }
        let told = check.finish(()).unwrap_err();
        assert_eq!((told.len(), told[0].field.as_str()), (25, "executions[0].workflow_id"));
    }

    #[test]
    fn a_duration_that_is_not_normal_is_none() {
        let hour = Duration::ZERO..=Duration::from_secs(3_600);
        for (seconds, nanos, good) in [
            (5, 0, true),
            (0, 1, true),
            (5, 999_999_999, true),
            (5, 1_000_000_000, false),
            (5, -1, false),
            (-5, 1, false),
            (0, -1, false),
            (i64::MIN, -1, false),
            (i64::MAX, 1, false),
        ] {
            let mut check = Checker::new();
            let given = Some(prost_types::Duration { seconds, nanos });
            check.duration("ttl", given, Duration::ZERO, hour.clone());
            assert_eq!(check.finish(()).is_ok(), good, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn defaults_stand_for_what_is_left_out() {
        let mut check = Checker::new();
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        assert_eq!(
            check.duration("ttl", None, Duration::from_secs(5), range),
            Duration::from_secs(5)
        );
        assert_eq!(check.int("looks", 0, 3, 2..=20), 3);
        assert_eq!(check.page_size("page_size", 0), DEFAULT_PAGE_SIZE);
        check.request_id("request_id", "");
        assert!(check.finish(()).is_ok());
    }
}
