use super::*;

#[test]
fn a_ratio_is_the_median_of_the_ratios_of_each_round() {
    let mut samples = Samples::default();
    // The machine was busy in the second round: both took twice as long.
    for (ours, floor) in [(12.0, 10.0), (24.0, 20.0), (13.0, 10.0)] {
        samples.note(("check", "empty", None), Metric::Cpu, floor);
        samples.note(("check", "attache-10", Some("empty")), Metric::Cpu, ours);
    }
    let figures = samples.figures();
    let [empty, ours] = figures.as_slice() else {
        panic!("{figures:?}");
    };
    assert_eq!((empty.ratio, empty.floor.as_deref()), (None, None));
    assert_eq!((ours.value, ours.ratio), (13.0, Some(1.2)));
    assert_eq!(ours.floor.as_deref(), Some("empty"));
    assert_eq!(ours.rounds, 3);
}

#[test]
fn results_are_a_list_of_objects_with_every_field() {
    let mut samples = Samples::default();
    samples.note(("memory", "idle", None), Metric::Rss, 10.0);
    let json = serde_json::to_value(samples.figures()).unwrap();
    let expected = serde_json::json!([{
        "group": "memory", "variant": "idle", "metric": "rss", "value": 10.0, "unit": "MiB",
        "floor": null, "ratio": null, "rounds": 1, "spread": 0.0,
    }]);
    assert_eq!(json, expected);
}
