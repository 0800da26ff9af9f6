//! What the fuzzers found worth keeping, and each input that once broke something, on the stable compiler.
//! `tests/fuzz/README.md` says how it came to be.

use std::fs;

use anyhow::{Context as _, Result};
use attache_tests::workspace;
use envoy_types::ext_authz::v3::pb::CheckRequest;
use prost::Message as _;

#[path = "../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "it is the fuzzers' library, and public there"
)]
mod fuzz;

/// Panics if something does not hold for an input.
type Holds = fn(&[u8]);

/// Each target with what must hold for its inputs.
const TARGETS: [(&str, Holds); 8] = [
    ("bundle", fuzz::bundle::holds),
    ("check_request", fuzz::check_request::holds),
    ("jwks", fuzz::jwks::holds),
    ("jwt", fuzz::jwt::holds),
    ("policy", fuzz::policy::holds),
    ("spiffe_id", fuzz::spiffe_id::holds),
    ("x509", fuzz::x509::holds),
    ("xfcc", fuzz::xfcc::holds),
];

#[test]
fn what_envoy_asks_is_read_as_its_own_definitions_read_it_with_any_bit_changed() -> Result<()> {
    let folder = workspace::root().join("tests/fuzz/corpus/check_request");
    let mut accepted = 0;
    for input in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let input = fs::read(input?.path())?;
        for index in 0..input.len() {
            for bit in 0..8 {
                let mut changed = input.clone();
                if let Some(byte) = changed.get_mut(index) {
                    *byte ^= 1 << bit;
                }
                fuzz::check_request::holds(&changed);
                // Those that are held against what is read here.
                accepted += usize::from(CheckRequest::decode(changed.as_slice()).is_ok());
            }
        }
    }
    assert!(accepted > 10_000, "{accepted}");
    Ok(())
}

#[test]
fn everything_holds_for_every_input_of_the_corpus() -> Result<()> {
    for (target, holds) in TARGETS {
        let folder = workspace::root().join("tests/fuzz/corpus").join(target);
        let inputs = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut count = 0;
        for input in inputs {
            let path = input?.path();
            // The name of the input that fails stands above its panic.
            println!("{}", path.display());
            holds(&fs::read(&path)?);
            count += 1;
        }
        assert!(count >= 10, "{target}: {count} inputs");
    }
    Ok(())
}
