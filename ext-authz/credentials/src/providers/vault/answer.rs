//! What a Vault answers: `auth` of a login, `data` of a secret. Every text in it is wiped.

use std::time::Duration;

use attache_core::{decision::Fault, secret::Secret};
use attache_outbound::{Answer, StatusCode};
use attache_policy::document::Engine;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::providers::calls::{self, Failure};

/// However long a login lives, another is made once a day.
const LONGEST: Duration = Duration::from_hours(24);

/// JSON whose texts are wiped.
pub(crate) struct Wiped(pub(crate) Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// As deep as the parser lets it be.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Wiped {
    fn of(answer: &Answer) -> Result<Self, Failure> {
        Ok(Self(Value::Object(answer.json()?)))
    }

    fn member(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.0.get_mut(name)?.as_object_mut()
    }
}

/// A login, or the renewal of one.
pub(crate) struct Login {
    pub(super) token: Secret,
    pub(super) lease: Duration,
    pub(super) is_renewable: bool,
}

impl Login {
    /// `what` is what the log calls it.
    pub(super) fn of(answer: &Answer, what: &str) -> Result<Self, Failure> {
        if answer.status() != StatusCode::OK {
            return Err(refused(what, answer));
        }
        let mut answer = Wiped::of(answer)?;
        let auth = answer.member("auth");
        let auth = auth.ok_or_else(|| Failure::answer("the answer has no `auth`"))?;
        let token = match auth.remove("client_token") {
            Some(Value::String(token)) => Secret::new(token),
            Some(_) | None => return Err(Failure::answer("the answer has no `client_token`")),
        };
        let lease = auth.get("lease_duration").and_then(Value::as_u64);
        let lease = lease.ok_or_else(|| Failure::answer("the answer has no `lease_duration`"))?;
        if token.expose().is_empty() {
            return Err(Failure::answer("the token is empty"));
        }
        if lease == 0 {
            let told = "the token is expired on arrival";
            return Err(Failure::new(Fault::ProviderCredentialExpired, told));
        }
        Ok(Self {
            token,
            lease: Duration::from_secs(lease).min(LONGEST),
            is_renewable: auth.get("renewable").and_then(Value::as_bool) == Some(true),
        })
    }
}

/// A secret that was read.
pub(crate) struct Found {
    answer: Wiped,
    engine: Engine,
}

impl Found {
    pub(super) fn of(answer: &Answer, engine: Engine) -> Result<Self, Failure> {
        let mut found = Self {
            answer: Wiped::of(answer)?,
            engine,
        };
        match found.data() {
            Some(_) => Ok(found),
            None => Err(Failure::answer("the answer has no `data`")),
        }
    }

    fn data(&mut self) -> Option<&mut Map<String, Value>> {
        let data = self.answer.member("data")?;
        match self.engine {
            Engine::KvV1 => Some(data),
            Engine::KvV2 => data.get_mut("data")?.as_object_mut(),
        }
    }

    /// One field.
    pub(crate) fn take(&mut self, field: &str) -> Result<Secret, Failure> {
        // One secret may be both fields of a pair.
        match self.data().and_then(|data| data.get(field)) {
            Some(Value::String(text)) if !text.is_empty() => Ok(Secret::new(text.clone())),
            Some(_) => Err(Failure::answer(
                "the field of the secret is no text, or empty",
            )),
            None => Err(Failure::new(
                Fault::ProviderRefused,
                "the secret has no such field",
            )),
        }
    }

    /// For how long it is used. KV has no leases: its first version tells in `lease_duration` how often to read.
    pub(crate) fn lease_of_at_most(&self, most: Duration) -> Duration {
        let lease = self.answer.0.get("lease_duration").and_then(Value::as_u64);
        let lease = lease.filter(|seconds| *seconds > 0);
        lease.map_or(most, |seconds| Duration::from_secs(seconds).min(most))
    }
}

/// Any other status. SECURITY: `errors` may repeat what was sent, and is not told.
pub(super) fn refused(what: &str, answer: &Answer) -> Failure {
    let mut failure = calls::refused(what, answer);
    match answer.status() {
        StatusCode::NOT_FOUND => failure.add("there is no such secret, mount or role"),
        StatusCode::FORBIDDEN => failure.add("the login's policies do not allow it"),
        StatusCode::SERVICE_UNAVAILABLE => failure.add("it is sealed, or not ready"),
        _ => {}
    }
    failure
}
