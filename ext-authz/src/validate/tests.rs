use super::wants_colour;

#[test]
fn colour_is_unwanted_with_no_color_and_on_a_dumb_terminal() {
    let wants = |set: &[(&str, &str)]| {
        wants_colour(|name| {
            let value = set.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| value.into())
        })
    };
    assert!(wants(&[]));
    assert!(wants(&[("NO_COLOR", ""), ("TERM", "xterm")]));
    assert!(!wants(&[("NO_COLOR", "1")]));
    assert!(!wants(&[("NO_COLOR", "0"), ("TERM", "xterm")]));
    assert!(!wants(&[("TERM", "dumb")]));
}
