//! Where a listener listens and who may call it: `unix` or `tcp`, and what belongs to each.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use attache_edge::settings::{Bind, TlsBind, UnixBind};
use attache_policy::{
    problem::{Code, quoted},
    yaml::{At, Fields},
};

use super::{address, path, taken::Taken};

/// Longest path of a unix socket in bytes (`sun_path` of unix(7), with its end).
const MAX_SOCKET_PATH: usize = 107;

/// Paths and addresses that something of this configuration listens on.
pub(super) struct Places {
    sockets: Taken,
    addresses: Taken,
}

impl Places {
    pub(super) fn none() -> Self {
        Self {
            sockets: Taken::new("socket"),
            addresses: Taken::new("address"),
        }
    }

    /// The path of a unix socket that nothing else listens on.
    pub(super) fn socket(&self, at: &At<'_>, base: &Path) -> Option<PathBuf> {
        let path = path(at, base)?;
        let text = path.display().to_string();
        let bytes = path.as_os_str().len();
        if bytes > MAX_SOCKET_PATH {
            let message = format!("{} has {bytes} bytes", quoted(&text));
            let way_out = format!("write a path of at most {MAX_SOCKET_PATH} bytes");
            return at.refuse_with(Code::InvalidValue, message, way_out);
        }
        self.sockets.take(at, &text)?;
        Some(path)
    }

    /// A TCP address that nothing else listens on.
    pub(super) fn address(&self, at: &At<'_>) -> Option<SocketAddr> {
        let address = address(at)?;
        // Port 0 is a port of the system's choice, another one each time.
        if address.port() != 0 {
            self.addresses.take(at, &address.to_string())?;
        }
        Some(address)
    }
}

/// What a listener says of where it listens, as it is written.
struct Written<'a> {
    unix: Option<At<'a>>,
    tcp: Option<At<'a>>,
    mode: Option<At<'a>>,
    group: Option<At<'a>>,
    allowed_uids: Option<At<'a>>,
    tls: Option<At<'a>>,
    plaintext: Option<At<'a>>,
}

impl<'a> Written<'a> {
    fn of(fields: &mut Fields<'a>) -> Self {
        Self {
            unix: fields.field("unix"),
            tcp: fields.field("tcp"),
            mode: fields.field("mode"),
            group: fields.field("group"),
            allowed_uids: fields.field("allowed_uids"),
            tls: fields.field("tls"),
            plaintext: fields.field("plaintext"),
        }
    }

    fn of_unix(&self) -> [(&'static str, Option<&At<'a>>); 3] {
        [
            ("mode", self.mode.as_ref()),
            ("group", self.group.as_ref()),
            ("allowed_uids", self.allowed_uids.as_ref()),
        ]
    }

    fn of_tcp(&self) -> [(&'static str, Option<&At<'a>>); 2] {
        [
            ("tls", self.tls.as_ref()),
            ("plaintext", self.plaintext.as_ref()),
        ]
    }

    fn unix(&self, places: &Places, base: &Path) -> Option<Bind> {
        let path = self.unix.as_ref().map(|at| places.socket(at, base));
        let mode = self.mode.as_ref().map_or(Some(0o600), mode);
        let group = self
            .group
            .as_ref()
            .map_or(Some(None), |at| id(at).map(Some));
        let uids = self.allowed_uids.as_ref();
        let allowed_uids = uids.map_or_else(|| Some(own_uid()), |at| at.some_list(id));
        Some(Bind::Unix(UnixBind {
            path: path??,
            mode: mode?,
            group: group?,
            allowed_uids: allowed_uids?,
        }))
    }

