use super::*;

#[test]
fn counters_and_infos_are_named_whole_and_units_are_gone() {
    let text = "\
# HELP a_calls Calls that were answered.
# TYPE a_calls counter
a_calls_total{code=\"# TYPE x\"} 2
# HELP a_build The program.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_size_bytes What it takes.
# TYPE a_size_bytes gauge
# UNIT a_size_bytes bytes
a_size_bytes 7
# EOF
";
    let expected = "\
# HELP a_calls_total Calls that were answered.
# TYPE a_calls_total counter
a_calls_total{code=\"# TYPE x\"} 2
# HELP a_build_info The program.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_size_bytes What it takes.
# TYPE a_size_bytes gauge
a_size_bytes 7
";
    assert_eq!(from_open_metrics(text), expected);
}
