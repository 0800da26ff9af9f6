//! SPIFFE IDs: the parser accepts what the grammar of SPIFFE-ID §2 says, written a second time as a
//! regular expression, and nothing else.

use std::sync::LazyLock;

use attache_core::spiffe_id::{SpiffeId, TrustDomain};
use regex::Regex;

static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\A(?s-u:spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*))\z").expect("a regex")
});

/// The input as a SPIFFE ID.
pub fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let dots = |path: &str| {
        path.split('/')
            .any(|segment| segment == "." || segment == "..")
    };
    let captured = GRAMMAR
        .captures(text)
        .filter(|all| text.len() <= 2048 && !dots(&all[2]));
    let parsed = SpiffeId::parse(text);
    assert_eq!(parsed.is_ok(), captured.is_some(), "{text:?}: {parsed:?}");
    let (Ok(id), Some(captured)) = (parsed, captured) else {
        return;
    };
    assert_eq!(id.as_str(), text);
    assert_eq!(id.to_string(), text);
    assert_eq!((id.trust_domain(), id.path()), (&captured[1], &captured[2]));
    let domain = TrustDomain::parse(id.trust_domain()).expect("its trust domain");
    let segments = id.path().split('/').skip(1);
    assert_eq!(SpiffeId::of(&domain, segments).as_ref(), Ok(&id));
}
