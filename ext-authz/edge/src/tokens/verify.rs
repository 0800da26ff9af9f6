//! The keys of JWT-SVIDs for clients that verify them, and the verdict on one token for those that cannot.

use std::sync::Arc;

use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use attache_proto::token::v1 as proto;
use attache_trust::{NotAttested, Trust};
use aws_lc_rs::digest;
use prost::Message as _;
use tonic::Status;

use super::{
    PROTOCOL, Tokens,
    service::{TokensService, check_protocol},
};
use crate::{clock, refusal::Refusal};

/// After how many seconds clients ask again; a change is told at once by Watch.
const REFRESH_AFTER: u32 = 300;
/// Audiences of one service.
const MAX_AUDIENCES: usize = 16;
/// How long a verdict may be kept: a key may be withdrawn.
const MAX_VERDICT: std::time::Duration = std::time::Duration::from_secs(300);

/// The bundle of our own issuer, as it is now.
pub type OwnBundle = Arc<dyn Fn() -> (TrustDomain, Arc<[u8]>) + Send + Sync>;

impl Tokens {
    /// All bundles, by name.
    pub(super) fn bundles(&self, trust: &Trust, now: Timestamp) -> proto::BundlesResponse {
        let own = self.own_bundle.as_ref().map(|own| own());
        let mut bundles: Vec<proto::Bundle> = Vec::new();
        for bundle in trust.svid_bundles(now) {
            // Nobody knows our own keys better than our issuer.
            if own
                .as_ref()
                .is_some_and(|(own, _)| *own == bundle.trust_domain)
            {
                continue;
            }
            bundles.push(proto::Bundle {
                trust_domain: bundle.trust_domain.as_str().to_owned(),
                document: bundle.document,
                sequence: bundle.changes,
                refresh_hint: 0,
                usable_until: bundle.usable_until.map_or(0, Timestamp::as_millis),
            });
        }
        bundles.extend(own.and_then(|(domain, document)| own_keys(&domain, &document)));
        bundles.sort_by(|one, other| one.trust_domain.cmp(&other.trust_domain));
        proto::BundlesResponse {
            protocol: PROTOCOL,
            version: version(&bundles),
            unchanged: false,
            bundles,
            refresh_after: REFRESH_AFTER,
        }
    }
}

/// Of our bundle what verifies tokens: certificates are not for the filter, and are most of its bytes.
fn own_keys(domain: &TrustDomain, document: &[u8]) -> Option<proto::Bundle> {
    let bundle = attache_core::bundle::Bundle::parse(domain, document).ok()?;
    let hint = bundle.refresh_hint().map_or(0, |hint| hint.as_secs());
    Some(proto::Bundle {
        trust_domain: domain.as_str().to_owned(),
        document: bundle.jwt_keys().to_svid_bundle(),
        sequence: bundle.sequence().unwrap_or_default(),
        refresh_hint: u32::try_from(hint).unwrap_or(u32::MAX),
        usable_until: 0,
    })
}

/// Of all but the times, which change without a change of keys.
fn version(bundles: &[proto::Bundle]) -> String {
    let mut input = Vec::new();
    for bundle in bundles {
        let lasting = proto::Bundle {
            usable_until: 0,
            ..bundle.clone()
        };
        input.extend(lasting.encode_length_delimited_to_vec());
    }
    let hash = digest::digest(&digest::SHA256, &input);
    let digits = hash.as_ref().iter().take(16);
    digits.map(|byte| format!("{byte:02x}")).collect()
}

impl TokensService {
    pub(super) fn hand_out_bundles(
        &self,
        asked: &proto::BundlesRequest,
    ) -> Result<proto::BundlesResponse, Status> {
        check_protocol(asked.protocol)?;
        let mut bundles = self.tokens.bundles(&self.edge.trust, clock::now());
        if bundles.version == asked.version {
            bundles.unchanged = true;
            bundles.bundles.clear();
        }
        Ok(bundles)
    }

    pub(super) async fn verify_one(
        &self,
        asked: &proto::VerifyRequest,
    ) -> Result<proto::VerifyResponse, Status> {
        check_protocol(asked.protocol)?;
        let count = asked.audiences.len();
        if count == 0 || count > MAX_AUDIENCES {
            let message = format!("audiences: {count} of them; send 1 to {MAX_AUDIENCES}");
            return Err(Status::invalid_argument(message));
        }
        let Some(_slot) = self.edge.calls.enter() else {
            return Err(Status::resource_exhausted("overloaded: try again later"));
        };
        let (now, revision) = (clock::now(), self.edge.revision());
        let verifying = self
            .edge
            .trust
            .verify_svid(&asked.token, &asked.audiences, now);
        let mut response = proto::VerifyResponse {
            protocol: PROTOCOL,
            revision: self.tokens.revision(revision),
            ..proto::VerifyResponse::default()
        };
        match verifying.await {
            Ok(svid) => {
                let until = svid.token().expires_at().min(now.plus(MAX_VERDICT));
                response.decision = i32::from(proto::Decision::Allowed);
                svid.spiffe_id()
                    .as_str()
                    .clone_into(&mut response.spiffe_id);
                response.until = until.as_millis();
            }
            Err(not_attested) => {
                response.decision = i32::from(match not_attested {
                    NotAttested::Denied(_) => proto::Decision::Denied,
                    NotAttested::Unavailable(_) => proto::Decision::Unavailable,
                });
                let refusal = Refusal::from(not_attested);
                refusal.code().clone_into(&mut response.code);
                refusal.sentence().clone_into(&mut response.message);
            }
        }
        Ok(response)
    }
}
