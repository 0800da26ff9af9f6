use attache_core::request::PathPrefix;
use proptest::{prelude::*, sample::select};

use super::narrowed;

fn prefixes() -> impl Strategy<Value = Vec<PathPrefix>> {
    let paths = [
        "/", "/v", "/v1", "/v1-x", "/v1/x", "/v1/x/y", "/v1.x", "/v10", "/v1/", "/w/x", "/w",
    ];
    let prefix = select(paths.to_vec()).prop_map(|path| PathPrefix::parse(path).expect("a prefix"));
    prop::collection::vec(prefix, 1..8)
}

proptest! {
    #[test]
    fn what_both_reach_is_the_longer_of_two_prefixes(paths in prefixes(), mut served in prefixes()) {
        served.sort();
        served.dedup();
        for path in &paths {
            let mut expected: Vec<PathPrefix> = Vec::new();
            for other in &served {
                if path.encloses(other) {
                    expected.push(other.clone());
                } else if other.encloses(path) {
                    expected.push(path.clone());
                }
            }
            let mut found: Vec<PathPrefix> = narrowed(path, &served).collect();
            for all in [&mut expected, &mut found] {
                all.sort();
                all.dedup();
            }
            prop_assert_eq!(expected, found, "{:?} of {:?}", path, &served);
        }
    }
}
