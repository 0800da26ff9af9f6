//! What must hold for any input, one function for each kind: it panics if something does not. The fuzz
//! targets call them with what the fuzzer invents, `tests/tests/suite/fuzz_corpus.rs` with the corpus.

pub mod bundle;
pub mod check_request;
pub mod jwks;
pub mod jwt;
pub mod policy;
pub mod spiffe_id;
pub mod x509;
pub mod xfcc;
