//! The rules of X509-SVID, each named in a test, on real certificates.

use std::time::Duration;

use attache_core::{
    certificate::RejectedCertificate as Rejected, spiffe_id::TrustDomain, time::Timestamp,
};
use attache_trust::x509::{self, Authorities, InvalidConcatenation, UnusableAuthority};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SignatureAlgorithm,
    date_time_ymd,
};

use crate::{
    pki::{Authority, ID, authorities, chain, extension, judge, signing, svid, uri},
    signer::NOW,
};

/// A length as DER writes a short one.
fn byte(length: usize) -> u8 {
    u8::try_from(length).unwrap()
}

/// The verdict on an SVID that `change` made wrong, or right in another way.
fn verdict(change: impl FnOnce(&mut CertificateParams)) -> Option<Rejected> {
    let authority = Authority::named("root");
    let mut params = svid(ID);
    change(&mut params);
    judge(&[&authority.issue(&params)], &[&authority]).err()
}

fn code(change: impl FnOnce(&mut CertificateParams)) -> &'static str {
    verdict(change).map_or("accepted", |rejected| rejected.code())
}

#[test]
fn an_svid_of_its_own_trust_domain_is_verified_until_it_expires() {
    let authority = Authority::named("root");
    let verified = judge(&[&authority.issue(&svid(ID))], &[&authority]);
    let verified = verified.unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!(verified.spiffe_id().as_str(), ID);
    // The last second of `notAfter` belongs to it (RFC 5280 §4.1.2.5).
    let midnight = Timestamp::from_seconds(1_800_057_600 + 1);
    assert_eq!(verified.expires_at(), midnight);
}

#[test]
fn a_leaf_has_exactly_one_uri_name_which_is_a_spiffe_id() {
    let uris = |uris: &[&str]| {
        verdict(|params| params.subject_alt_names = uris.iter().map(|text| uri(text)).collect())
    };
    assert_eq!(uris(&[]), Some(Rejected::UriCount(0)));
    assert_eq!(
        uris(&[ID, "spiffe://cluster.local/other"]),
        Some(Rejected::UriCount(2))
    );
    assert_eq!(
        uris(&[ID, "https://example.com"]),
        Some(Rejected::UriCount(2))
    );
    assert_eq!(uris(&[ID, ID]), Some(Rejected::UriCount(2)));
    for text in [
        "https://cluster.local/a",
        "Spiffe://cluster.local/a",
        "spiffe://Cluster.local/a",
        "spiffe://cluster.local/a/",
        "spiffe://cluster.local/a/../b",
        "spiffe://cluster.local/%61",
        "spiffe://cluster.local/a?b",
        "spiffe://cluster.local:1/a",
        "",
    ] {
        assert_eq!(uris(&[text]), Some(Rejected::SpiffeId), "{text}");
    }
}

#[test]
fn the_spiffe_id_of_a_leaf_has_a_path() {
    for text in ["spiffe://cluster.local", "spiffe://cluster.local/"] {
        let verdict = verdict(|params| params.subject_alt_names = vec![uri(text)]);
        assert_eq!(verdict, Some(Rejected::SpiffeId), "{text}");
    }
}

#[test]
fn other_names_may_stand_beside_the_uri() {
    let code = code(|params| {
        let dns = SanType::DnsName("payment.shop.svc".try_into().expect("ASCII"));
        params
            .subject_alt_names
            .extend([dns, SanType::IpAddress([10, 0, 0, 1].into())]);
    });
    assert_eq!(code, "accepted");
}

#[test]
fn a_uri_name_that_is_no_text_is_refused() {
    // GeneralNames { [6] ff fe }, and an unknown name [9] beside a good one.
    let code_of = |der: &[u8]| {
        code(|params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![extension(17, true, der)];
        })
    };
    assert_eq!(
        code_of(&[0x30, 4, 0x86, 2, 0xff, 0xfe]),
        "certificate-spiffe-id-invalid"
    );
    assert_eq!(code_of(&[0x30, 4, 0x86, 2, 0x73]), "certificate-malformed");
}

