use alloc::{vec, vec::Vec};

use super::*;

fn chain(sizes: &[usize]) -> Result<CertificateChain, InvalidChain> {
    CertificateChain::new(sizes.iter().map(|size| vec![0x30; *size]).collect())
}

#[test]
fn the_leaf_stands_first_and_the_others_keep_their_order() {
    let chain = CertificateChain::new(vec![vec![1], vec![2], vec![3]]).unwrap();
    assert_eq!(chain.leaf(), [1]);
    assert_eq!(chain.intermediates().collect::<Vec<_>>(), [[2], [3]]);
    assert_eq!(chain.certificates().count(), 3);
}

#[test]
fn a_chain_without_a_leaf_is_refused() {
    assert_eq!(chain(&[]), Err(InvalidChain::Empty));
}

#[test]
fn a_chain_is_bounded_in_number() {
    assert!(chain(&[10; MAX_CHAIN_CERTIFICATES]).is_ok());
    let over = [10; MAX_CHAIN_CERTIFICATES + 1];
    assert_eq!(chain(&over), Err(InvalidChain::TooMany(over.len())));
}

#[test]
fn a_chain_is_bounded_in_bytes() {
    assert!(chain(&[MAX_CHAIN_BYTES - 1, 1]).is_ok());
    let over = Err(InvalidChain::TooLarge(MAX_CHAIN_BYTES + 1));
    assert_eq!(chain(&[MAX_CHAIN_BYTES, 1]), over);
}
