use alloc::{string::ToString as _, vec};

use super::*;

fn token(text: &str) -> Evidence {
    Evidence::Token(Secret::new(text.to_string()))
}

#[test]
fn one_piece_is_itself_and_none_or_too_many_are_nothing() {
    let together = |pieces| Evidence::together(pieces, Agreement::OneWorkload);
    assert!(together(vec![]).is_none());
    assert!(together(vec![token("a")]) == Some(token("a")));
    assert!(together(vec![token("a"); MAX_PIECES]).is_some());
    assert!(together(vec![token("a"); MAX_PIECES + 1]).is_none());
}

#[test]
fn pieces_never_hold_pieces() {
    let two = Evidence::together(vec![token("a"), token("b")], Agreement::OneWorkload).unwrap();
    let three = Evidence::together(vec![two, token("c")], Agreement::NamedByPolicy).unwrap();
    let Evidence::Several(three) = three else {
        panic!("one piece")
    };
    assert!(three.pieces() == [token("a"), token("b"), token("c")]);
    assert_eq!(three.agreement(), Agreement::NamedByPolicy);
}

#[test]
fn evidence_is_the_same_only_as_a_whole() {
    let chain = CertificateChain::new(vec![vec![1], vec![2]]).unwrap();
    let leaf = CertificateChain::new(vec![vec![1]]).unwrap();
    let certificate = Evidence::Certificate;
    assert!(certificate(chain.clone()) == certificate(chain.clone()));
    assert!(certificate(chain.clone()) != certificate(leaf));
    assert!(token("a") != token("ab"));
    let both =
        |agreement| Evidence::together(vec![token("a"), certificate(chain.clone())], agreement);
    assert!(both(Agreement::OneWorkload) == both(Agreement::OneWorkload));
    assert!(both(Agreement::OneWorkload) != both(Agreement::NamedByPolicy));
    assert!(both(Agreement::OneWorkload) != Some(token("a")));
}
