//! Reports that the edge will never take: the ring does not fill with them, and what is lost is told.

use super::*;

const INVALID_ARGUMENT: u32 = 3;
const FAILED_PRECONDITION: u32 = 9;
const UNAVAILABLE: u32 = 14;

impl Stage {
    /// So many requests that were answered from memory.
    fn answered_from_memory(&mut self, count: usize) {
        let first = self.warm("/v1/x", &allowed("t", "/v1"));
        self.end(first);
        for number in 1..count {
            let (stream, action) = self.start(&format!("/v1/{number}"));
            assert_eq!(action, Action::Continue);
            self.end(stream);
        }
    }

    fn report(&mut self) -> Option<(Called, ReportRequest)> {
        self.later(600);
        self.tick();
        let call = self.called("Report")?;
        let report = ReportRequest::decode(call.message.as_slice()).unwrap();
        Some((call, report))
    }

    fn acknowledge(&mut self, call: &Called, report: &ReportRequest) {
        let answer = ReportResponse {
            epoch: report.epoch.clone(),
            acknowledged: report.accesses.last().map_or(0, |access| access.sequence),
            ..ReportResponse::default()
        };
        self.answer(call, &answer);
    }
}

fn numbers(report: &ReportRequest) -> Vec<u64> {
    report.accesses.iter().map(|it| it.sequence).collect()
}

/// An edge that refuses every report with one of `bad`: what it took, and what it was told as lost.
fn play(stage: &mut Stage, bad: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let (mut taken, mut lost) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let Some((call, report)) = stage.report() else {
            break;
        };
        if numbers(&report).iter().any(|number| bad.contains(number)) {
            stage.vm.on_grpc_close(PLUGIN, call.token, INVALID_ARGUMENT);
            continue;
        }
        for ended in &report.ended {
            assert_eq!(ended.epoch, report.epoch);
            lost.push(ended.last_sequence);
        }
        taken.extend(numbers(&report));
        stage.acknowledge(&call, &report);
    }
    (taken, lost)
}

#[test]
fn the_one_access_that_is_never_taken_is_found_and_told_as_lost() {
    let mut stage = Stage::open();
    stage.answered_from_memory(300);
    let (taken, lost) = play(&mut stage, &[77]);
    let expected: Vec<u64> = (1..=300).filter(|number| *number != 77).collect();
    assert_eq!(taken, expected);
    assert_eq!(lost, [77]);
    let told = stage.host().logged.borrow();
    let told: Vec<_> = told.iter().filter(|line| line.contains("lost")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("1 accesses are lost"), "{told:?}");
}

#[test]
fn the_last_access_is_told_as_lost_although_none_follows() {
    let mut stage = Stage::open();
    stage.answered_from_memory(3);
    assert_eq!(play(&mut stage, &[3]), (vec![1, 2], vec![3]));
    assert!(stage.report().is_none());
}

#[test]
fn an_edge_that_takes_nothing_does_not_fill_the_ring() {
    let mut settings = settings();
    settings["outbound"]["audit"] = json!({"memory_bytes": 65_536});
    let mut stage = Stage::with(&settings, Fake::default());
    stage.answered_from_memory(300);
    let all: Vec<u64> = (1..=300).collect();
    let (taken, _) = play(&mut stage, &all);
    assert!(taken.is_empty());
    // As many again have room.
    for number in 0..300 {
        let (stream, action) = stage.start(&format!("/v1/{number}"));
        assert_eq!(action, Action::Continue, "{number}");
        stage.end(stream);
        stage.later(1);
        if number == 150 {
            play(&mut stage, &(1..=600).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_life_that_the_edge_knows_as_another_one_begins_anew() {
    let mut stage = Stage::open();
    stage.answered_from_memory(3);
    let (call, first) = stage.report().unwrap();
    stage.acknowledge(
        &call,
        &ReportRequest {
            accesses: first.accesses[..1].to_vec(),
            ..first.clone()
        },
    );
    let (call, rest) = stage.report().unwrap();
    assert_eq!(numbers(&rest), [2, 3]);
    stage.host().seed.set(99);
    stage
        .vm
        .on_grpc_close(PLUGIN, call.token, FAILED_PRECONDITION);
    let (call, anew) = stage.report().unwrap();
    assert_ne!(anew.epoch, first.epoch);
    assert_eq!(numbers(&anew), [1, 2]);
    assert_eq!(anew.accesses[0].path, "/v1/1");
    assert!(anew.ended.is_empty(), "nothing of it is lost");
    stage.acknowledge(&call, &anew);
    assert!(stage.report().is_none());
}

#[test]
fn an_edge_that_knows_every_life_as_another_one_gets_no_report_for_ever() {
    let mut stage = Stage::open();
    stage.answered_from_memory(3);
    for _ in 0..4 {
        let (call, report) = stage.report().unwrap();
        assert_eq!(numbers(&report), [1, 2, 3]);
        stage
            .vm
            .on_grpc_close(PLUGIN, call.token, FAILED_PRECONDITION);
    }
    let (_, report) = stage.report().unwrap();
    assert!(report.accesses.is_empty());
    assert_eq!(report.ended[0].last_sequence, 3);
}

#[test]
fn an_edge_that_is_away_loses_nothing() {
    let mut stage = Stage::open();
    stage.answered_from_memory(3);
    for _ in 0..10 {
        let (call, report) = stage.report().unwrap();
        assert_eq!(numbers(&report), [1, 2, 3]);
        stage.vm.on_grpc_close(PLUGIN, call.token, UNAVAILABLE);
    }
}
