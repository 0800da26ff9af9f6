//! Regions in the words of the protocol, both ways.

use attache_core::{
    freshness::Lifetime,
    request::{Host, PathPrefix, RequestPath, Transport},
    scope::{Caller, Methods, Paths, Region},
    time::Timestamp,
};
use attache_proto::token::v1 as proto;

use crate::settings::EvidenceSource;

/// Who counts as the caller on a listener.
pub(super) const fn caller(evidence: &EvidenceSource) -> proto::Caller {
    match evidence {
        EvidenceSource::Request(_) => proto::Caller::Evidence,
        EvidenceSource::TokenFile(_) | EvidenceSource::WorkloadApi(_) => proto::Caller::Listener,
    }
}

/// A region, for whoever keeps the answer.
pub(super) fn told(region: &Region, caller: proto::Caller) -> proto::Scope {
    let (all_but, methods) = match &region.methods {
        Methods::These(methods) => (false, methods.clone()),
        Methods::AllBut(methods) => (true, methods.clone()),
    };
    let (exactly, path, except) = match &region.paths {
        Paths::Exactly(path) => (true, path.clone(), Vec::new()),
        Paths::Under { prefix, except } => {
            let except = except.iter().map(|prefix| prefix.as_str().to_owned());
            (false, prefix.as_str().to_owned(), except.collect())
        }
    };
    let transport = match region.transport {
        Transport::Tls => proto::Transport::Tls,
        Transport::Plaintext => proto::Transport::Plaintext,
    };
    proto::Scope {
        caller: i32::from(caller),
        host: region.host.as_str().to_owned(),
        port: u32::from(region.port),
        transport: i32::from(transport),
        all_but,
        methods,
        exactly,
        path,
        except,
        from: region.holds.issued_at.as_millis(),
        until: region.holds.expires_at.as_millis(),
    }
}

/// A region as it was told; `None` if we never told it so.
pub(super) fn read(scope: &proto::Scope) -> Option<Region> {
    let methods = scope.methods.clone();
    let paths = if scope.exactly {
        Paths::Exactly(scope.path.clone())
    } else {
        let except: Result<_, _> = scope
            .except
            .iter()
            .map(|it| PathPrefix::parse(it))
            .collect();
        Paths::Under {
            prefix: PathPrefix::parse(&scope.path).ok()?,
            except: except.ok()?,
        }
    };
    Some(Region {
        revision: String::new(),
        caller: Caller::Listener(String::new()),
        host: Host::parse(&scope.host).ok()?,
        port: u16::try_from(scope.port).ok()?,
        transport: match proto::Transport::try_from(scope.transport).ok()? {
            proto::Transport::Tls => Transport::Tls,
            proto::Transport::Plaintext => Transport::Plaintext,
            proto::Transport::Unspecified => return None,
        },
        methods: if scope.all_but {
            Methods::AllBut(methods)
        } else {
            Methods::These(methods)
        },
        paths,
        holds: Lifetime {
            issued_at: Timestamp::from_millis(scope.from),
            expires_at: Timestamp::from_millis(scope.until),
        },
    })
}

/// Whether a call with `method` and `path` lies in `region`, its time left aside.
pub(super) fn contains(region: &Region, method: &str, path: &str) -> bool {
    RequestPath::parse(path)
        .is_ok_and(|path| region.methods.contain(method) && region.paths.contain(path))
}