#[test]
fn the_names_are_critical_where_the_subject_is_empty() {
    let names = |critical: bool, subject: bool| {
        code(|params| {
            if subject {
                params
                    .distinguished_name
                    .push(DnType::CommonName, "payment");
            }
            params.subject_alt_names.clear();
            let der = [
                &[0x30, 2 + byte(ID.len()), 0x86, byte(ID.len())],
                ID.as_bytes(),
            ]
            .concat();
            params.custom_extensions = vec![extension(17, critical, &der)];
        })
    };
    assert_eq!(names(true, false), "accepted");
    assert_eq!(names(false, false), "certificate-san-not-critical");
    assert_eq!(names(false, true), "accepted");
}

#[test]
fn a_signing_certificate_is_never_a_leaf() {
    for constraints in [
        BasicConstraints::Unconstrained,
        BasicConstraints::Constrained(0),
    ] {
        let code = code(|params| params.is_ca = IsCa::Ca(constraints));
        assert_eq!(code, "certificate-authority-as-leaf");
    }
    let authority = Authority::named("root");
    let rejected = judge(&[&authority.der], &[&authority]).err();
    assert_eq!(rejected, Some(Rejected::AuthorityAsLeaf));
    assert_eq!(code(|params| params.is_ca = IsCa::ExplicitNoCa), "accepted");
}

#[test]
fn key_usage_is_there_with_digital_signature_and_without_signing_of_certificates_or_crls() {
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyAgreement, KeyCertSign, KeyEncipherment};
    let usages = |usages: &[KeyUsagePurpose]| code(|params| params.key_usages = usages.to_vec());
    assert_eq!(
        usages(&[DigitalSignature, KeyEncipherment, KeyAgreement]),
        "accepted"
    );
    for broken in [
        &[][..],
        &[KeyEncipherment],
        &[DigitalSignature, KeyCertSign],
        &[DigitalSignature, CrlSign],
    ] {
        assert_eq!(usages(broken), "certificate-key-usage", "{broken:?}");
    }
}

#[test]
fn key_usage_is_critical() {
    let with = |critical: bool| {
        code(|params| {
            params.key_usages.clear();
            // BIT STRING with digitalSignature.
            params.custom_extensions = vec![extension(15, critical, &[3, 2, 7, 0x80])];
        })
    };
    assert_eq!(with(true), "accepted");
    assert_eq!(with(false), "certificate-key-usage");
}

#[test]
fn extended_key_usage_is_absent_or_has_both_server_and_client() {
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    let purposes = |purposes: &[ExtendedKeyUsagePurpose]| {
        code(|params| params.extended_key_usages = purposes.to_vec())
    };
    assert_eq!(purposes(&[]), "accepted");
    assert_eq!(purposes(&[ClientAuth, ServerAuth]), "accepted");
    assert_eq!(purposes(&[ClientAuth, ServerAuth, CodeSigning]), "accepted");
    for broken in [
        &[ClientAuth][..],
        &[ServerAuth],
        &[CodeSigning],
        &[ExtendedKeyUsagePurpose::Any],
    ] {
        assert_eq!(
            purposes(broken),
            "certificate-extended-key-usage",
            "{broken:?}"
        );
    }
}

#[test]
fn an_extension_that_stands_twice_is_refused() {
    let code = code(|params| {
        params.custom_extensions = vec![extension(15, true, &[3, 2, 7, 0x80])];
    });
    assert_eq!(code, "certificate-malformed");
}

#[test]
fn an_unknown_critical_extension_is_refused_and_another_is_not() {
    let with = |critical: bool| {
        code(|params| params.custom_extensions = vec![extension(99, critical, &[5, 0])])
    };
    assert_eq!(with(true), "certificate-constraint");
    assert_eq!(with(false), "accepted");
}

#[test]
fn a_certificate_that_must_not_be_taken_without_its_revocation_list_is_refused() {
    // One distribution point: `http://a/`.
    let points = [
        0x30, 0x0f, 0x30, 0x0d, 0xa0, 0x0b, 0xa0, 0x09, 0x86, 0x07, b'h', b't', b't', b'p', b':',
        b'/', b'/',
    ];
    let with = |critical: bool| {
        code(|params| params.custom_extensions = vec![extension(31, critical, &points)])
    };
    assert_eq!(with(true), "certificate-constraint");
    assert_eq!(with(false), "accepted");
    let root = Authority::named("root");
    let between = |critical: bool| {
        let mut params = signing("between");
        params.custom_extensions = vec![extension(31, critical, &points)];
        let between = root.below(params);
        let chain = [between.issue(&svid(ID)), between.der];
        let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
        judge(&chain, &[&root]).map_or_else(|refused| refused.code(), |_| "accepted")
    };
    assert_eq!(between(true), "certificate-constraint");
    assert_eq!(between(false), "accepted");
}

