use std::{fs, path::Path, sync::Arc};

use attache_core::{spiffe_id::TrustDomain, time::Timestamp};
use attache_policy::Settings;
use attache_trust::{Trust, TrustSettings};

use super::{PolicySource, Reload};
use crate::live::Live;

const PROVIDER: &str = r#"
apiVersion: attache.dev/v1
kind: TrustProvider
metadata: { name: cluster }
spec:
  type: kubernetes-service-account
  issuer: https://cluster.example
  keys:
    jwks: # RFC 7517, appendix A.1
      keys:
        - kty: EC
          crv: P-256
          kid: "1"
          x: MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4
          y: 4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM
"#;

fn reload(directory: &Path) -> Reload {
    let trust_domain = TrustDomain::parse("cluster.local").unwrap();
    let source = PolicySource {
        directory: directory.to_path_buf(),
        settings: Settings {
            trust_domain,
            trust_providers: vec![],
        },
        file_roots: vec![],
    };
    let trust = Trust::new(TrustSettings::new(Arc::new(|| {
        Timestamp::from_seconds(1_800_000_000)
    })));
    let (compiled, providers) = source.load().unwrap();
    trust.replace(providers).unwrap();
    Reload::new(source, Arc::new(Live::new(compiled)), Arc::new(trust))
}

#[tokio::test]
async fn a_broken_set_leaves_the_last_good_one_in_force_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trust.yaml");
    fs::write(&file, PROVIDER).unwrap();
    let reload = reload(folder.path());
    let before = reload.live.compiled().revision().to_owned();

    fs::write(&file, PROVIDER.replace("issuer", "issuar")).unwrap();
    let refused = reload.run().await.unwrap_err().to_string();
    assert!(refused.contains("issuer"), "{refused}");
    assert_eq!(reload.live.compiled().revision(), before);
    assert_eq!(reload.refused(), Some(refused));

    fs::write(&file, PROVIDER.replace("cluster.example", "other.example")).unwrap();
    let after = reload.run().await.unwrap();
    assert_ne!(after, before);
    assert_eq!(reload.live.compiled().revision(), after);
    assert_eq!(reload.refused(), None);
}
