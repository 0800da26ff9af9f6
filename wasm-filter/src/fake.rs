//! An Envoy for native tests: what is asked of it is kept, and signatures are really verified.

use core::{
    cell::{Cell, RefCell},
    time::Duration,
};
use std::{collections::BTreeMap, rc::Rc};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use prost::Message as _;

use crate::{
    host::{Answer, Attribute, Buffer, ContextId, Failure, Host, Level, Map, Method, MetricKind},
    pairs,
    signature::Arguments,
};

/// An answer of the filter's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u32,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn code(&self) -> &str {
        self.headers
            .get("x-attache-code")
            .map_or("", String::as_str)
    }
}

/// A call that the filter made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) token: u32,
    pub(crate) what: String,
    pub(crate) message: Vec<u8>,
}

/// Headers, in their order.
type HeaderLines = Vec<(String, Vec<u8>)>;

/// Shared values and their versions, by key.
type SharedValues = BTreeMap<String, (Vec<u8>, u32)>;

/// What a test may look at and change.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) now: Cell<i64>,
    pub(crate) context: Cell<ContextId>,
    pub(crate) headers: RefCell<BTreeMap<ContextId, HeaderLines>>,
    pub(crate) buffers: RefCell<BTreeMap<u32, Vec<u8>>>,
    pub(crate) callout_status: Cell<u32>,
    pub(crate) answered: RefCell<BTreeMap<ContextId, Answered>>,
    pub(crate) resumed: RefCell<Vec<ContextId>>,
    pub(crate) states: RefCell<BTreeMap<(ContextId, String), Vec<u8>>>,
    pub(crate) properties: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Between all that have it: the VMs of one Envoy.
    pub(crate) shared: Rc<RefCell<SharedValues>>,
    pub(crate) called: RefCell<Vec<Called>>,
    pub(crate) cancelled: RefCell<Vec<u32>>,
    pub(crate) refuse_calls: Cell<bool>,
    pub(crate) logged: RefCell<Vec<String>>,
    pub(crate) verifications: Cell<u32>,
    pub(crate) finished: Cell<bool>,
    pub(crate) seed: Cell<u64>,
    pub(crate) tokens: Cell<u32>,
    pub(crate) versions: Rc<Cell<u32>>,
    /// How often anything was asked that requests need.
    pub(crate) asked: Cell<u32>,
}

impl Fake {
    /// Puts a request in and makes it the one that runs.
    pub(crate) fn request(&self, stream: ContextId, headers: &[(&str, &[u8])]) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        self.headers.borrow_mut().insert(stream, headers.collect());
        self.context.set(stream);
    }

    pub(crate) fn header(&self, stream: ContextId, name: &str) -> Vec<String> {
        let headers = self.headers.borrow();
        let all = headers.get(&stream).into_iter().flatten();
        let named = all.filter(|(key, _)| key == name);
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    pub(crate) fn fill(&self, buffer: Buffer, bytes: Vec<u8>) {
        self.buffers.borrow_mut().insert(buffer as u32, bytes);
    }

    /// The calls since the last look.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.called.take()
    }

    fn called(&self, what: String, message: &[u8]) -> Result<u32, Failure> {
        if self.refuse_calls.get() {
            return Err(Failure(10));
        }
        self.tokens.set(self.tokens.get() + 1);
        let token = self.tokens.get();
        let message = message.to_vec();
        self.called.borrow_mut().push(Called {
            token,
            what,
            message,
        });
        Ok(token)
    }

    fn verified(&self, argument: &[u8]) -> bool {
        let Ok(arguments) = Arguments::decode(argument) else {
            return false;
        };
        // Told from the key's length: P-256, P-384 and P-521 have 91, 120 and 158 bytes.
        let algorithm: &'static dyn VerificationAlgorithm =
            match (arguments.public_key.len(), arguments.hash_function.as_str()) {
                (91, "sha256") => &signature::ECDSA_P256_SHA256_ASN1,
                (120, "sha384") => &signature::ECDSA_P384_SHA384_ASN1,
                (158, "sha512") => &signature::ECDSA_P521_SHA512_ASN1,
                (_, "sha256") => &signature::RSA_PKCS1_2048_8192_SHA256,
                (_, "sha384") => &signature::RSA_PKCS1_2048_8192_SHA384,
                (_, _) => &signature::RSA_PKCS1_2048_8192_SHA512,
            };
        let key = UnparsedPublicKey::new(algorithm, &arguments.public_key);
        key.verify(&arguments.text, &arguments.signature).is_ok()
    }
}

impl Host for Fake {
    fn micros(&self) -> i64 {
        self.asked.set(self.asked.get() + 1);
        self.now.get() * 1000
    }

    fn random(&self) -> u64 {
        self.seed.get()
    }

    fn log(&self, _level: Level, text: &str) {
        self.logged.borrow_mut().push(text.to_owned());
    }

