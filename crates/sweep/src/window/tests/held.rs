//! What a window holds is bounded, whatever the server does.

use super::*;

#[test]
fn what_waits_for_another_try_is_held_and_no_page_is_asked_for_meanwhile() {
    let mut window = window(100);
    window.spec.settings.buffer_rows = 2;
    list(&mut window, vec![row("a", 2), row("b", 1)], Some(PageToken(vec![1])));
    for _ in 0..2 {
        let (slot, _) = stop(&mut window, 0);
        window.on_stop(0, slot, StopReply::Error(transient()), 1_000);
    }
    assert!(window.buffer.is_empty());
    assert_eq!(
        step(&mut window, 0),
        Step::Wait { until_ms: Some(100) },
        "both wait for another try"
    );
    let (slot, _) = stop(&mut window, 100);
    window.on_stop(100, slot, StopReply::Stopped, 1_000);
    assert!(
        matches!(step(&mut window, 100), Step::List { .. }),
        "there is room for a page"
    );
}
