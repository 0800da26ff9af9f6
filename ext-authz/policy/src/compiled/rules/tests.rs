use super::*;
use crate::rule::tests::named;

fn names<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<&'r str> {
    rules.into_iter().map(Rule::policy).collect()
}

#[test]
fn a_client_has_its_own_rules_and_one_without_any_has_none_of_its_neighbours() {
    let rules = [
        (3, 1, "late"),
        (1, 2, "far"),
        (1, 0, "near"),
        (1, 2, "further"),
    ];
    let rules =
        rules.map(|(client, target, name)| (ClientId(client), TargetId(target), named(name)));
    let begins = Begins::count(rules.iter().map(|(client, ..)| *client), 5);
    let index = RuleIndex::build(rules.into(), begins.clone());

    let of = |client, target| {
        let by_client = index.of(ClientId(client), TargetId(target));
        let by_begin = index.from(begins.of(ClientId(client)), TargetId(target));
        let told = names(by_client.iter().map(|bound| &bound.rule));
        assert_eq!(told, names(by_begin.iter().map(|bound| &bound.rule)));
        told
    };
    assert_eq!(of(1, 0), ["near"]);
    assert!(of(1, 1).is_empty());
    assert_eq!(of(1, 2), ["far", "further"]);
    assert_eq!(of(3, 1), ["late"]);
    // The first, one between two that have rules, the last, and one that the set does not have.
    for client in [0, 2, 4, 5, u32::MAX] {
        assert!((0..4).all(|target| of(client, target).is_empty()));
    }
    let all = index.iter().map(|(client, target, _)| (client.0, target.0));
    assert!(all.eq([(1, 0), (1, 2), (1, 2), (3, 1)]));
    let all = names(index.iter().map(|(.., rule)| rule));
    assert_eq!(all, ["near", "far", "further", "late"]);
}
