//! Limits that can be changed while a cancellation runs, and how its windows come to know of it.
//!
//! A change travels by a signal to the workflow, which writes what holds into its memo. Each worker process that has a window of the
//! cancellation reads it there by one raw Describe a second, however many windows it has: that costs the server what a query would,
//! and neither a workflow task nor a replay.

use std::time::Duration;

use quell_api::{canceler::v1 as pb, validate::Checker};
use quell_mesh::NamespaceClient;
use quell_sweep::WindowLimits;
use serde::{Deserialize, Serialize};

use super::{
    convert::{duration, timestamp},
    hub::{Read, Reader},
    spec::Spec,
    view::View,
};

/// How often a worker process looks for a change.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// Limits as they were changed. What is unset is as the spec has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most stops in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Most stops that begin a second; 0 is no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_per_second: Option<u32>,
    /// How long the whole may take, from its start, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// A change of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adjustment {
    /// When it was taken in, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What was changed.
    pub limits: Limits,
}

impl Adjustment {
    /// As callers see it.
    #[must_use]
    pub(crate) fn to_proto(self) -> pb::Adjustment {
        pb::Adjustment {
            time: Some(timestamp(self.at_ms)),
            limits: Some(pb::Limits {
                concurrency: self.limits.concurrency.map(signed),
                stops_per_second: self.limits.stops_per_second.map(signed),
                deadline: self.limits.deadline_ms.map(duration),
            }),
        }
    }
}

impl Limits {
    /// Checks limits as a caller gave them; violations are noted under `limits.*`, all of them.
    pub(crate) fn check(check: &mut Checker, given: Option<&pb::Limits>) -> Self {
        let given = given.copied().unwrap_or_default();
        if given == pb::Limits::default() {
            check.reject("limits", "must change something");
        }
        let mut within = |field: &str, value: Option<i32>, least: u32, most: u32| {
            let value = value?;
            let valid = u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
            if valid.is_none() {
                check.reject(field, format!("must be from {least} to {most}"));
            }
            valid
        };
        let concurrency = within("limits.concurrency", given.concurrency, 1, 750);
        let stops_per_second = within("limits.stops_per_second", given.stops_per_second, 0, 100_000);
        let bounds = Duration::from_secs(5)..=Duration::from_secs(7 * 86_400);
        let deadline = given
            .deadline
            .map(|_| check.duration("limits.deadline", given.deadline, Duration::ZERO, bounds));
        Self {
            concurrency,
            stops_per_second,
            deadline_ms: deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// These, changed by later ones.
    #[must_use]
    pub fn with(self, later: Self) -> Self {
        Self {
            concurrency: later.concurrency.or(self.concurrency),
            stops_per_second: later.stops_per_second.or(self.stops_per_second),
            deadline_ms: later.deadline_ms.or(self.deadline_ms),
        }
    }

    /// What a window is told.
    #[must_use]
    pub(crate) fn window(self) -> WindowLimits {
        WindowLimits {
            concurrency: self.concurrency.unwrap_or(0),
            stops_per_second: self.stops_per_second.unwrap_or(0),
        }
    }

    /// What holds, as callers see it.
    #[must_use]
    pub(crate) fn in_force(self, spec: &Spec) -> pb::Limits {
        pb::Limits {
            concurrency: Some(signed(self.concurrency.unwrap_or(spec.concurrency))),
            stops_per_second: Some(signed(self.stops_per_second.unwrap_or(0))),
            deadline: Some(duration(self.deadline_ms.unwrap_or(spec.deadline_ms))),
        }
    }
}

fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Reads the limits of one cancellation.
pub(crate) struct LimitsReader {
    pub(crate) canceler: NamespaceClient,
    pub(crate) cancellation_id: String,
}

impl Reader for LimitsReader {
    type Item = Limits;

    async fn read(&mut self) -> Read<Limits> {
        match View::read(&self.canceler, &self.cancellation_id).await {
            Ok(view) if view.ended => Read::Last(view.standing.limits),
            Ok(view) => Read::Now(view.standing.limits),
            // The limits that are known hold until they can be read again.
            Err(error) => {
                tracing::debug!(cancellation_id = self.cancellation_id, %error, "limits not read");
                Read::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_limit_is_told_and_none_at_all_too() {
        let fields = |given: Option<pb::Limits>| {
            let mut check = Checker::new();
            Limits::check(&mut check, given.as_ref());
            let violations = check.finish(()).err().unwrap_or_default();
            violations
                .into_iter()
                .map(|violation| violation.field)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (fields(None), fields(Some(pb::Limits::default()))),
            (vec!["limits".to_owned()], vec!["limits".to_owned()])
        );
        let bad = pb::Limits {
            concurrency: Some(0),
            stops_per_second: Some(-1),
            deadline: Some(duration(4_999)),
        };
        assert_eq!(
            fields(Some(bad)),
            ["limits.concurrency", "limits.stops_per_second", "limits.deadline"]
        );
        let good = pb::Limits {
            concurrency: Some(750),
            stops_per_second: Some(0),
            deadline: None,
        };
        assert_eq!(fields(Some(good)), Vec::<String>::new());
    }

    #[test]
    fn a_later_change_leaves_what_it_does_not_name() {
        let first = Limits {
            concurrency: Some(3),
            deadline_ms: Some(9_000),
            ..Limits::default()
        };
        let both = first.with(Limits {
            concurrency: Some(5),
            stops_per_second: Some(7),
            ..Limits::default()
        });
        assert_eq!(
            (both.concurrency, both.stops_per_second, both.deadline_ms),
            (Some(5), Some(7), Some(9_000))
        );
        let shown = both.in_force(&Spec::default());
        assert_eq!((shown.concurrency, shown.deadline), (Some(5), Some(duration(9_000))));
        assert_eq!(Limits::default().in_force(&Spec::default()).concurrency, Some(750));
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
    }
}
