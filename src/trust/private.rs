//! Keys that make signatures: PKCS #8, plain as `openssl genpkey` writes it, or sealed with a passphrase as cosign
//! does (its "Key format": scrypt and NaCl's secretbox, in JSON, in PEM).

use std::path::Path;

use base64::Engine as _;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;

use super::Error;

/// A key file has some kilobytes.
const KEY_MAX: u64 = 64 << 10;
/// Labels of sealed keys, of now and before.
const SEALED: [&str; 2] = [
    "ENCRYPTED SIGSTORE PRIVATE KEY",
    "ENCRYPTED COSIGN PRIVATE KEY",
];
const PLAIN: &str = "PRIVATE KEY";
/// What a key file may ask of scrypt: cosign's N is 2^15, which takes 32 MiB. 2^20 takes a GiB.
const SCRYPT_LOG_N_MAX: u8 = 20;
/// Bytes of a tag, which stands before the sealed text.
const TAG: usize = 16;

/// A private key.
pub struct PrivateKey(Kind);

enum Kind {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(...)")
    }
}

#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
#[expect(non_snake_case, reason = "the names are those of scrypt")]
struct Params {
    N: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// From a file. `passphrase`: asked for if the key is sealed.
    ///
    /// # Errors
    /// [`Error::PrivateKey`] for what is none, [`Error::Passphrase`] for the wrong passphrase.
    ///
    /// `failed` makes the caller's kind of error of ours.
    pub fn read<E>(
        path: &Path,
        passphrase: impl FnOnce() -> Result<String, E>,
        failed: impl Fn(Error) -> E,
    ) -> Result<Self, E> {
        let bad = || {
            failed(Error::PrivateKey {
                path: path.to_owned(),
            })
        };
        let text = super::policy::read(path, KEY_MAX).map_err(&failed)?;
        let (label, der) = pem_rfc7468::decode_vec(text.trim_ascii()).map_err(|_| bad())?;
        let pkcs8 = match label {
            PLAIN => der,
            label if SEALED.contains(&label) => {
                let sealed: Sealed = serde_json::from_slice(&der).map_err(|_| bad())?;
                let passphrase = passphrase()?;
                let opened = sealed.open(passphrase.as_bytes()).ok_or_else(bad)?;
                opened.ok_or_else(|| {
                    failed(Error::Passphrase {
                        path: path.to_owned(),
                    })
                })?
            }
            _ => return Err(bad()),
        };
        Self::from_pkcs8(&pkcs8).ok_or_else(bad)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random);
        let kind = (ecdsa.ok().map(Kind::Ecdsa))
            .or_else(|| {
                Some(Kind::Ed25519(
                    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?,
                ))
            })
            .or_else(|| Some(Kind::Rsa(RsaKeyPair::from_pkcs8(der).ok()?)))?;
        Some(Self(kind))
    }

    /// A signature over `message`; `None` if the system has no randomness to give.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Ecdsa(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Kind::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
        }
    }
}

impl Sealed {
    /// `None`: it makes no sense; `Some(None)`: the passphrase is wrong.
    fn open(&self, passphrase: &[u8]) -> Option<Option<Vec<u8>>> {
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        if (self.kdf.name.as_str(), self.cipher.name.as_str()) != ("scrypt", "nacl/secretbox") {
            return None;
        }
        let Params { N: n, r, p } = self.kdf.params;
        let log_n = u8::try_from(n.checked_ilog2()?).ok()?;
        if !n.is_power_of_two() || log_n > SCRYPT_LOG_N_MAX || r > 32 || p > 16 {
            return None;
        }
        let params = scrypt::Params::new(log_n, r, p).ok()?;
        let (salt, nonce) = (decode(&self.kdf.salt)?, decode(&self.cipher.nonce)?);
        let mut key = [0u8; 32];
        scrypt::scrypt(passphrase, &salt, &params, &mut key).ok()?;
        let nonce: [u8; 24] = nonce.try_into().ok()?;
        Some(open_box(&key, &nonce, &decode(&self.ciphertext)?))
    }
}

/// crypto_secretbox_open of NaCl: XSalsa20, whose first 32 bytes are the key of Poly1305 over the sealed text.
fn open_box(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, text) = sealed.split_at_checked(TAG)?;
    let mut cipher = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut mac_key = [0u8; 32];
    cipher.apply_keystream(&mut mac_key);
    let mac = Poly1305::new(&mac_key.into());
    // How long the comparison takes is no secret: who has the file can try passphrases by himself.
    if mac.compute_unpadded(text).as_slice() != tag {
        return None;
    }
    let mut opened = text.to_vec();
    cipher.apply_keystream(&mut opened);
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::super::PublicKey;
    use super::*;

    /// Made by another program's secretbox; the passphrase is "pass".
    const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/sealed.key");
    const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/sealed.pub");

    fn with(word: &str) -> Result<PrivateKey, Error> {
        PrivateKey::read(Path::new(KEY), || Ok(word.to_owned()), |e| e)
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone() {
        let signature = with("pass").unwrap().sign(b"message").unwrap();
        let public = PublicKey::read(Path::new(PUBLIC)).unwrap();
        assert!(public.has_signed(b"message", &signature));
        assert!(!public.has_signed(b"massage", &signature));
        for wrong in ["", "Pass", "pass "] {
            assert!(
                matches!(with(wrong), Err(Error::Passphrase { .. })),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn what_asks_too_much_of_scrypt_is_no_key() {
        let text = std::fs::read(KEY).unwrap();
        let (_, json) = pem_rfc7468::decode_vec(text.trim_ascii()).unwrap();
        let json = String::from_utf8(json).unwrap();
        for (from, to) in [
            (r#""N": 32768"#, r#""N": 1099511627776"#),
            (r#""N": 32768"#, r#""N": 32767"#),
            (r#""r": 8"#, r#""r": 4000000"#),
            (r#""p": 1"#, r#""p": 0"#),
            ("nacl/secretbox", "rot13"),
        ] {
            assert!(json.contains(from), "{json}");
            let changed: Sealed = serde_json::from_str(&json.replace(from, to)).unwrap();
            assert!(changed.open(b"pass").is_none(), "{to}");
        }
    }
}
