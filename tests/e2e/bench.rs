//! `quell bench` on the shared mesh: everything that it measures, once and small. How fast anything was is nobody's business here.

use crate::{
    command::{last_line, prepared},
    harness::{batch_slot, mesh},
    outside::run_within,
    poll::LONG,
};
use serde_json::Value;

const SIZE: u64 = 60;

fn names(measurements: &[Value]) -> Vec<String> {
    let name = |measurement: &Value| format!("{} {}", measurement["shape"], measurement["contender"]).replace('"', "");
    measurements.iter().map(name).collect()
}

#[tokio::test]
async fn a_bench_measures_all_contenders_and_leaves_nothing_behind() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let address = mesh.temporal_address();
    let mut command = prepared(
        &mesh,
        &[
            "bench",
            "--json",
            "--sizes",
            &SIZE.to_string(),
            "--rounds",
            "1",
            "--ladder",
            "4,16",
            // The tests share the server's few listings a second: the observer may have to wait for an answer.
            "--settle",
            "5s",
            "--temporal-address",
            &address,
        ],
    );
    let ran = run_within(2 * LONG, &mut command).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out.lines().count(), 1, "only the JSON is for programs: {}", ran.out);

    let result = last_line(&ran);
    assert_eq!(result["complete"], true, "{result}");
    assert_eq!(result["conditions"]["mesh"], "existing");
    assert!(result["conditions"]["server"]["version"].is_string(), "{result}");
    let measurements = result["measurements"].as_array().expect("a list");
    let expected = [
        "flat raw@4",
        "flat raw@16",
        "flat batch",
        "flat loop@200",
        "flat quell",
        "tree batch",
        "tree loop@200",
        "tree root",
        "tree quell",
    ];
    assert_eq!(names(measurements), expected);
    for measurement in measurements {
        assert_eq!(measurement["error"], Value::Null, "{measurement}");
        let number = |field: &str| {
            measurement[field]
                .as_u64()
                .unwrap_or_else(|| panic!("{field}: {measurement}"))
        };
        assert!(number("open_at_start") >= SIZE, "{measurement}");
        assert!(number("closed") > 0, "{measurement}");
        assert!(measurement["rate"].as_f64() > Some(0.0), "{measurement}");
        if measurement["contender"] == "quell" {
            assert_eq!(measurement["verdict"], "CLEAN", "{measurement}");
            assert_eq!(number("alive_at_done"), 0, "{measurement}");
            assert!(number("closed") >= SIZE, "{measurement}");
        }
        // By Temporal's own command line: whatever a contender left, the bench has removed.
        let workload_id = measurement["workload_id"].as_str().expect("a name");
        assert_eq!(mesh.running(workload_id).await, 0, "{measurement}");
        let gate = mesh.status("main", &format!("quell/gate/{workload_id}")).await;
        assert_ne!(gate.as_deref(), Some("RUNNING"), "{measurement}");
    }
    let summaries = result["summaries"].as_array().expect("a list");
    assert_eq!(summaries.len(), measurements.len());
    assert!(summaries[4]["ratios"]["raw_best"]["rate"].is_number(), "{summaries:?}");
    assert!(summaries[8]["ratios"]["batch"]["rate"].is_number(), "{summaries:?}");
}