#[test]
fn bytes_before_after_and_inside_the_der_are_refused() {
    let authority = Authority::named("root");
    let good = authority.issue(&svid(ID));
    let judged =
        |der: &[u8]| judge(&[der], &[&authority]).map_or_else(|e| e.code(), |_| "accepted");
    assert_eq!(judged(&good), "accepted");
    for der in [
        [good.as_slice(), &[0]].concat(),
        [&[0], good.as_slice()].concat(),
        [good.as_slice(), good.as_slice()].concat(),
        good[..good.len() - 1].to_vec(),
        Vec::new(),
        vec![0x30, 0],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(judged(&der), "certificate-malformed", "{} bytes", der.len());
    }
    // As an intermediate and as an authority they are no better.
    let trailing = [authority.der.as_slice(), &[0]].concat();
    let rejected = judge(&[&good, &trailing], &[&authority]).err();
    assert_eq!(
        rejected.map(|rejected| rejected.code()),
        Some("certificate-malformed")
    );
    let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
    let set = Authorities::new(domain, [trailing.as_slice()]);
    assert_eq!(set.ignored()[0].reason, UnusableAuthority::Malformed);
}

#[test]
fn no_byte_of_a_certificate_can_be_changed_without_a_refusal() {
    let authority = Authority::named("root");
    let good = authority.issue(&svid(ID));
    for index in 0..good.len() {
        let mut changed = good.clone();
        changed[index] ^= 1;
        assert!(judge(&[&changed], &[&authority]).is_err(), "byte {index}");
    }
}

