use super::*;

fn measured(shape: Shape, contender: &str, seconds: f64, rate: f64) -> Measurement {
    Measurement {
        shape: Some(shape),
        size: 100,
        contender: contender.to_owned(),
        seconds: Some(seconds),
        rate: Some(rate),
        rate_after_2s: Some(rate * 2.0),
        alive_at_done: Some(0),
        verdict: (contender == "quell").then_some("CLEAN"),
        ..Measurement::default()
    }
}

fn find<'a>(summaries: &'a [Summary], contender: &str) -> &'a Summary {
    summaries.iter().find(|summary| summary.contender == contender).unwrap()
}

#[test]
fn the_best_rung_is_that_of_the_best_median_not_of_the_best_round() {
    let flat = |contender, rate| measured(Shape::Flat, contender, 100.0 / rate, rate);
    let rounds = [
        flat("raw@4", 100.0),
        flat("raw@16", 300.0),
        flat("quell", 108.0),
        flat("raw@4", 120.0),
        flat("raw@16", 80.0),
        flat("quell", 90.0),
        flat("raw@4", 130.0),
        flat("raw@16", 90.0),
        flat("quell", 120.0),
    ];
    let summaries = summaries(&rounds);
    assert_eq!(summaries.len(), 3);
    let quell = find(&summaries, "quell");
    assert_eq!((quell.runs, quell.zeros), (3, 3));
    assert_eq!(quell.verdicts, BTreeMap::from([("CLEAN", 3)]));
    // 108 of raw@4's 120.
    assert_eq!(quell.ratios["raw_best"].rate, Some(0.9));
    assert_eq!(quell.ratios["raw_best"].rate_after_2s, Some(0.9));
    assert_eq!(find(&summaries, "raw@4").ratios["raw_best"].rate, Some(1.0));
    let table = table(&summaries).join("\n");
    assert!(table.contains("raw@4 (raw best)"), "{table}");
    assert!(table.contains("3 CLEAN"), "{table}");
}

#[test]
fn a_tree_is_compared_with_the_root_alone_and_the_batch() {
    let mut batch = measured(Shape::Tree, "batch", 0.0, 50.0);
    (batch.seconds, batch.alive_at_done) = (None, Some(40));
    let rounds = [
        batch,
        measured(Shape::Tree, "root", 10.0, 500.0),
        measured(Shape::Tree, "quell", 11.0, 400.0),
    ];
    let summaries = summaries(&rounds);
    let quell = find(&summaries, "quell");
    assert_eq!(quell.ratios["root"].seconds, Some(1.1));
    assert_eq!(quell.ratios["batch"].rate, Some(8.0));
    assert_eq!(quell.ratios["batch"].seconds, None, "the batch never came to a zero");
    let lines = table(&summaries);
    let batch = lines.iter().find(|line| line.starts_with("batch")).unwrap();
    assert!(batch.contains("0 of 1") && batch.contains("40"), "{batch}");
}

#[test]
fn shapes_and_sizes_are_not_mixed() {
    let mut large = measured(Shape::Flat, "quell", 1.0, 10.0);
    large.size = 200;
    let rounds = [
        measured(Shape::Flat, "batch", 2.0, 20.0),
        large,
        measured(Shape::Tree, "quell", 3.0, 30.0),
    ];
    let summaries = summaries(&rounds);
    assert_eq!(summaries.len(), 3);
    assert!(summaries[1].ratios.is_empty() && summaries[2].ratios.is_empty());
    let titles = table(&summaries)
        .iter()
        .filter(|line| line.contains("workflows"))
        .count();
    assert_eq!(titles, 3);
}

#[test]
fn what_broke_off_counts_for_nothing_but_is_told() {
    let mut broken = measured(Shape::Flat, "quell", 1.0, 1e6);
    broken.error = Some("unreachable".to_owned());
    let summaries = summaries(&[broken, measured(Shape::Flat, "quell", 2.0, 50.0)]);
    assert_eq!((summaries[0].runs, summaries[0].errors), (1, 1));
    assert_eq!(summaries[0].rate.unwrap().max, 50.0);
    assert!(table(&summaries).join("\n").contains("1 broke off"));
    assert!(super::summaries(&[]).is_empty() && table(&[]).is_empty());
}

#[test]
fn columns_stand_below_each_other() {
    let rows = [
        vec!["".to_owned(), "ab".to_owned()],
        vec!["name".to_owned(), "c".to_owned()],
    ];
    assert_eq!(aligned(&rows), ["      ab", "name   c"]);
}
