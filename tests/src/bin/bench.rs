//! `make bench`: measures Attaché beside its floors, prints a table, and writes `results.json` and
//! `results.svg`. `--quick` checks every answer and measures little.

use std::{
    env, fs,
    io::{self, Write as _},
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use attache_tests::{
    bench::{Group, Plan, chart, check, envoy, floor, inside, memory, progress::tell, results},
    workspace,
};

const USAGE: &str = "\
Usage: bench --train | [--quick] [--group GROUP] [--variant NAME]... [--rounds N] [--span MS]
             [--beside PROGRAM] [--external NAME=ADDRESS]... [--output DIR]

  --train                  measures nothing: starts, asks and ends servers as the group check does, several times over,
                           for builds that are instrumented to find out what they go through
  --quick                  few and short measurements: every answer is checked, figures say little
  --group GROUP            check, envoy, inside or memory alone
  --variant NAME           of the group (check, envoy), this variant alone, beside what it is compared with
  --rounds N               how often each variant is measured
  --span MS                how long each measurement takes, in milliseconds; of check and envoy in ten turns
  --beside PROGRAM         another build of attache: in the group check, each variant of this one but cold has one
                           of that in turn with it, NAME-beside, whose ratio is to NAME
  --external NAME=ADDRESS  another ext_authz server to measure with the same calls: HOST:PORT, or the
                           path of a unix socket. It must permit them
  --output DIR             where results.json and results.svg go (target/bench)
";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody to tell if this fails.
            let _ = writeln!(io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // What it starts itself as.
    if let [first, argument] = arguments.as_slice() {
        if first == floor::ARGUMENT {
            return floor::serve(Path::new(argument)).await;
        }
        if first == inside::HOLD {
            return inside::hold(argument);
        }
    }
    if matches!(arguments.as_slice(), [only] if only == "--train") {
        return train().await;
    }
    let Some(plan) = plan(&arguments)? else {
        return Ok(io::stdout().write_all(USAGE.as_bytes())?);
    };
    fs::create_dir_all(&plan.output)?;
    let mut samples = results::Samples::default();
    if plan.groups.contains(&Group::Check) {
        let mut check = check::Bench::open(&plan).await?;
        for round in 1..=plan.rounds.get() {
            tell(&format!("check: round {round} of {}", plan.rounds));
            check.round(&plan, &mut samples).await?;
        }
        check.recorded().await?;
        if let Err(error) = check.close().await {
            tell(&format!("check: {error:#}"));
        }
    }
    if plan.groups.contains(&Group::Envoy) {
        let mut envoy = envoy::Bench::open(&plan).await?;
        for round in 1..=plan.rounds.get() {
            tell(&format!("envoy: round {round} of {}", plan.rounds));
            envoy.round(&plan, &mut samples).await?;
        }
    }
    if plan.groups.contains(&Group::Inside) {
        let mut inside = inside::Bench::open(&plan).await?;
        for round in 1..=plan.rounds.get() {
            tell(&format!("inside: round {round} of {}", plan.rounds));
            (inside, samples) = inside.round(&plan, samples).await?;
        }
    }
    if plan.groups.contains(&Group::Memory) {
        let memory = memory::Bench::open(&plan).await?;
        let rounds = memory::Bench::rounds(&plan);
        for round in 1..=rounds {
            tell(&format!("memory: round {round} of {rounds}"));
            memory.round(&plan, &mut samples).await?;
        }
    }
    let figures = samples.figures();
    results::write(&figures, &plan.output.join("results.json"))?;
    chart::draw(&figures, &plan.output.join("results.svg"))?;
    io::stdout().write_all(results::table(&figures).as_bytes())?;
    Ok(())
}

/// How often everything is started: what a start goes through must not look as if it were never needed.
const STARTS: usize = 4;

/// Has servers do all that a profile should know of.
async fn train() -> Result<()> {
    let plan = Plan::training(workspace::target().join("bench"));
    let mut unread = results::Samples::default();
    for start in 1..=STARTS {
        tell(&format!("start {start} of {STARTS}"));
        let mut check = check::Bench::open(&plan).await?;
        for _round in 0..plan.rounds.get() {
            check.round(&plan, &mut unread).await?;
        }
        check.even_out().await?;
        check.recorded().await?;
        check.close().await?;
    }
    Ok(())
}

/// What the arguments ask for; `None` for help.
fn plan(arguments: &[String]) -> Result<Option<Plan>> {
    let output = workspace::target().join("bench");
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let mut plan = if quick {
        Plan::quick(output)
    } else {
        Plan::whole(output)
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || {
            rest.next()
                .with_context(|| format!("{argument} needs a value\n\n{USAGE}"))
        };
        match argument.as_str() {
            "--quick" => {}
            "--help" | "-h" => return Ok(None),
            "--group" => plan.groups = vec![value()?.parse()?],
            "--variant" => plan.variants.push(value()?.clone()),
            "--rounds" => plan.rounds = value()?.parse::<NonZeroUsize>().context("--rounds")?,
            "--span" => {
                let span = value()?.parse::<NonZeroU64>().context("--span")?;
                plan.span = Duration::from_millis(span.get());
            }
            "--beside" => {
                let program = value()?;
                let found = fs::canonicalize(program);
                plan.beside = Some(found.with_context(|| format!("--beside {program}"))?);
            }
            "--output" => plan.output = PathBuf::from(value()?),
            "--external" => {
                let value = value()?;
                let (name, address) = value
                    .split_once('=')
                    .with_context(|| format!("--external {value}: not NAME=ADDRESS"))?;
                plan.external.push((name.to_owned(), address.to_owned()));
            }
            other => bail!("{other}: no such argument\n\n{USAGE}"),
        }
    }
    let one = matches!(plan.groups.as_slice(), [Group::Check | Group::Envoy]);
    let named = plan.variants.is_empty() || one;
    ensure!(named, "--variant: needs --group check or --group envoy");
    let asks = plan.beside.is_none() || plan.groups.contains(&Group::Check);
    ensure!(asks, "--beside: needs the group check");
    Ok(Some(plan))
}
