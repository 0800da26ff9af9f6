//! X.509-SVIDs that an agent pushes.

use attache_core::certificate::CertificateChain;
use attache_proto::spiffe::X509svid;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::*;

/// An authority, and what it issues.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let issuer = Issuer::new(params, key);
    Authority { der, issuer }
}

impl Authority {
    fn svid(&self, id: &str, key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// As an agent gives it: two certificates, and the key of the first.
    fn given(&self, id: &str) -> X509svid {
        let key = KeyPair::generate().unwrap();
        let mut chain = self.svid(id, &key);
        chain.extend_from_slice(&self.der);
        X509svid {
            spiffe_id: id.to_owned(),
            x509_svid: chain,
            x509_svid_key: key.serialize_der(),
            bundle: self.der.clone(),
            hint: String::new(),
        }
    }
}

fn message(svids: Vec<X509svid>) -> X509svidResponse {
    X509svidResponse {
        svids,
        ..X509svidResponse::default()
    }
}

fn own() -> OwnSvid {
    OwnSvid::x509(PathBuf::from("a"), wanted())
}

fn refusal(svid: X509svid) -> NotFetched {
    certificate::read(&own(), message(vec![svid]), clock::now())
        .err()
        .expect("refused")
}

#[test]
fn the_svid_that_is_asked_for_is_taken_with_its_whole_chain() {
    let authority = authority();
    let svids = vec![
        authority.given("spiffe://cluster.local/other"),
        authority.given(ID),
    ];
    let chain = svids[1].x509_svid.clone();
    let kept = certificate::read(&own(), message(svids.clone()), clock::now());
    let Ok(Evidence::Certificate(read)) = kept.map(|kept| kept.evidence) else {
        panic!("no certificate")
    };
    assert_eq!(read.certificates().count(), 2);
    assert_eq!(read.certificates().collect::<Vec<_>>().concat(), chain);
    // The first is the default identity.
    let any = OwnSvid::x509(PathBuf::from("a"), None);
    let kept = certificate::read(&any, message(svids), clock::now()).ok();
    let Some(Evidence::Certificate(read)) = kept.map(|kept| kept.evidence) else {
        panic!("no certificate")
    };
    let named = attache_trust::x509::named(&read).unwrap();
    assert_eq!(named.as_str(), "spiffe://cluster.local/other");
}

#[test]
fn a_certificate_without_its_key_or_of_another_name_is_not_the_pods() {
    let authority = authority();
    let mut without = authority.given(ID);
    without.x509_svid_key.clear();
    assert!(refusal(without).to_string().contains("key"));
    let mut foreign = authority.given(ID);
    foreign.x509_svid_key = KeyPair::generate().unwrap().serialize_der();
    assert!(refusal(foreign).to_string().contains("not the leaf's"));
    let mut renamed = authority.given("spiffe://cluster.local/ns/bank/sa/vault");
    renamed.spiffe_id = ID.to_owned();
    assert!(matches!(refusal(renamed), NotFetched::OtherName { .. }));
    let mut cut = authority.given(ID);
    cut.x509_svid.pop();
    assert!(matches!(refusal(cut), NotFetched::NoCertificate(_)));
    let mut long = authority.given(ID);
    long.x509_svid = long.x509_svid.repeat(5);
    assert!(matches!(refusal(long), NotFetched::NoCertificate(_)));
    let mut empty = authority.given(ID);
    empty.x509_svid.clear();
    assert!(matches!(refusal(empty), NotFetched::NoCertificate(_)));
    // An authority, of which the agent gives the key as well, is no workload.
    let mut ca = authority.given(ID);
    ca.x509_svid = authority.der.clone();
    ca.x509_svid_key = authority.issuer.key().serialize_der();
    assert!(matches!(refusal(ca), NotFetched::NoCertificate(_)));
}

#[test]
fn a_message_without_the_svid_takes_it_back_and_one_that_is_broken_does_not() {
    let (authority, own, now) = (authority(), own(), clock::now());
    let read = |svids| certificate::read(&own, message(svids), now);
    own.keep(read(vec![authority.given(ID)]).ok().unwrap());
    let mut broken = authority.given(ID);
    broken.x509_svid_key.clear();
    own.failed(&read(vec![broken]).err().unwrap());
    assert!(own.evidence(now).is_some());
    let other = authority.given("spiffe://cluster.local/other");
    own.failed(&read(vec![other]).err().unwrap());
    assert!(own.evidence(now).is_none());
    own.keep(read(vec![authority.given(ID)]).ok().unwrap());
    own.failed(&read(Vec::new()).err().unwrap());
    assert!(own.evidence(now).is_none());
}

/// Waits until the SVID is `wanted`; `None` if there is to be none.
async fn shows(own: &OwnSvid, wanted: Option<&[u8]>) {
    let shown = async {
        loop {
            let chain = match own.evidence(clock::now()) {
                Some(Evidence::Certificate(chain)) => Some(chain),
                Some(_) | None => None,
            };
            let leaf = chain.as_ref().map(CertificateChain::leaf);
            if leaf.is_some() == wanted.is_some()
                && leaf.is_none_or(|leaf| wanted.is_some_and(|wanted| wanted.starts_with(leaf)))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    timeout(limit, shown).await.expect("the SVID changes");
}

#[tokio::test]
async fn a_pushed_svid_counts_at_once_outlives_its_stream_and_is_taken_back() {
    let authority = authority();
    let (first, of_first) = mpsc::channel(1);
    let (second, of_second) = mpsc::channel(1);
    let agent = Agent {
        life: 0,
        refuses: 0,
        asked: AtomicUsize::new(0),
        news: Notify::new(),
        streams: Mutex::new([of_first, of_second].into()),
    };
    let (agent, own, _folder) = served(agent, |socket| OwnSvid::x509(socket, wanted()));
    let push = async |stream: &mpsc::Sender<_>| {
        let svid = authority.given(ID);
        let chain = svid.x509_svid.clone();
        stream.send(Ok(message(vec![svid]))).await.unwrap();
        chain
    };
    let one = push(&first).await;
    shows(&own, Some(&one)).await;
    let two = push(&first).await;
    shows(&own, Some(&two)).await;
    // The agent restarts: what it gave is used on, and a new stream is opened.
    drop(first);
    until(&agent, 2).await;
    shows(&own, Some(&two)).await;
    let three = push(&second).await;
    shows(&own, Some(&three)).await;
    let denied = Status::permission_denied("no identity issued");
    second.send(Err(denied)).await.unwrap();
    shows(&own, None).await;
}
