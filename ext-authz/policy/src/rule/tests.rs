use super::*;

/// A rule that says nothing, with these names.
pub(crate) fn named(names: &str) -> Rule {
    let terms = Terms {
        effect: Effect::Deny,
        mode: PolicyMode::Enforce,
        tls: TlsRule::Required,
        accepts: Accepts::Anyone,
        conditions: Box::default(),
        credential: None,
        placements: Arc::default(),
        actions: Box::default(),
    };
    Rule::new(Arc::new(terms), names.to_owned())
}

#[test]
fn names_are_told_as_they_were_given_also_where_they_do_not_stand_in_the_rule() {
    for length in [1, 40, 48, 49, 50, 253] {
        let (policy, matched) = ("p".repeat(length), "m".repeat(length));
        let rule = named(&format!("{policy}\nother\n{matched}"));
        assert_eq!(rule.policy(), policy);
        assert_eq!(rule.matched(0), "other");
        assert_eq!(rule.matched(1), matched);
        assert_eq!(rule.matched(2), "");
    }
}
