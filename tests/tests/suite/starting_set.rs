//! What `attache init` writes is accepted by the program and by Envoy as it stands.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use attache_tests::{
    attache::{EdgePlan, Installation},
    bootstrap::Bootstrap,
    envoy::Envoy,
};

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(output)
}

#[tokio::test]
async fn the_starting_set_validates_and_envoy_would_start_from_it() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    let attache = installation.binary();
    let directory = tempfile::tempdir()?;
    let set = directory.path().join("my edge's");
    let mut init = Command::new(attache);
    init.arg("init")
        .arg(&set)
        .args(["--target", "api.example.com"]);
    run(init.args(["--namespace", "shop", "--service-account", "checkout"]))?;
    run(Command::new(attache)
        .arg("validate")
        .arg(set.join("policies")))?;
    let bootstrap = Bootstrap::at(&set.join("envoy.yaml"))?;
    Envoy::validate(&bootstrap)?;
    assert!(!bootstrap.text().contains("stripe"), "{}", bootstrap.text());
    assert!(
        bootstrap
            .text()
            .contains("attache.target: \"https://api.example.com\"")
    );
    Ok(())
}

#[tokio::test]
async fn the_quick_starts_documents_validate_as_published() -> Result<()> {
    let installation = Installation::new(&EdgePlan::default()).await?;
    let documents = attache_tests::workspace::root().join("tests/quickstart");
    run(Command::new(installation.binary())
        .arg("validate")
        .arg(documents))?;
    Ok(())
}
