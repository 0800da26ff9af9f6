//! Tokens for the edge itself, by which it logs in where its own configuration says: into its Vault.

use std::time::Duration;

use attache_core::{audience::is_audience, jwt::Algorithm, secret::Secret, time::Timestamp};

use super::{Issuer, NotMinted};

/// How long such a token lives: it is shown at once. A minute bears clocks that differ.
const TTL: Duration = Duration::from_secs(60);

impl Issuer {
    /// A token of a minute whose `sub` is `attache:edge:<name>`, for `audience` alone.
    ///
    /// SECURITY: minted without evidence, for the process that holds the keys. Its subject is no SPIFFE ID, so that
    /// it names no workload whatever trust providers there are, and no policy and no document can order one.
    pub async fn mint_for_edge(
        &self,
        name: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Secret, NotMinted> {
        if !is_audience(audience) {
            return Err(NotMinted::Audience(audience.chars().take(64).collect()));
        }
        let ttl = i64::try_from(TTL.as_secs()).unwrap_or_default();
        let subject = format!("attache:edge:{name}");
        let claims = self.claims(&subject, &[audience.to_owned()], ttl, now)?;
        self.sign(claims, Algorithm::Es256).await
    }
}
