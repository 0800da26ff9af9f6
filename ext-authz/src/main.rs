//! `attache`: the command line. It reads the configuration, wires the crates together, and holds no
//! rule of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin_client;
mod audit;
mod config;
mod init;
mod log;
mod mint;
mod serve;
mod validate;

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
  attache serve --config DIR/attache.yaml
  attache status --config DIR/attache.yaml
  attache audit --config DIR/attache.yaml --follow

Exit codes: 0 done, 1 the command failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run both planes in this process: decide for Envoy, issue tokens, keep the audit log.
    Serve(serve::ServeArgs),
    /// Check a directory of policies; list every problem with file, line and path.
    Validate(validate::ValidateArgs),
    /// Write a commented starting set for your own service.
    Init(init::InitArgs),
    /// Show the audit log, or follow it.
    Audit(audit::AuditCommand),
    /// Ask a running server if it is ready, what blocks it, and what is in force.
    Status(admin_client::StatusArgs),
    /// Have a running server read its policies again; a broken set leaves the last good one in force.
    Reload(admin_client::ReloadArgs),
    /// Print the configuration file with every setting, its default and its reason.
    Config,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match command {
        Command::Serve(args) => serve::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Audit(args) => audit::run_command(&args),
        Command::Status(args) => admin_client::status(&args),
        Command::Reload(args) => admin_client::reload(&args),
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
