//! What nobody may stop, by configuration: held against a target before anything is done to it.

use crate::{
    error::{Error, Reason},
    visibility::{none_of, one_of},
};

/// What is protected; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protected {
    /// Workflow types.
    pub types: Vec<String>,
    /// Values of `WorkloadId`.
    pub workloads: Vec<String>,
    /// Task queues.
    pub queues: Vec<String>,
}

impl Protected {
    fn attributes(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("WorkflowType", self.types.as_slice()),
            ("WorkloadId", &self.workloads),
            ("TaskQueue", &self.queues),
        ]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
    }

    /// Whether nothing is protected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes().next().is_none()
    }

    /// Refuses a target that holds what is protected: all that is found, at once. `count` counts what is in the target, which was counted
    /// before, and meets a further condition. Gives the conditions that leave out what is protected and comes later.
    ///
    /// # Errors
    /// [`Reason::ProtectedTarget`] under the name of the field; what `count` fails with.
    pub async fn guard<Counted>(&self, field: &str, count: impl Fn(String) -> Counted) -> Result<Vec<String>, Error>
    where
        Counted: Future<Output = Result<u64, Error>>,
    {
        let (mut violations, mut left_out) = (Vec::new(), Vec::new());
        for (attribute, values) in self.attributes() {
            let held = match count(one_of(attribute, values)).await {
                Ok(held) => held,
                // The target was counted before: what the namespace does not know is the attribute, and then nothing has it.
                Err(Error::InvalidArgument(_)) => continue,
                Err(error) => return Err(error),
            };
            if held > 0 {
                violations.push((
                    Reason::ProtectedTarget.as_str().to_owned(),
                    field.to_owned(),
                    format!("holds {held} executions whose {attribute} is protected"),
                ));
            }
            left_out.push(none_of(attribute, values));
        }
        if violations.is_empty() {
            left_out.retain(|condition| !condition.is_empty());
            return Ok(left_out);
        }
        Err(Error::FailedPrecondition {
            reason: Reason::ProtectedTarget,
            violations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protected() -> Protected {
        Protected {
            types: vec!["Payments".to_owned(), "it's \"".to_owned()],
            workloads: vec!["1".to_owned()],
            queues: Vec::new(),
        }
    }

    #[tokio::test]
    async fn all_that_is_held_is_told_at_once() {
        let refused = protected().guard("target", async |_: String| Ok(3)).await.unwrap_err();
        let Error::FailedPrecondition { reason, violations } = refused else {
            panic!("{refused}");
        };
        assert_eq!(reason, Reason::ProtectedTarget);
        let told: Vec<_> = violations
            .iter()
            .map(|(_, field, text)| (field.as_str(), text.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("target", "holds 3 executions whose WorkflowType is protected"),
                ("target", "holds 3 executions whose WorkloadId is protected")
            ]
        );
    }

    #[tokio::test]
    async fn what_comes_later_is_left_out_as_far_as_the_namespace_knows_the_attribute() {
        let knows = async |condition: String| match condition.starts_with("WorkloadId") {
            true => Err(Error::invalid("", "no such attribute")),
            false => Ok(0),
        };
        assert_eq!(
            protected().guard("target", knows).await.unwrap(),
            ["(WorkflowType IS NULL OR WorkflowType NOT IN (\"Payments\"))"]
        );
        let away = async |_: String| Err(Error::unavailable(Reason::TemporalUnreachable, "gone"));
        assert!(protected().guard("target", away).await.is_err());
        assert!(Protected::default().guard("target", away).await.unwrap().is_empty());
        assert!(Protected::default().is_empty() && !protected().is_empty());
    }
}
