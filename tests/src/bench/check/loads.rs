//! What the group `check` measures: servers, and what is asked of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::super::{Plan, asker::Expected, sets::Target};

/// What all others are compared with.
pub(super) const FLOOR: &str = "empty";
/// The first call of each workload.
pub(super) const COLD: &str = "cold";

/// An Attaché to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Another build than the one that is measured.
    pub(super) binary: Option<PathBuf>,
    pub(super) size: usize,
    pub(super) background: bool,
}

/// What is asked, and of whom.
pub(super) struct Load {
    pub(super) name: String,
    pub(super) server: Server,
    pub(super) floor: String,
    pub(super) workloads: usize,
    pub(super) target: Target,
    pub(super) expected: Expected,
}

impl Load {
    pub(super) fn of(name: String, size: usize, workloads: usize) -> Self {
        Self {
            name,
            server: Server {
                binary: None,
                size,
                background: false,
            },
            floor: FLOOR.to_owned(),
            workloads,
            target: Target::Own,
            expected: Expected::Token,
        }
    }

    /// The same of the other build, compared with this one.
    fn beside(&self, binary: &Path) -> Self {
        Self {
            name: format!("{}-beside", self.name),
            server: Server {
                binary: Some(binary.to_owned()),
                ..self.server.clone()
            },
            floor: self.name.clone(),
            ..*self
        }
    }

    /// All that `plan` asks for, and whether [`COLD`] is among it.
    pub(super) fn all(plan: &Plan) -> Result<(Vec<Self>, bool)> {
        let mut loads = Vec::new();
        for &size in &plan.sizes {
            loads.push(Self::of(format!("attache-{size}"), size, plan.workloads));
            loads.push(Self::of(format!("attache-{size}-one-workload"), size, 1));
            if size == plan.sizes.get(1).copied().unwrap_or(size) {
                loads.push(Self {
                    target: Target::Others,
                    expected: Expected::Denial,
                    ..Self::of("denied".to_owned(), size, plan.workloads)
                });
            }
        }
        let greatest = plan.sizes.last().copied().context("no size is measured")?;
        let name = format!("attache-{greatest}-background");
        let mut background = Self::of(name, greatest, plan.workloads);
        background.server.background = true;
        loads.push(background);
        let mut cold = true;
        if !plan.variants.is_empty() {
            let names = loads.iter().map(|load| load.name.as_str());
            let external = plan.external.iter().map(|(name, _)| name.as_str());
            let known: Vec<_> = names.chain(external).chain([FLOOR, COLD]).collect();
            for name in &plan.variants {
                let all = known.join(", ");
                let known = known.contains(&name.as_str());
                ensure!(known, "{name}: no such variant; there are {all}");
            }
            loads.retain(|load| plan.variants.contains(&load.name));
            cold = plan.variants.iter().any(|name| name == COLD);
        }
        if let Some(binary) = &plan.beside {
            // Each next to the one that it is compared with.
            let pair = |load: Self| {
                let beside = load.beside(binary);
                [load, beside]
            };
            loads = loads.into_iter().flat_map(pair).collect();
        }
        Ok((loads, cold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(plan: &Plan) -> Result<Vec<(String, String)>> {
        let (loads, _cold) = Load::all(plan)?;
        let names = loads.into_iter().map(|load| (load.name, load.floor));
        Ok(names.collect())
    }

    #[test]
    fn another_build_is_compared_with_this_one_under_the_same_load() -> Result<()> {
        let plan = Plan {
            beside: Some(PathBuf::from("/opt/attache")),
            variants: vec!["attache-10".to_owned()],
            ..Plan::quick(PathBuf::new())
        };
        let pair = |name: &str, floor: &str| (name.to_owned(), floor.to_owned());
        let expected = [
            pair("attache-10", "empty"),
            pair("attache-10-beside", "attache-10"),
        ];
        assert_eq!(named(&plan)?, expected);
        let (loads, cold) = Load::all(&plan)?;
        let binaries = loads.iter().map(|load| load.server.binary.as_deref());
        let expected = [None, plan.beside.as_deref()];
        assert_eq!(binaries.collect::<Vec<_>>(), expected);
        assert!(!cold);
        Ok(())
    }

    #[test]
    fn a_variant_that_is_none_is_refused_by_name() {
        let plan = Plan {
            variants: vec!["attache-11".to_owned()],
            ..Plan::quick(PathBuf::new())
        };
        let refused = named(&plan).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|said| said.starts_with("attache-11: no such variant")));
    }
}
