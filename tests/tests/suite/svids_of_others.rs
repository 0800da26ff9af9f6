//! SVIDs, bundles, a bundle endpoint and a Workload API that go-spiffe made: what it accepts is accepted here.
// `cfg(test)` tells clippy that a failed expectation is an answer here.

use std::sync::Arc;

use anyhow::Result;
use attache_core::{
    attestation::ProviderKind,
    certificate::CertificateChain,
    evidence::Evidence,
    secret::Secret,
    spiffe_id::{SpiffeId, TrustDomain},
};
use attache_edge::clock;
use attache_tests::spiffe_peer::{ENDPOINT, SpiffePeer, TRUST_DOMAIN, WORKLOAD};
use attache_trust::{BundleSource, NotAttested, ProviderConfig, Trust, TrustSettings};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

fn trust(source: &BundleSource) -> Result<Trust> {
    let trust = Trust::new(TrustSettings::new(Arc::new(clock::now)));
    let config = |kind: ProviderKind| -> Result<ProviderConfig> {
        let domain = TrustDomain::parse(TRUST_DOMAIN)?;
        Ok(ProviderConfig::spiffe(
            kind.name(),
            kind,
            domain,
            source.clone(),
        ))
    };
    trust.replace(vec![
        config(ProviderKind::SpiffeJwt)?,
        config(ProviderKind::SpiffeX509)?,
    ])?;
    Ok(trust)
}

fn token(peer: &SpiffePeer) -> Result<String> {
    Ok(std::fs::read_to_string(peer.file("token.jwt"))?)
}

fn chain(peer: &SpiffePeer, name: &str) -> Result<CertificateChain> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(peer.file(name))?.collect();
    let certificates = certificates?.iter().map(|one| one.to_vec()).collect();
    Ok(CertificateChain::new(certificates)?)
}

async fn id(trust: &Trust, evidence: Evidence) -> Result<String, NotAttested> {
    let attested = trust.attest(&evidence, clock::now()).await?;
    Ok(attested.spiffe_id().to_string())
}

/// All three SVIDs of the peer are accepted by bundles from `source`.
async fn accepts_all(peer: &SpiffePeer, source: BundleSource) -> Result<()> {
    let trust = trust(&source)?;
    let evidence = Evidence::Token(Secret::new(token(peer)?));
    assert_eq!(
        id(&trust, evidence).await,
        Ok(WORKLOAD.to_owned()),
        "{source:?}"
    );
    for name in ["svid.pem", "deep.pem"] {
        let evidence = Evidence::Certificate(chain(peer, name)?);
        let attested = id(&trust, evidence).await;
        assert_eq!(attested, Ok(WORKLOAD.to_owned()), "{name} by {source:?}");
    }
    Ok(())
}

#[tokio::test]
async fn svids_of_go_spiffe_are_accepted_by_its_bundle_from_a_file() -> Result<()> {
    let peer = SpiffePeer::start()?;
    accepts_all(&peer, BundleSource::File(peer.file("bundle.json"))).await
}

#[tokio::test]
async fn svids_of_go_spiffe_are_accepted_by_its_https_spiffe_endpoint() -> Result<()> {
    let peer = SpiffePeer::start()?;
    let source = BundleSource::HttpsSpiffe {
        url: peer.url.clone(),
        endpoint_id: SpiffeId::parse(ENDPOINT)?,
        bundle_file: peer.file("bundle.json"),
    };
    accepts_all(&peer, source).await
}

#[tokio::test]
async fn svids_of_go_spiffe_are_accepted_by_its_workload_api() -> Result<()> {
    let peer = SpiffePeer::start()?;
    accepts_all(&peer, BundleSource::WorkloadApi(peer.socket.clone())).await
}

#[tokio::test]
async fn an_endpoint_of_go_spiffe_with_another_id_than_asked_for_is_refused() -> Result<()> {
    let peer = SpiffePeer::start()?;
    let trust = trust(&BundleSource::HttpsSpiffe {
        url: peer.url.clone(),
        endpoint_id: SpiffeId::parse("spiffe://peer.example/another")?,
        bundle_file: peer.file("bundle.json"),
    })?;
    let refused = id(&trust, Evidence::Token(Secret::new(token(&peer)?))).await;
    assert!(
        matches!(refused, Err(NotAttested::Unavailable(_))),
        "{refused:?}"
    );
    let error = trust.status(clock::now())[0].last_error.clone();
    assert!(
        error.clone().unwrap_or_default().contains(ENDPOINT),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn go_spiffe_and_this_agree_on_what_was_changed() -> Result<()> {
    let peer = SpiffePeer::start()?;
    let trust = trust(&BundleSource::File(peer.file("bundle.json")))?;
    let good = token(&peer)?;
    assert!(peer.accepts(&peer.file("token.jwt"))?);
    assert!(peer.accepts(&peer.file("deep.pem"))?);
    let [header, payload, signature] = good
        .split('.')
        .collect::<Vec<_>>()
        .try_into()
        .expect("three parts");
    let file = peer.file("changed.jwt");
    for changed in [
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{}", "A".repeat(signature.len())),
        format!("{header}.{header}.{signature}"),
        format!("{payload}.{payload}.{signature}"),
    ] {
        std::fs::write(&file, &changed)?;
        assert!(!peer.accepts(&file)?, "{changed}");
        let refused = id(&trust, Evidence::Token(Secret::new(changed.clone()))).await;
        assert!(
            matches!(refused, Err(NotAttested::Denied(_))),
            "{changed}: {refused:?}"
        );
    }
    Ok(())
}
