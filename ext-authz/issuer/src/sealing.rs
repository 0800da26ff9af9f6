//! How private keys rest: encrypted with AES-256-GCM under a key from the configuration. The seal
//! also binds them to what they are stored as, so that no two entries can be swapped.

mod file;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use base64ct::{Base64, Base64Unpadded, Encoding};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::file::UnusableSealingKeyFile;

/// Bytes in a sealing key.
const KEY_BYTES: usize = 32;
/// Bytes that name the sealing key in what it sealed.
const KEY_NAME_BYTES: usize = 8;
/// Bytes that AES-GCM appends.
const TAG_BYTES: usize = 16;
/// The first byte of everything sealed; another layout takes another one.
const LAYOUT: u8 = 1;

/// The key that private keys are sealed with.
pub struct SealingKey {
    key: RandomizedNonceKey,
    name: [u8; KEY_NAME_BYTES],
}

/// Why a text is not a sealing key. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidSealingKey {
    /// Neither 64 hexadecimal digits nor base64 of 32 bytes.
    #[error(
        "a sealing key is 32 random bytes as 64 hexadecimal digits or as base64; `openssl rand -hex 32` makes one"
    )]
    Malformed,
    /// 32 equal bytes are a placeholder.
    #[error(
        "the sealing key is a placeholder of equal bytes; `openssl rand -hex 32` makes a real one"
    )]
    Placeholder,
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

/// Why something sealed does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BrokenSeal {
    /// Another sealing key made it.
    #[error("it was sealed with another sealing key")]
    OtherKey,
    /// It, or what it was bound to, was changed since.
    #[error("it was changed after it was sealed")]
    Altered,
    /// Not in a layout that this version knows.
    #[error("it is not in a layout that this version knows")]
    Layout,
}

/// Nothing could be sealed: the operating system gives no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a private key could not be sealed")]
pub struct NotSealed;

impl SealingKey {
    /// Reads 64 hexadecimal digits or base64 of 32 bytes; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidSealingKey> {
        let text = text.trim_ascii();
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let read = if text.len() == 2 * KEY_BYTES {
            decode_hex(text, bytes.as_mut_slice())
        } else {
            decode_base64(text, bytes.as_mut_slice())
        };
        read.ok_or(InvalidSealingKey::Malformed)?;
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(InvalidSealingKey::Placeholder);
        }
        Self::from_bytes(&bytes)
    }

    /// A new random key and the text that [`SealingKey::parse`] reads back.
    pub fn generate() -> Result<(Self, Zeroizing<String>), InvalidSealingKey> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_no_cause| InvalidSealingKey::NoRandomness)?;
        let text = Zeroizing::new(Base64::encode_string(bytes.as_slice()));
        Ok((Self::from_bytes(&bytes)?, text))
    }

    fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, InvalidSealingKey> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes)
            .map_err(|_no_cause| InvalidSealingKey::Malformed)?;
        // Names the key without telling anything of it, so that a wrong key and a damaged store are
        // two errors with two ways out.
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, bytes),
            b"attache sealing key name",
        );
        let mut name = [0; KEY_NAME_BYTES];
        for (to, from) in name.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Ok(Self { key, name })
    }

    /// Encrypts `private` and binds it to `bound_to`, under a random 96-bit nonce.
    pub fn seal(&self, private: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, NotSealed> {
        // SECURITY: the room for the tag is there from the start; a vector that grew would leave the
        // unencrypted key behind in freed memory.
        let mut text = Vec::with_capacity(private.len().saturating_add(TAG_BYTES));
        text.extend_from_slice(private);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(bound_to), &mut text)
            .map_err(|_no_cause| NotSealed)?;
        let mut sealed = vec![LAYOUT];
        sealed.extend_from_slice(&self.name);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Decrypts what [`SealingKey::seal`] made with the same `bound_to`.
    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Zeroizing<Vec<u8>>, BrokenSeal> {
        let Some((&LAYOUT, rest)) = sealed.split_first() else {
            return Err(BrokenSeal::Layout);
        };
        let (name, rest) = rest
            .split_first_chunk::<KEY_NAME_BYTES>()
            .ok_or(BrokenSeal::Layout)?;
        let (nonce, text) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(BrokenSeal::Layout)?;
        if *name != self.name {
            return Err(BrokenSeal::OtherKey);
        }
        let mut private = Zeroizing::new(text.to_vec());
        let length = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(bound_to), &mut private)
            .map_err(|_no_cause| BrokenSeal::Altered)?
            .len();
        private.truncate(length);
        Ok(private)
    }
}

fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    for (to, from) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = from else { return None };
        *to = (digit(high)? << 4) | digit(low)?;
    }
    Some(())
}

fn decode_base64(text: &str, bytes: &mut [u8]) -> Option<()> {
    let decode = if text.ends_with('=') {
        Base64::decode
    } else {
        Base64Unpadded::decode
    };
    (decode(text, bytes).ok()?.len() == KEY_BYTES).then_some(())
}

#[cfg(test)]
mod tests;
