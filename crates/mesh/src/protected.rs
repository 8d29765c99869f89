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

/// By what an execution may be protected, as Describe tells it. Empty is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its workflow type.
    pub workflow_type: String,
    /// Its value of `WorkloadId`, which is a Keyword; of a list the first one.
    pub workload_id: String,
    /// Its task queue.
    pub task_queue: String,
}

/// A search attribute, its values that are protected, and an execution's own.
type Attribute<'a> = (&'static str, &'a [String], fn(&Marks) -> &String);

impl Protected {
    fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        let all: [Attribute<'_>; 3] = [
            ("WorkflowType", &self.types, |marks| &marks.workflow_type),
            ("WorkloadId", &self.workloads, |marks| &marks.workload_id),
            ("TaskQueue", &self.queues, |marks| &marks.task_queue),
        ];
        all.into_iter().filter(|(_, values, _)| !values.is_empty())
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
        let (mut held, mut left_out) = (Vec::new(), Vec::new());
        for (attribute, values, _) in self.attributes() {
            match count(one_of(attribute, values)).await {
                Ok(counted) => held.push((attribute, counted)),
                // The target was counted before: what the namespace does not know is the attribute, and then nothing has it.
                Err(Error::InvalidArgument(_)) => continue,
                Err(error) => return Err(error),
            }
            left_out.push(none_of(attribute, values));
        }
        refuse(field, held)?;
        left_out.retain(|condition| !condition.is_empty());
        Ok(left_out)
    }

    /// The same for executions that are known one by one.
    ///
    /// # Errors
    /// [`Reason::ProtectedTarget`] under the name of the field.
    pub fn guard_each(&self, field: &str, executions: &[Marks]) -> Result<(), Error> {
        let held = self.attributes().map(|(attribute, values, of)| {
            let held = executions.iter().filter(|marks| values.contains(of(marks)));
            (attribute, held.count() as u64)
        });
        refuse(field, held)
    }
}

/// Refuses what holds something protected, by attribute.
fn refuse(field: &str, held: impl IntoIterator<Item = (&'static str, u64)>) -> Result<(), Error> {
    let violation = |(attribute, held): (&str, u64)| {
        let text = format!("holds {held} executions whose {attribute} is protected");
        (Reason::ProtectedTarget.as_str().to_owned(), field.to_owned(), text)
    };
    let violations: Vec<_> = held.into_iter().filter(|(_, held)| *held > 0).map(violation).collect();
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::FailedPrecondition {
        reason: Reason::ProtectedTarget,
        violations,
    })
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

    #[test]
    fn executions_that_are_known_are_held_against_it_one_by_one() {
        let of = |kind: &str, workload: &str| Marks {
            workflow_type: kind.to_owned(),
            workload_id: workload.to_owned(),
            task_queue: String::new(),
        };
        let free = [of("Sleeper", "2"), of("payments", ""), Marks::default()];
        protected().guard_each("executions", &free).unwrap();
        Protected::default()
            .guard_each("executions", &[of("Payments", "1")])
            .unwrap();
        let held = [of("Payments", "1"), of("it's \"", ""), of("Sleeper", "2")];
        let refused = protected().guard_each("executions", &held).unwrap_err().to_string();
        for told in ["2 executions whose WorkflowType", "1 executions whose WorkloadId"] {
            assert!(refused.contains(told), "{refused}");
        }
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
