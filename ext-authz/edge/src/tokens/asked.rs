//! A request of the protocol as the pipeline asks it.

use std::net::SocketAddr;

use attache_proto::token::v1 as proto;
use compact_str::ToCompactString as _;
use tonic::Status;

use crate::{
    keeping::Keeping,
    peer::Peer,
    question::Question,
    settings::{EvidenceSource, ListenerSettings},
    source,
    wanted::Purpose,
};

/// Most lines of a header that are evidence.
const MAX_EVIDENCE_LINES: usize = 16;

/// One request.
pub(super) struct Asked {
    pub(super) purpose: proto::Purpose,
    pub(super) evidence: Option<proto::Evidence>,
    /// Without its details.
    pub(super) call: proto::Call,
    details: Option<proto::Details>,
    /// Path and query.
    target: String,
    source: Option<SocketAddr>,
    trusted_hops: usize,
}

impl Asked {
    pub(super) fn read(
        request: proto::FetchRequest,
        listener: &ListenerSettings,
    ) -> Result<Self, Status> {
        let purpose = proto::Purpose::try_from(request.purpose)
            .map_err(|_unknown| Status::invalid_argument("purpose: not one of this protocol"))?;
        let call = request.call;
        let call = call.ok_or_else(|| Status::invalid_argument("call is missing"))?;
        Self::new(purpose, request.evidence, call, listener)
    }

    pub(super) fn new(
        purpose: proto::Purpose,
        evidence: Option<proto::Evidence>,
        mut call: proto::Call,
        listener: &ListenerSettings,
    ) -> Result<Self, Status> {
        check_caller(purpose, evidence.as_ref(), listener)?;
        if call.path.contains('?') {
            let message = "path: it holds a query; send that in details";
            return Err(Status::invalid_argument(message));
        }
        let mut details = call.details.take();
        if let Some(details) = &mut details {
            details.headers.iter_mut().for_each(lower_case);
        }
        let query = details.as_ref().map_or("", |details| &details.query);
        let target = if query.is_empty() {
            call.path.clone()
        } else {
            format!("{}?{query}", call.path)
        };
        Ok(Self {
            purpose,
            evidence: evidence.map(in_lower_case),
            source: details.as_ref().map(source).transpose()?.flatten(),
            call,
            details,
            target,
            trusted_hops: listener.trusted_hops,
        })
    }

    /// Whether all that policy may read was told, so that the answer is about this request alone.
    pub(super) const fn keeping(&self) -> Keeping {
        if self.details.is_some() {
            Keeping::Never
        } else {
            Keeping::Region
        }
    }

    pub(super) const fn purpose(&self) -> Purpose {
        match self.purpose {
            proto::Purpose::Attach => Purpose::Fetch,
            proto::Purpose::Judge | proto::Purpose::Unspecified => Purpose::Judge,
        }
    }

    /// In the words of the pipeline.
    pub(super) fn question(&self) -> Question<'_> {
        let told = self.details.as_ref().map(|details| &details.headers);
        let evidence = self.evidence.as_ref().map(|evidence| &evidence.headers);
        let lines = told.or(evidence).into_iter().flatten();
        let headers: Vec<_> = lines.map(|it| (it.name.as_str(), &*it.value)).collect();
        let address = self.source.map(|it| it.ip().to_string());
        let peer = self.source.and_then(|it| {
            let address = address.as_deref()?;
            Some((address, u32::from(it.port())))
        });
        let caller = match self.details {
            Some(_) => source::address(peer, &headers, self.trusted_hops),
            None => None,
        };
        Question {
            method: &self.call.method,
            target: &self.target,
            authority: &self.call.authority,
            headers,
            headers_are_known: self.details.is_some(),
            vouched: Some(&*self.call.target).filter(|target| !target.is_empty()),
            source: self.source.map(|it| it.to_compact_string()),
            address: caller,
            peer: self
                .evidence
                .as_ref()
                .map_or_else(Peer::default, |it| Peer {
                    principal: &it.principal,
                    certificate: &it.certificate,
                }),
            given: None,
        }
    }
}

/// Whether the listener answers such a question at all.
fn check_caller(
    purpose: proto::Purpose,
    evidence: Option<&proto::Evidence>,
    listener: &ListenerSettings,
) -> Result<(), Status> {
    let speaks_for_one = !matches!(listener.evidence, EvidenceSource::Request(_));
    if purpose == proto::Purpose::Unspecified {
        let message = "purpose: send 1 to attach a credential or 2 to judge a caller";
        return Err(Status::invalid_argument(message));
    }
    // SECURITY: the pod would be judged in the place of whoever calls it.
    if speaks_for_one && purpose == proto::Purpose::Judge {
        let message = "purpose: this listener speaks for one pod; callers are judged on one that takes the evidence of requests";
        return Err(Status::invalid_argument(message));
    }
    let Some(evidence) = evidence else {
        return Ok(());
    };
    if speaks_for_one {
        let message = "evidence: this listener speaks for one pod; leave it out";
        return Err(Status::invalid_argument(message));
    }
    let lines = evidence.headers.len();
    if lines > MAX_EVIDENCE_LINES {
        let message = format!("evidence: {lines} lines; send at most {MAX_EVIDENCE_LINES}");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

fn source(details: &proto::Details) -> Result<Option<SocketAddr>, Status> {
    if details.source_address.is_empty() {
        return Ok(None);
    }
    let message = "source_address: send an IP address with its port, or nothing";
    let address = details.source_address.parse();
    address
        .map(Some)
        .map_err(|_not_an_address| Status::invalid_argument(message))
}

fn in_lower_case(mut evidence: proto::Evidence) -> proto::Evidence {
    evidence.headers.iter_mut().for_each(lower_case);
    evidence
}

fn lower_case(header: &mut proto::Header) {
    header.name.make_ascii_lowercase();
}
