//! `attache validate DIR`: every problem of a policy directory in one run.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use attache_core::spiffe_id::TrustDomain;
use attache_edge::reload::PolicySource;
use attache_policy::Settings;
use clap::Args;

use crate::config::Config;

/// Check a directory of policies.
///
/// Exit codes: 0 without problems (warnings allowed), 1 with problems.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The directory of documents (.yaml, .yml, .json).
    directory: PathBuf,
    /// The configuration whose trust domain and trust providers apply.
    #[arg(long, env = "ATTACHE_CONFIG")]
    config: Option<PathBuf>,
}

pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let directory = std::path::absolute(&args.directory)?;
    let source = match &args.config {
        Some(path) => PolicySource {
            directory,
            ..Config::load(path)?.policy_source()
        },
        None => {
            let trust_domain = TrustDomain::parse("cluster.local")?;
            let settings = Settings {
                trust_domain,
                trust_providers: vec![],
            };
            PolicySource {
                directory,
                settings,
                file_roots: vec![PathBuf::from("/")],
            }
        }
    };
    let (compiled, providers) = source.load()?;
    attache_trust::check(&providers)?;
    let mut report = String::new();
    for warning in compiled.warnings().iter() {
        writeln!(report, "{warning}")?;
    }
    writeln!(
        report,
        "{}: no problems; revision {}",
        args.directory.display(),
        compiled.revision()
    )?;
    crate::print(&report)
}
