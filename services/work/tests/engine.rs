//! docs/engine.md shows code that compiles: what it calls `services/work/src/greeting.rs` is `tests/engine/greeting.rs` here, word for word, and
//! is used as the page uses it.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test says what is wrong by failing; the page's code is shown as it would stand in a crate"
)]

#[path = "engine/greeting.rs"]
mod greeting;

use greeting::{GreetingActivities, GreetingInput, GreetingWorkflow, QUEUE};
use quell_mesh::{Error, Home, Limits, Mesh, QueueTuning, Registry};

#[test]
fn the_page_shows_this_code() {
    let page = include_str!("../../../docs/engine.md");
    let shown = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(include_str!("engine/greeting.rs")));
}

#[test]
fn it_is_declared_as_the_page_says() {
    let registry = Registry::new()
        .queue(QUEUE, Home::Main, QueueTuning::default())
        .workflow::<GreetingWorkflow>(QUEUE)
        .activities(QUEUE, GreetingActivities);
    let shown = format!("{registry:?}");
    for declared in ["greetings", "GreetingWorkflow", "greet"] {
        assert!(shown.contains(&format!("{declared:?}")), "{shown}");
    }
}

/// What is left out of the input is the default; and what a service sends is read.
#[test]
fn its_limits_may_be_left_out() {
    let input: GreetingInput = serde_json::from_str(r#"{"name":"Ada"}"#).unwrap();
    assert_eq!(input.limits, Limits::default());
    let again: GreetingInput = serde_json::from_str(&serde_json::to_string(&input).unwrap()).unwrap();
    assert_eq!(again.limits, input.limits);
}

/// The typed calls of the page: that this compiles is the test.
async fn started_and_executed(mesh: &Mesh) -> Result<String, Error> {
    let input = GreetingInput {
        name: "Ada".to_owned(),
        limits: Limits::of(&mesh.settings),
    };
    let handle = mesh
        .start(GreetingWorkflow::run, QUEUE, "greeting-1", input.clone())
        .await?;
    handle
        .signal(GreetingWorkflow::cancel, "enough".to_owned(), Default::default())
        .await?;
    mesh.execute(GreetingWorkflow::run, QUEUE, "greeting-2", input).await
}
