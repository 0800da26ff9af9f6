//! Turns `attache/**/*.proto` and `spiffe/*.proto` into Rust, without a `protoc` on the machine.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

/// Ours; servers tell them by reflection.
const OWN: [&str; 2] = [
    "attache/access/v1/access.proto",
    "attache/token/v1/token.proto",
];
/// The standard's.
const SPIFFE: [&str; 1] = ["spiffe/workloadapi.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=attache");
    println!("cargo::rerun-if-changed=spiffe");
    let own = protox::compile(OWN, ["."])?;
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("descriptors.binpb"),
        own.encode_to_vec(),
    )?;
    let service = env::var_os("CARGO_FEATURE_SERVICE").is_some();
    for descriptors in [own, protox::compile(SPIFFE, ["."])?] {
        tonic_prost_build::configure()
            .build_server(service)
            .build_client(service)
            .compile_fds(descriptors)?;
    }
    Ok(())
}
