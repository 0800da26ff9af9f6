//! Where documents may refer to secrets: the edge's own configuration says it, and whoever writes documents reaches
//! nothing else of the edge's machine, environment or Vault.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use attache_policy::document::{Engine, SecretReference};
use thiserror::Error;

/// Where documents may point to: the edge's own configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRoots {
    /// Where relative paths start.
    pub base: PathBuf,
    /// Folders that `file:` may lead into, absolute.
    pub folders: Vec<PathBuf>,
    /// What the names of variables begin with that `env:` may name.
    pub variables: Vec<String>,
    /// The folder in which Secrets are mounted under their names, for `kubernetes:`.
    pub mounted: PathBuf,
    /// What `vault:` may name.
    pub vault: VaultRoots,
}

/// What documents may name in a Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultRoots {
    /// Anything: for those who judge documents without an edge, and read no secret.
    Anything,
    /// What lies below one of these; nothing without any.
    Below(Vec<VaultRoot>),
}

/// A folder of secrets in a Vault, or one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultRoot {
    /// The kind of engine.
    pub engine: Engine,
    /// Where it is mounted.
    pub mount: String,
    /// The path in it, or `None` for all that the mount has.
    pub path: Option<String>,
}

impl VaultRoot {
    /// The path in the mount, if `path`, which begins with a mount, lies here. By segments, so that `shop` is not
    /// above `shop-admin`.
    fn path_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        let inside = below(path, &self.mount)?;
        match &self.path {
            None => Some(inside),
            Some(root) => (inside == root || below(inside, root).is_some()).then_some(inside),
        }
    }
}

fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    (!rest.is_empty()).then_some(rest)
}

/// Why a document must not refer to a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ForeignSecret {
    /// Outside of the folders.
    #[error("{} lies outside {}", .path.display(), told(.folders))]
    Folder {
        /// The file.
        path: PathBuf,
        /// The folders.
        folders: Vec<PathBuf>,
    },
    /// Another variable than those.
    #[error("the variable {name} does not begin with {}", .prefixes.join(" or "))]
    Variable {
        /// The variable.
        name: String,
        /// What such names begin with.
        prefixes: Vec<String>,
    },
    /// There is no Vault for references.
    #[error("the edge has no Vault")]
    NoVault,
    /// Outside of what may be named in the Vault.
    #[error("{path} lies outside {} in the Vault", .roots.join(", "))]
    VaultPath {
        /// Mount and path.
        path: String,
        /// What may be named.
        roots: Vec<String>,
    },
    /// The path of the API, not of the secret. SECURITY: one secret has one spelling, so that roots hold.
    #[error("{path} is how the Vault's API spells the secret")]
    VaultData {
        /// Mount and path.
        path: String,
    },
}

impl ForeignSecret {
    /// What to do.
    pub const fn way_out(&self) -> &'static str {
        match self {
            Self::Folder { .. } => {
                "put it there, or list its folder in `secrets.file_roots` of the configuration"
            }
            Self::Variable { .. } => {
                "rename it, or list its beginning in `secrets.env_prefixes` of the configuration"
            }
            Self::NoVault => {
                "name it in `secrets.vault` of the configuration, or use env:, file: or kubernetes:"
            }
            Self::VaultPath { .. } => {
                "put it there, or list its folder in `secrets.vault.roots` of the configuration"
            }
            Self::VaultData { .. } => "write it as `vault kv get` takes it, without `data/`",
        }
    }
}

fn told(folders: &[PathBuf]) -> String {
    let folders: Vec<_> = folders.iter().map(|it| it.display().to_string()).collect();
    folders.join(", ")
}

/// Where a secret is, once that is allowed.
pub(super) enum Place {
    Variable(String),
    /// A file, and the folders that it may really lie in.
    File(PathBuf, Vec<PathBuf>),
    Vault(VaultPlace),
}

/// A field of a secret in the edge's Vault.
pub(crate) struct VaultPlace {
    pub(crate) engine: Engine,
    pub(crate) mount: String,
    pub(crate) path: String,
    pub(crate) field: String,
}

impl SecretRoots {
    /// Everything is allowed: for those who judge documents without an edge, and read no secret.
    pub fn everything() -> Self {
        Self {
            folders: vec![PathBuf::from("/")],
            variables: vec![String::new()],
            vault: VaultRoots::Anything,
            ..Self::nothing()
        }
    }

    /// Nothing is allowed.
    pub fn nothing() -> Self {
        Self {
            base: PathBuf::from("/"),
            folders: Vec::new(),
            variables: Vec::new(),
            mounted: PathBuf::from("/nonexistent"),
            vault: VaultRoots::Below(Vec::new()),
        }
    }

    /// Whether a document may refer to `reference`, as far as its text says.
    pub fn check(&self, reference: &SecretReference) -> Result<(), ForeignSecret> {
        match (reference, &self.vault) {
            (SecretReference::Vault { .. }, VaultRoots::Anything) => Ok(()),
            _ => self.place(reference).map(|_| ()),
        }
    }

    pub(super) fn place(&self, reference: &SecretReference) -> Result<Place, ForeignSecret> {
        match reference {
            SecretReference::Environment(name) => {
                // SECURITY: a prefix that is the whole name names nothing.
                let is_ours = |prefix: &String| {
                    name.len() > prefix.len() && name.starts_with(prefix.as_str())
                };
                if self.variables.iter().any(is_ours) {
                    return Ok(Place::Variable(name.clone()));
                }
                Err(ForeignSecret::Variable {
                    name: name.clone(),
                    prefixes: self.variables.clone(),
                })
            }
            SecretReference::File(path) => {
                let path = self.base.join(path);
                if self.folders.iter().any(|folder| is_below(&path, folder)) {
                    return Ok(Place::File(path, self.folders.clone()));
                }
                let folders = self.folders.clone();
                Err(ForeignSecret::Folder { path, folders })
            }
            SecretReference::Kubernetes { secret, key } => {
                let path = self.mounted.join(secret).join(key);
                Ok(Place::File(path, vec![self.mounted.clone()]))
            }
            SecretReference::Vault { path, field } => match &self.vault {
                VaultRoots::Below(roots) if !roots.is_empty() => {
                    in_vault(roots, path, field).map(Place::Vault)
                }
                VaultRoots::Below(_) | VaultRoots::Anything => Err(ForeignSecret::NoVault),
            },
        }
    }
}

fn in_vault(roots: &[VaultRoot], path: &str, field: &str) -> Result<VaultPlace, ForeignSecret> {
    let place = |root: &VaultRoot, inside: &str| VaultPlace {
        engine: root.engine,
        mount: root.mount.clone(),
        path: inside.to_owned(),
        field: field.to_owned(),
    };
    let is_api = |root: &VaultRoot| {
        root.engine == Engine::KvV2
            && below(path, &root.mount).is_some_and(|inside| below(inside, "data").is_some())
    };
    if roots.iter().any(is_api) {
        let path = path.to_owned();
        return Err(ForeignSecret::VaultData { path });
    }
    let found = roots
        .iter()
        .find_map(|root| Some(place(root, root.path_of(path)?)));
    found.ok_or_else(|| ForeignSecret::VaultPath {
        path: path.to_owned(),
        roots: roots.iter().map(VaultRoot::to_string).collect(),
    })
}

impl fmt::Display for VaultRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.path.as_deref().unwrap_or("*"))
    }
}

/// The reference has no `..`, so that the text says it, but for links.
fn is_below(path: &Path, folder: &Path) -> bool {
    path != folder && path.starts_with(folder)
}
