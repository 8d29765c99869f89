//! Each guard from outside: by the real `grpcurl`, in JSON. When one refuses, nothing at all is stopped, and no cancellation is there.

use crate::{
    cancel::{Canceler, check_clean_receipt, eventual_receipt, shown_as_running},
    harness::{Mesh, Own, mesh, unique},
    outside::{json, start_one},
};
use quell_cli::dev::Part;
use serde_json::{Value, json};

/// A canceler of the test's own, which protects a type.
struct Scene {
    mesh: Mesh,
    canceler: Own,
    /// 20 open executions.
    many: String,
    /// One, of the protected type.
    protected: String,
}

impl Scene {
    async fn set() -> Self {
        let mesh = mesh().await;
        let (many, protected) = (unique("outside"), unique("outside-protected"));
        let (queue, kind) = (format!("{many}-queue"), format!("{many}-Payments"));
        let settings = [
            ("TEMPORAL_CANCELER_TASK_QUEUE", queue.as_str()),
            ("QUELL_PROTECTED_TYPES", &kind),
        ];
        let canceler = mesh.own(Part::Canceler, &many, &settings).await;
        mesh.start_many("Sleeper", &many, 20).await;
        let plain = mesh.plain_client().await;
        let started = start_one(&plain, &kind, format!("{protected}-1"), &protected).await;
        started.expect("Temporal starts it");
        mesh.indexed(&many, 20).await;
        mesh.indexed(&protected, 1).await;
        Self {
            mesh,
            canceler,
            many,
            protected,
        }
    }

    async fn call(&self, rpc: &str, request: &Value) -> Result<Value, String> {
        let rpc = format!("quell.canceler.v1.CancellationService/{rpc}");
        let request = request.to_string();
        let ran = self
            .mesh
            .grpcurl_at(&self.canceler.address, &["-d", &request], &[&rpc])
            .await;
        match ran.code {
            0 => Ok(json(&ran.out)),
            _ => Err(ran.err),
        }
    }

    /// A cancellation of that workload is refused, in these words.
    async fn refused(&self, workload: &str, (spec, request): (Value, Value), words: &[&str]) {
        let mut whole = json!({ "spec": { "target": { "workloadId": workload }, "reason": "a test" } });
        merge(&mut whole["spec"], &spec);
        merge(&mut whole, &request);
        for validate_only in [true, false] {
            whole["validateOnly"] = validate_only.into();
            let refused = self.call("StartCancellation", &whole).await;
            let told = refused.expect_err(&format!("{whole} must be refused"));
            for word in words {
                assert!(told.contains(word), "{whole}: no {word} in {told}");
            }
        }
    }

    async fn token(&self, mode: &str) -> Value {
        let request = json!({ "target": { "workloadId": self.many }, "mode": mode });
        let preview = self.call("PreviewCancellation", &request).await.expect("a preview");
        assert_eq!(preview["open"], "20", "{preview}");
        preview["confirmationToken"].clone()
    }
}

/// Puts the fields of one object into another; null takes one away.
fn merge(into: &mut Value, fields: &Value) {
    let into = into.as_object_mut().expect("an object");
    for (name, value) in fields.as_object().expect("an object").clone() {
        match value {
            Value::Null => into.remove(&name),
            value => into.insert(name, value),
        };
    }
}

#[tokio::test]
async fn each_guard_refuses_by_grpcurl_and_nothing_at_all_is_stopped() {
    let scene = Scene::set().await;
    let none = || json!({});
    let query = |text: &str| json!({ "target": { "query": text } });
    let violations = [
        (json!({ "target": null }), "spec.target"),
        (json!({ "reason": null }), "spec.reason"),
        (query(" "), "spec.target.query"),
        (query("WorkflowType = 'A' OR"), "spec.target.query"),
        (query("TemporalNamespaceDivision = 'x'"), "spec.target.query"),
        (json!({ "namespaces": ["elsewhere"] }), "spec.namespaces[0]"),
        (json!({ "maxAffected": -1 }), "spec.max_affected"),
    ];
    for (spec, field) in violations {
        scene
            .refused(&scene.many, (spec, none()), &["InvalidArgument", field])
            .await;
    }

    let few = || json!({ "maxAffected": 5 });
    scene
        .refused(
            &scene.many,
            (few(), none()),
            &["FailedPrecondition", "MAX_AFFECTED_EXCEEDED"],
        )
        .await;
    let token = scene.token("MODE_TERMINATE").await;
    for wrong in [json!("nonsense"), scene.token("MODE_CANCEL").await] {
        let with = json!({ "confirmationToken": wrong });
        scene
            .refused(&scene.many, (few(), with), &["CONFIRMATION_TOKEN_MISMATCH"])
            .await;
    }
    let both = json!({ "confirmationToken": token, "requestId": scene.many });
    scene
        .refused(&scene.many, (few(), both), &["InvalidArgument", "request_id"])
        .await;
    scene
        .refused(
            &scene.protected,
            (none(), none()),
            &["PROTECTED_TARGET", "WorkflowType"],
        )
        .await;

    // While one is at the target, no other is; and its request id is its own.
    let first = unique("outside-first");
    let start = json!({
        "spec": { "target": { "workloadId": first }, "reason": "a test", "looks": 20, "confirmPoll": "10s" },
        "requestId": first,
    });
    let started = scene.call("StartCancellation", &start).await.expect("it starts");
    assert_eq!(started["cancellationId"], first.as_str());
    let mut client = Canceler::new(scene.canceler.channel());
    shown_as_running(&mut client, &first, &first).await;
    scene
        .refused(&first, (none(), none()), &["CANCELLATION_RUNNING", &first])
        .await;
    let reused = json!({ "requestId": first });
    scene
        .refused(&scene.many, (none(), reused), &["REQUEST_ID_REUSED"])
        .await;
    let stop = json!({ "cancellationId": first, "reason": "enough" });
    scene.call("StopCancellation", &stop).await.expect("it is told to stop");

    assert_eq!(scene.mesh.running(&scene.many).await, 20);
    assert_eq!(scene.mesh.running(&scene.protected).await, 1);
    let listed = scene.call("ListCancellations", &json!({ "pageSize": 100 })).await;
    let listed = listed.expect("a list").to_string();
    assert!(listed.contains(&first) && !listed.contains(&scene.many), "{listed}");

    // Whoever has seen the count may.
    let seen = json!({
        "spec": { "target": { "workloadId": scene.many }, "reason": "a test", "maxAffected": 5 },
        "confirmationToken": token,
    });
    let started = scene.call("StartCancellation", &seen).await.expect("it starts");
    let receipt = eventual_receipt(&mut client, started["cancellationId"].as_str().expect("an id")).await;
    check_clean_receipt(&receipt);
    assert_eq!(receipt.stopped, 20, "{receipt:#?}");
    assert_eq!(scene.mesh.running(&scene.protected).await, 1);
}
