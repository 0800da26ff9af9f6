//! `attache`: the command line. It reads the configuration, wires the crates together, and holds no
//! rule of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

mod admin_client;
mod audit;
mod config;
mod envoy;
mod exchange;
mod explain;
mod init;
mod keys;
mod log;
mod mint;
mod open_files;
mod policy_test;
mod proxy;
mod schema;
mod serve;
mod signing_keys;
mod validate;
mod verify;

/// A call makes and frees some hundred pieces of memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Workload identity, access policy and short-lived credentials behind Envoy.
///
/// A caller shows evidence of who it is; Attaché verifies it, decides by policy, and attaches the
/// credential to the call, so that no application stores a secret.
#[derive(Debug, Parser)]
#[command(version, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  attache init DIR                 write a commented configuration, policies and an Envoy bootstrap
  attache validate DIR/policies    check the policies; every problem is listed at once
  attache test DIR/policies        hold them against the expectations beside them
  attache envoy DIR/policies       print Envoy's filter with the headers that they need
  attache serve --config DIR/attache.yaml
  attache status --config DIR/attache.yaml
  attache audit --config DIR/attache.yaml --follow

Exit codes: 0 done, 1 the command failed, 2 wrong usage.
`attache validate`: 0 no errors, 1 errors in the policies, 2 wrong usage or unreadable.
`attache verify`: 0 accepted, 1 rejected, 2 wrong usage or unreadable.";

// Each command's help is the documentation of its arguments: a comment here would hide it.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Validate(validate::ValidateArgs),
    Test(policy_test::TestArgs),
    Schema(schema::SchemaArgs),
    Init(init::InitArgs),
    Envoy(envoy::EnvoyArgs),
    Explain(explain::ExplainArgs),
    Verify(verify::VerifyArgs),
    Audit(audit::AuditCommand),
    Status(admin_client::StatusArgs),
    Reload(admin_client::ReloadArgs),
    Keys(keys::KeysArgs),
    /// Print the configuration file with every setting, its default and its reason.
    Config,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match command {
        Command::Serve(args) => serve::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Test(args) => policy_test::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Envoy(args) => envoy::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Audit(args) => audit::run_command(&args),
        Command::Status(args) => admin_client::status(&args),
        Command::Reload(args) => admin_client::reload(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Config => print(config::EXAMPLE),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // A reader that went away, as `| head` does, is no failure of ours.
            if is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("attache: {error:#}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests;