#[test]
fn no_beginning_of_a_certificate_is_one() {
    let authority = Authority::named("root");
    let good = authority.issue(&svid(ID));
    for length in 0..good.len() {
        assert!(
            judge(&[&good[..length]], &[&authority]).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn an_authority_vouches_for_its_own_trust_domain_alone() {
    let authority = Authority::named("root");
    let foreign = authority.issue(&svid("spiffe://other.example/ns/shop/sa/payment"));
    let rejected = judge(&[&foreign], &[&authority]).err();
    assert_eq!(rejected, Some(Rejected::TrustDomainMismatch));
    let others = Authority::named("root");
    let rejected = judge(&[&others.issue(&svid(ID))], &[&authority]).err();
    assert_eq!(
        rejected,
        Some(Rejected::SignatureInvalid),
        "the same name, another key"
    );
    let stranger = Authority::named("another name");
    let rejected = judge(&[&stranger.issue(&svid(ID))], &[&authority]).err();
    assert_eq!(rejected, Some(Rejected::Untrusted));
}

#[test]
fn without_authorities_nothing_is_trusted() {
    let authority = Authority::named("root");
    let rejected = judge(&[&authority.issue(&svid(ID))], &[]).err();
    assert_eq!(rejected, Some(Rejected::Untrusted));
}

#[test]
fn a_self_signed_leaf_is_not_trusted() {
    let key = KeyPair::generate().expect("a key");
    let leaf = svid(ID).self_signed(&key).expect("a certificate");
    let rejected = judge(&[leaf.der()], &[&Authority::named("root")]).err();
    assert_eq!(rejected, Some(Rejected::Untrusted));
}

#[test]
fn intermediates_stand_behind_the_leaf_in_any_order_and_with_the_root_or_without() {
    let root = Authority::named("root");
    let upper = root.below(signing("upper"));
    let lower = upper.below(signing("lower"));
    let leaf = lower.issue(&svid(ID));
    let accepted = |certificates: &[&[u8]]| judge(certificates, &[&root]).is_ok();
    assert!(accepted(&[&leaf, &lower.der, &upper.der]));
    assert!(accepted(&[&leaf, &upper.der, &lower.der]));
    assert!(accepted(&[&leaf, &lower.der, &upper.der, &root.der]));
    assert!(!accepted(&[&leaf, &lower.der]), "a link is missing");
    assert!(
        !accepted(&[&lower.der, &leaf, &upper.der]),
        "the leaf stands first"
    );
    let rejected = judge(&[&leaf, &leaf, &lower.der, &upper.der], &[&root]).err();
    assert_eq!(
        rejected.map(|rejected| rejected.code()),
        Some("certificate-intermediate-invalid")
    );
    // An intermediate may itself be an authority of the bundle.
    assert!(judge(&[&leaf], &[&lower]).is_ok());
}

#[test]
fn an_intermediate_is_an_authority_that_may_sign_certificates_and_has_no_path() {
    let root = Authority::named("root");
    let judged = |change: fn(&mut CertificateParams)| {
        let mut params = signing("between");
        change(&mut params);
        let between = root.below(params);
        let leaf = between.issue(&svid(ID));
        judge(&[&leaf, &between.der], &[&root]).map_or_else(|e| e.code(), |_| "accepted")
    };
    assert_eq!(judged(|_| ()), "accepted");
    assert_eq!(
        judged(|it| it.subject_alt_names = vec![uri("spiffe://cluster.local")]),
        "accepted"
    );
    let invalid = "certificate-intermediate-invalid";
    assert_eq!(judged(|it| it.is_ca = IsCa::NoCa), invalid);
    assert_eq!(judged(|it| it.is_ca = IsCa::ExplicitNoCa), invalid);
    assert_eq!(judged(|it| it.key_usages = vec![]), invalid);
    assert_eq!(
        judged(|it| it.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        invalid
    );
    assert_eq!(judged(|it| it.subject_alt_names = vec![uri(ID)]), invalid);
    assert_eq!(
        judged(|it| it.subject_alt_names = vec![uri("https://a")]),
        invalid
    );
}

#[test]
fn a_leaf_does_not_sign_another() {
    let root = Authority::named("root");
    let middle = root.below(svid("spiffe://cluster.local/a"));
    let leaf = middle.issue(&svid(ID));
    let rejected = judge(&[&leaf, &middle.der], &[&root]).err();
    assert_eq!(
        rejected.map(|rejected| rejected.code()),
        Some("certificate-intermediate-invalid")
    );
}

#[test]
fn path_lengths_are_obeyed_of_intermediates_and_of_the_authority_itself() {
    let constrained = |name: &str, length| {
        let mut params = signing(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
        params
    };
    let judged = |root: CertificateParams, upper: CertificateParams| {
        let root = Authority::root(root);
        let upper = root.below(upper);
        let lower = upper.below(signing("lower"));
        let leaf = lower.issue(&svid(ID));
        judge(&[&leaf, &lower.der, &upper.der], &[&root]).map_or_else(|e| e.code(), |_| "accepted")
    };
    assert_eq!(
        judged(constrained("root", 2), constrained("upper", 1)),
        "accepted"
    );
    assert_eq!(
        judged(signing("root"), constrained("upper", 0)),
        "certificate-constraint"
    );
    assert_eq!(
        judged(constrained("root", 1), signing("upper")),
        "certificate-constraint"
    );
    assert_eq!(
        judged(constrained("root", 0), signing("upper")),
        "certificate-constraint"
    );
}

#[test]
fn name_constraints_are_obeyed() {
    let judged = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        let mut params = signing("root");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: excluded,
        });
        let root = Authority::root(params);
        let mut leaf = svid(ID);
        leaf.subject_alt_names
            .push(SanType::DnsName("a.shop.svc".try_into().expect("ASCII")));
        judge(&[&root.issue(&leaf)], &[&root]).map_or_else(|e| e.code(), |_| "accepted")
    };
    let dns = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
    assert_eq!(judged(dns("shop.svc"), vec![]), "accepted");
    assert_eq!(judged(dns("bank.svc"), vec![]), "certificate-constraint");
    assert_eq!(judged(vec![], dns("shop.svc")), "certificate-constraint");
}

#[test]
fn constraints_on_uris_refuse_whatever_they_could_mean() {
    // NameConstraints { permittedSubtrees { [6] "cluster.local" } }: no library reads them alike.
    let name = b"cluster.local";
    let length = byte(name.len());
    let der = [
        &[
            0x30,
            length + 6,
            0xa0,
            length + 4,
            0x30,
            length + 2,
            0x86,
            length,
        ],
        &name[..],
    ]
    .concat();
    let mut params = signing("root");
    params.custom_extensions = vec![extension(30, true, &der)];
    let root = Authority::root(params);
    let rejected = judge(&[&root.issue(&svid(ID))], &[&root]).err();
    assert_eq!(
        rejected.map(|rejected| rejected.code()),
        Some("certificate-constraint")
    );
}

#[test]
fn every_certificate_of_the_path_must_be_good_now() {
    let past = |params: &mut CertificateParams| params.not_after = date_time_ymd(2027, 1, 15);
    let ahead = |params: &mut CertificateParams| params.not_before = date_time_ymd(2027, 1, 16);
    let judged = |position: usize, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = [signing("root"), signing("between"), svid(ID)];
        change(&mut params[position]);
        let [root, between, leaf] = params;
        let root = Authority::root(root);
        let between = root.below(between);
        let leaf = between.issue(&leaf);
        judge(&[&leaf, &between.der], &[&root]).map_or_else(|e| e.code(), |_| "accepted")
    };
    assert_eq!(judged(0, &|_| ()), "accepted");
    for position in 0..3 {
        assert_eq!(judged(position, &past), "certificate-expired", "{position}");
        assert_eq!(
            judged(position, &ahead),
            "certificate-not-yet-valid",
            "{position}"
        );
    }
}

#[test]
fn what_was_verified_is_good_as_long_as_the_whole_path() {
    let mut params = signing("between");
    params.not_after = date_time_ymd(2027, 1, 16);
    let root = Authority::named("root");
    let between = root.below(params);
    let mut leaf = svid(ID);
    leaf.not_after = date_time_ymd(2027, 6, 1);
    let verified = judge(&[&between.issue(&leaf), &between.der], &[&root]);
    let verified = verified.unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!(
        verified.expires_at(),
        Timestamp::from_seconds(1_800_057_601)
    );
    let still = |at: Timestamp| verified.validity().holds_at(at).is_ok();
    assert!(still(NOW) && still(Timestamp::from_seconds(1_800_057_600)));
    assert!(!still(verified.expires_at()) && !still(NOW.plus(Duration::from_hours(48))));
}

#[test]
fn a_renewed_authority_with_the_same_key_counts_by_its_own_dates() {
    let key = || KeyPair::from_pem(KEY).expect("a key");
    let of = |params: CertificateParams| {
        params
            .self_signed(&key())
            .expect("a certificate")
            .der()
            .to_vec()
    };
    let mut old = signing("root");
    old.not_after = date_time_ymd(2027, 1, 15);
    let issuer = rcgen::Issuer::new(signing("root"), key());
    let leaf = svid(ID)
        .signed_by(&KeyPair::generate().expect("a key"), &issuer)
        .expect("a leaf");
    let judged = |certificates: &[Vec<u8>]| {
        let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
        let set = Authorities::new(domain, certificates.iter().map(Vec::as_slice));
        x509::verify(&chain(&[leaf.der()]), &set, NOW).map_or_else(|e| e.code(), |_| "accepted")
    };
    let (old, renewed) = (of(old), of(signing("root")));
    assert_eq!(judged(std::slice::from_ref(&old)), "certificate-expired");
    assert_eq!(judged(&[old.clone(), renewed.clone()]), "accepted");
    assert_eq!(judged(&[renewed, old]), "accepted");
}

/// A P-256 key for tests alone.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyqmYhpJywgozFxp9
HrZ0AOqqBupvbJkq18u5dxVl4F2hRANCAASvymBm5s5ExMZgzZyqnXwGVyYOGc0K
FYGj+NGMO2h+UQY/njND0UZfQd3lY/sAxH0kKPMMNiFg5iRL0Ieq25ll
-----END PRIVATE KEY-----
";

#[test]
fn weak_and_unknown_keys_of_a_leaf_are_refused() {
    /// `n` of so many bytes, and `e` 65537.
    struct Rsa(Vec<u8>);
    impl Rsa {
        fn of(bytes: usize) -> Self {
            let mut n = vec![0xc1; bytes];
            n.insert(0, 0);
            let mut inside = integer(&n);
            inside.extend(integer(&[1, 0, 1]));
            Self(
                [
                    &[0x30, 0x82][..],
                    &u16::try_from(inside.len()).unwrap().to_be_bytes(),
                    &inside,
                ]
                .concat(),
            )
        }
    }
    fn integer(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("a length").to_be_bytes();
        let long = [&[2, 0x82], &length[..], bytes].concat();
        if bytes.len() < 128 {
            [&[2, length[1]], bytes].concat()
        } else {
            long
        }
    }
    impl PublicKeyData for Rsa {
        fn der_bytes(&self) -> &[u8] {
            &self.0
        }
        fn algorithm(&self) -> &'static SignatureAlgorithm {
            &rcgen::PKCS_RSA_SHA256
        }
    }
    let root = Authority::named("root");
    let judged = |bytes| {
        let leaf = root.issue_for(&svid(ID), &Rsa::of(bytes));
        judge(&[&leaf], &[&root]).map_or_else(|e| e.code(), |_| "accepted")
    };
    assert_eq!(judged(256), "accepted");
    assert_eq!(judged(128), "certificate-algorithm-not-allowed");
}

