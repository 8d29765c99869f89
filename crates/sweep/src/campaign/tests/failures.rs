//! Failures are named once.

use super::*;
use crate::window::Failure;

#[test]
fn what_two_windows_of_a_pass_met_is_named_once_and_the_next_pass_names_anew() {
    let mut campaign = fenced(CampaignSpec::default());
    let failing = |run_ids: &[&str]| {
        let failure = |run_id: &&str| Failure {
            workflow_id: "w".to_owned(),
            run_id: (*run_id).to_owned(),
            reason: "denied".to_owned(),
        };
        Reply::WindowDone(WindowResult {
            failures: run_ids.iter().map(failure).collect(),
            complete: true,
            ..WindowResult::default()
        })
    };
    campaign.begin_pass(PassKind::Open);
    for run_ids in [&["a"][..], &["b"][..], &["a", "b", "c"][..]] {
        let Reply::WindowDone(result) = failing(run_ids) else {
            continue;
        };
        let number = campaign.pass_count;
        campaign.on_window(number, result);
    }
    let named: Vec<&str> = campaign.failures.iter().map(|failure| &*failure.run_id).collect();
    assert_eq!(named, ["a", "b", "c"]);
    campaign.begin_pass(PassKind::Open);
    assert_eq!(campaign.failures, []);
}