    fn tick_every(&self, _period: Duration) {}

    fn act_as(&self, context: ContextId) -> Result<(), Failure> {
        if !self.headers.borrow().contains_key(&context) && context > 9 {
            return Err(Failure(2));
        }
        self.context.set(context);
        Ok(())
    }

    fn finish(&self) {
        self.finished.set(true);
    }

    fn bytes(&self, buffer: Buffer, most: usize) -> Vec<u8> {
        let buffers = self.buffers.borrow();
        let bytes = buffers.get(&(buffer as u32));
        bytes
            .map(|bytes| bytes.iter().take(most).copied().collect())
            .unwrap_or_default()
    }

    fn headers(&self, map: Map) -> Result<Vec<u8>, Failure> {
        self.asked.set(self.asked.get() + 1);
        if map == Map::CalloutHeaders {
            let status = self.callout_status.get().to_string();
            return Ok(pairs::write(&[(":status", status.as_bytes())]));
        }
        let headers = self.headers.borrow();
        let all = headers.get(&self.context.get()).ok_or(Failure(2))?;
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        Ok(pairs::write(&all))
    }

    fn set_header(&self, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.remove_header(name.as_bytes())?;
        let mut headers = self.headers.borrow_mut();
        let all = headers.get_mut(&self.context.get()).ok_or(Failure(2))?;
        all.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    fn remove_header(&self, name: &[u8]) -> Result<(), Failure> {
        self.asked.set(self.asked.get() + 1);
        let mut headers = self.headers.borrow_mut();
        let all = headers.get_mut(&self.context.get()).ok_or(Failure(2))?;
        all.retain(|(key, _)| key.as_bytes() != name);
        Ok(())
    }

    fn replace_body(&self, _length: usize, body: &[u8]) -> Result<(), Failure> {
        self.fill(Buffer::RequestBody, body.to_vec());
        Ok(())
    }

    fn answer(&self, answer: Answer<'_>) -> Result<(), Failure> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = answer.headers.iter();
        let answered = Answered {
            status: answer.status,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), text(value)))
                .collect(),
            body: text(answer.body),
        };
        self.answered
            .borrow_mut()
            .insert(self.context.get(), answered);
        Ok(())
    }

    fn resume(&self) -> Result<(), Failure> {
        self.resumed.borrow_mut().push(self.context.get());
        Ok(())
    }

    fn property(&self, attribute: Attribute) -> Option<Vec<u8>> {
        self.asked.set(self.asked.get() + 1);
        let path = attribute.path().replace('\0', ".");
        self.properties.borrow().get(&path).cloned()
    }

    fn set_state(&self, name: &str, value: &[u8]) -> Result<(), Failure> {
        self.asked.set(self.asked.get() + 1);
        let key = (self.context.get(), name.to_owned());
        self.states.borrow_mut().insert(key, value.to_vec());
        Ok(())
    }

    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Failure> {
        self.asked.set(self.asked.get() + 1);
        self.shared
            .borrow()
            .get(key)
            .cloned()
            .ok_or(Failure::NOT_FOUND)
    }

    fn share(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<(), Failure> {
        self.asked.set(self.asked.get() + 1);
        let mut shared = self.shared.borrow_mut();
        let current = shared.get(key).map_or(0, |(_, version)| *version);
        if version.is_some_and(|version| version != current) {
            return Err(Failure::CAS_MISMATCH);
        }
        self.versions.set(self.versions.get() + 1);
        shared.insert(key.to_owned(), (value.to_vec(), self.versions.get()));
        Ok(())
    }

    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, Failure> {
        assert_eq!(name, "verify_signature");
        self.verifications.set(self.verifications.get() + 1);
        Ok(if self.verified(argument) {
            vec![8, 1]
        } else {
            Vec::new()
        })
    }

    fn get(
        &self,
        cluster: &str,
        authority: &str,
        path: &str,
        _timeout: Duration,
    ) -> Result<u32, Failure> {
        self.called(format!("GET {authority}{path} by {cluster}"), b"")
    }

    fn call(&self, method: Method<'_>, message: &[u8], _timeout: Duration) -> Result<u32, Failure> {
        self.called(format!("{} by {}", method.method, method.cluster), message)
    }

    fn stream(&self, method: Method<'_>, message: &[u8]) -> Result<u32, Failure> {
        self.called(
            format!("stream {} by {}", method.method, method.cluster),
            message,
        )
    }

    fn cancel(&self, token: u32) {
        self.cancelled.borrow_mut().push(token);
    }

    fn define(&self, _kind: MetricKind, _name: &str) -> Result<u32, Failure> {
        Ok(1)
    }

    fn increment(&self, _metric: u32, _by: i64) {}

    fn record(&self, _metric: u32, _value: u64) {}
}
