use super::*;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn among(headers: &[(&str, &str)]) -> Option<Parent> {
    Parent::among(|name| {
        let of_name = headers.iter().filter(move |(its, _)| *its == name);
        of_name.map(|(_, value)| value.as_bytes())
    })
}

#[test]
fn the_trace_and_the_span_are_read_as_they_were_sent() {
    let parent = among(&[(TRACEPARENT, GOOD)]).unwrap();
    assert_eq!(parent.trace_id[..3], [0x0a, 0xf7, 0x65]);
    assert_eq!(parent.span_id[..3], [0xb7, 0xad, 0x6b]);
    assert!(parent.is_sampled());
    let unsampled = GOOD.replace("-01", "-00");
    assert!(!among(&[(TRACEPARENT, &unsampled)]).unwrap().is_sampled());
    let other_flags = GOOD.replace("-01", "-fe");
    assert!(!among(&[(TRACEPARENT, &other_flags)]).unwrap().is_sampled());
}

#[test]
fn what_is_not_a_trace_context_joins_no_trace() {
    let long = format!("{GOOD}-00");
    let upper = GOOD.to_uppercase();
    for text in [
        "",
        "00",
        GOOD.trim_end_matches('1'),
        &long,
        &upper,
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
        "0--0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333+-01",
    ] {
        assert_eq!(among(&[(TRACEPARENT, text)]), None, "{text}");
    }
    assert_eq!(among(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)]), None);
    assert_eq!(among(&[]), None);
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let later = GOOD.replacen("00", "cc", 1);
    assert!(among(&[(TRACEPARENT, &later)]).is_some());
    let appended = format!("{later}-what-the-future-holds");
    assert!(among(&[(TRACEPARENT, &appended)]).is_some());
    let glued = format!("{later}.what");
    assert!(among(&[(TRACEPARENT, &glued)]).is_none());
}

#[test]
fn the_vendors_list_is_passed_on_unless_it_is_too_long_or_no_text() {
    let state = |values: &[&str]| {
        let states = values.iter().map(|value| (TRACESTATE, *value));
        let headers: Vec<_> = [(TRACEPARENT, GOOD)].into_iter().chain(states).collect();
        among(&headers).unwrap().state
    };
    assert_eq!(state(&["a=1", " b=2 "]), "a=1,b=2");
    assert_eq!(state(&[]), "");
    assert_eq!(state(&["a=1", "b=\u{7}"]), "");
    assert_eq!(state(&[&"a".repeat(513)]), "");
}
