//! Turns `attache/**/*.proto` into Rust, without a `protoc` on the machine.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

const FILES: [&str; 1] = ["attache/access/v1/access.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=attache");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("descriptors.binpb"),
        descriptors.encode_to_vec(),
    )?;
    let service = env::var_os("CARGO_FEATURE_SERVICE").is_some();
    tonic_prost_build::configure()
        .build_server(service)
        .build_client(service)
        .compile_fds(descriptors)?;
    Ok(())
}