#[test]
fn a_signature_algorithm_that_is_not_accepted_is_refused() {
    let root = Authority::named("root");
    let mut leaf = root.issue(&svid(ID));
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA224, in both places.
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let places: Vec<_> = (0..leaf.len() - 8)
        .filter(|at| leaf[*at..at + 8] == oid)
        .collect();
    assert_eq!(places.len(), 2);
    for at in places {
        leaf[at + 7] = 1;
    }
    let rejected = judge(&[&leaf], &[&root]).err();
    assert_eq!(rejected, Some(Rejected::AlgorithmNotAllowed));
}

#[test]
fn certificates_of_a_bundle_that_may_not_sign_are_ignored_one_by_one() {
    let ignored = |change: fn(&mut CertificateParams)| {
        let mut params = signing("root");
        change(&mut params);
        let set = authorities(
            "cluster.local",
            &[&Authority::named("good"), &Authority::root(params)],
        );
        assert_eq!(set.count() + set.ignored().len(), 2);
        set.ignored()
            .first()
            .map(|ignored| (ignored.index, ignored.reason))
    };
    assert_eq!(ignored(|_| ()), None);
    assert_eq!(
        ignored(|it| it.subject_alt_names = vec![uri("spiffe://cluster.local")]),
        None
    );
    assert_eq!(
        ignored(|it| it.is_ca = IsCa::NoCa),
        Some((1, UnusableAuthority::NotAnAuthority))
    );
    assert_eq!(
        ignored(|it| it.key_usages = vec![]),
        Some((1, UnusableAuthority::KeyUsage))
    );
    let with_path = ignored(|it| it.subject_alt_names = vec![uri(ID)]);
    assert_eq!(with_path, Some((1, UnusableAuthority::SpiffeId)));
}