    fn tcp(&self, fields: &Fields<'_>, places: &Places, base: &Path) -> Option<Bind> {
        let address = self.tcp.as_ref().and_then(|at| places.address(at));
        let tls = self.tls.as_ref().map(|at| tls(at, address, base));
        let plaintext = self.plaintext.as_ref().map_or(Some(false), At::boolean);
        match (tls, plaintext?) {
            (Some(tls), false) => tls.map(Bind::Tls),
            (None, true) => address.map(Bind::Plaintext),
            (None, false) => fields.at().refuse_with(
                Code::MissingField,
                "a TCP listener gives credentials to whoever reaches it",
                "add `tls` with client_ca and allowed, or say `plaintext: true`",
            ),
            (Some(_), true) => self.plaintext.as_ref().and_then(|at| {
                at.refuse_with(
                    Code::ConflictingFields,
                    "`tls` and `plaintext: true` exclude each other",
                    "remove one of them",
                )
            }),
        }
    }
}

/// Every problem is told, also of what belongs to the other kind of listener.
pub(super) fn bind(fields: &mut Fields<'_>, places: &Places, base: &Path) -> Option<Bind> {
    let written = Written::of(fields);
    match (&written.unix, &written.tcp) {
        (Some(_), None) => {
            refuse_foreign(&written.of_tcp(), "tcp", "unix");
            let bind = written.unix(places, base);
            bind.filter(|_| written.of_tcp().iter().all(|(_, at)| at.is_none()))
        }
        (None, Some(_)) => {
            refuse_foreign(&written.of_unix(), "unix", "tcp");
            let bind = written.tcp(fields, places, base);
            bind.filter(|_| written.of_unix().iter().all(|(_, at)| at.is_none()))
        }
        (Some(_), Some(_)) | (None, None) => {
            let _ = written.unix(places, base);
            let _ = written.tcp.as_ref().map(|at| places.address(at));
            let _ = written.tls.as_ref().map(|at| tls(at, None, base));
            let _ = written.plaintext.as_ref().map(At::boolean);
            fields.at().refuse_with(
                Code::ConflictingFields,
                "a listener listens in one place",
                "write exactly one of `unix` and `tcp`",
            )
        }
    }
}

/// SECURITY: a setting that does nothing here may be thought to protect.
fn refuse_foreign(fields: &[(&str, Option<&At<'_>>)], owner: &str, here: &str) {
    for (name, at) in fields {
        let Some(at) = at else { continue };
        let message = format!("`{name}` belongs to `{owner}`, and this listener is `{here}`");
        let way_out = format!("remove it, or listen on `{owner}`");
        let _: Option<()> = at.refuse_with(Code::ConflictingFields, message, way_out);
    }
}

fn tls(at: &At<'_>, address: Option<SocketAddr>, base: &Path) -> Option<TlsBind> {
    let mut fields = at.fields()?;
    let certificate = fields.required("certificate", |at| path(at, base));
    let key = fields.required("key", |at| path(at, base));
    let client_ca = fields.required("client_ca", |at| path(at, base));
    let allowed = fields.required("allowed", |at| {
        at.some_list(|name| name.text().map(str::to_owned))
    });
    Some(TlsBind {
        address: address?,
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
        allowed: allowed?,
    })
}

/// The user that runs Attaché.
pub(super) fn own_uid() -> Vec<u32> {
    vec![rustix::process::getuid().as_raw()]
}

/// A file mode as chmod writes it, quoted: `"0660"`.
fn mode(at: &At<'_>) -> Option<u32> {
    let (text, is_quoted) = at.as_written("a file mode")?;
    let is_octal = text.len() <= 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(text, 8).ok();
    let Some(mode) = mode.filter(|mode| is_octal && *mode <= 0o777) else {
        let message = format!("{} is not a file mode", quoted(text));
        let way_out = "write octal digits, 0 to 7, in quotes, like \"0660\"";
        return at.refuse_with(Code::InvalidValue, message, way_out);
    };
    if !is_quoted {
        let message = format!("`{text}` is a decimal number to YAML, and a file mode is octal");
        return at.refuse_with(Code::WrongType, message, format!("write \"{text}\""));
    }
    Some(mode)
}

/// A user or group by its number.
fn id(at: &At<'_>) -> Option<u32> {
    at.integer(0..=u64::from(u32::MAX))
        .and_then(|id| u32::try_from(id).ok())
}
