#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| attache_fuzz::check_request::holds(input));