#[test]
fn a_workload_api_sends_certificates_one_after_the_other() {
    let (one, two) = (Authority::named("one"), Authority::named("two"));
    let domain = || TrustDomain::parse("cluster.local").expect("a trust domain");
    let set = Authorities::concatenated(domain(), &[one.der.clone(), two.der].concat());
    assert_eq!(set.expect("two certificates").count(), 2);
    assert_eq!(
        Authorities::concatenated(domain(), &[])
            .expect("none")
            .count(),
        0
    );
    for broken in [
        [one.der.as_slice(), &[0x30]].concat(),
        one.der[..one.der.len() - 1].to_vec(),
    ] {
        let refused = Authorities::concatenated(domain(), &broken);
        assert_eq!(refused, Err(InvalidConcatenation::Malformed));
    }
    let many = [0x30, 0].repeat(x509::MAX_AUTHORITIES + 1);
    assert_eq!(
        Authorities::concatenated(domain(), &many),
        Err(InvalidConcatenation::TooMany(x509::MAX_AUTHORITIES))
    );
}

#[test]
fn a_chain_that_loops_costs_no_more_than_its_length() {
    let root = Authority::named("root");
    // Eight authorities of one name, none of which leads to the root.
    let stranger = Authority::named("stranger");
    let mut certificates = vec![stranger.issue(&svid(ID))];
    for _ in 0..7 {
        certificates.push(stranger.below(signing("stranger")).der);
    }
    let shown: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    assert!(judge(&shown, &[&root]).is_err());
}
