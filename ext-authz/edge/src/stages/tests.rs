use super::*;

#[tokio::test(start_paused = true)]
async fn a_stage_ends_where_the_next_one_begins_and_may_come_again() {
    let began = Instant::now();
    let at = |millis| began + Duration::from_millis(millis);
    let mut stages = Stages::default();
    stages.enter(Stage::Evidence, at(0));
    stages.enter(Stage::Decide, at(3));
    stages.enter(Stage::Evidence, at(4));
    stages.enter(Stage::Audit, at(9));
    stages.end(at(10));
    stages.end(at(50));
    let passed: Vec<_> = stages
        .passed()
        .iter()
        .map(|passed| (passed.stage.name(), passed.took.as_millis()))
        .collect();
    let expected = [
        ("evidence", 3),
        ("decide", 1),
        ("evidence", 5),
        ("audit", 1),
    ];
    assert_eq!(passed, expected);
}
