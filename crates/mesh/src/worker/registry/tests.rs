#![expect(dead_code, reason = "the handlers are registered, never called")]

use super::*;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
struct Greeting;

#[workflow_methods]
impl Greeting {
    #[run]
    async fn run(_ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        Ok(name)
    }
}

struct Speaking;

#[activities]
impl Speaking {
    #[activity(name = "say_hello")]
    async fn say_hello(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(name)
    }
    #[activity(name = "say \"bye\"")]
    async fn say_bye(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(name)
    }
}

fn problems(registry: Registry, only: &[String]) -> Vec<String> {
    registry.into_queues(only).map_or_else(|error| error.0, |_| Vec::new())
}

#[test]
fn a_good_registry_gives_its_queues() {
    let registry = Registry::new()
        .queue("q", Home::Main, QueueTuning::default())
        .workflow::<Greeting>("q")
        .activities("q", Speaking)
        .queue("other", Home::Canceler, QueueTuning::default())
        .activities("other", Speaking);
    assert_eq!(registry.homes(), vec![Home::Main, Home::Canceler]);
    let queues = registry.into_queues(&["q".to_owned()]).unwrap();
    assert_eq!(queues.keys().collect::<Vec<_>>(), ["q"]);
    assert_eq!(queues["q"].workflows(), ["Greeting"]);
    assert_eq!(queues["q"].activities(), ["say \"bye\"", "say_hello"]);
}

#[test]
fn every_mistake_is_named_at_once() {
    let found = problems(
        Registry::new()
            .queue("q", Home::Main, QueueTuning::default())
            .queue("q", Home::Canceler, QueueTuning::default())
            .queue("empty", Home::Main, QueueTuning::default())
            .workflow::<Greeting>("q")
            .workflow::<Greeting>("q")
            .workflow::<Greeting>("nowhere")
            .activities("q", Speaking)
            .activities("q", Speaking)
            .activities("nowhere", Speaking),
        &["typo".to_owned()],
    );
    for expected in [
        "queue \"q\" is declared twice",
        "workflow \"Greeting\" is declared twice on queue \"q\"",
        "workflow \"Greeting\" is on queue \"nowhere\", which is not declared",
        "activity \"say_hello\" is declared twice on queue \"q\"",
        "activity \"say_hello\" is on queue \"nowhere\", which is not declared",
        "queue \"empty\" has no workflow and no activity",
        "there is no queue \"typo\"; known queues: \"empty\", \"q\"",
    ] {
        assert!(
            found.iter().any(|problem| problem == expected),
            "{expected} not in {found:#?}"
        );
    }
}

#[test]
fn the_same_handler_may_serve_two_queues() {
    let registry = Registry::new()
        .queue("a", Home::Main, QueueTuning::default())
        .queue("b", Home::Main, QueueTuning::default())
        .activities("a", Speaking)
        .activities("b", Speaking);
    assert_eq!(problems(registry, &[]), Vec::<String>::new());
}

#[test]
fn what_is_used_counts_as_needed() {
    let registry = Registry::new()
        .queue("a", Home::Canceler, QueueTuning::default())
        .activities("a", Speaking)
        .uses(Home::Main);
    assert_eq!(registry.homes(), vec![Home::Main, Home::Canceler]);
}
