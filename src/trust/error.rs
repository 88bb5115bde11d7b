//! Why an image is not trusted.

use std::io;
use std::path::PathBuf;

use crate::oci::Digest;

/// What can go wrong, all of which refuses the image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy or a key cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A policy that is none, or asks for something that we do not know.
    #[error("{} is not a signature policy that can be followed", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Not a public key.
    #[error(
        "{what} is not a public key in PEM (\"BEGIN PUBLIC KEY\"), of a kind that sigstore uses"
    )]
    Key {
        /// Where it stands.
        what: String,
    },
    /// Not a private key.
    #[error("{} is not a private key: want PKCS #8 in PEM (ECDSA P-256, Ed25519 or RSA), or one that cosign made", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not open it.
    #[error("{}: the passphrase is wrong", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// No signature could be made.
    #[error("cannot sign: the system gives no random numbers")]
    Sign,
    /// The policy says `reject`.
    #[error("the signature policy refuses {0}")]
    Rejected(String),
    /// It asks for a kind of proof that cannot be checked here.
    #[error("the signature policy asks for {kind} for {image}, which coracle cannot check")]
    Unsupported {
        /// What is asked for.
        kind: String,
        /// For which image.
        image: String,
    },
    /// There is nothing that could be checked.
    #[error("{image} must be signed, and there is no signature{}", manifest.as_ref().map(|d| format!(" of {d}")).unwrap_or_default())]
    NotSigned {
        /// Which image.
        image: String,
        /// Its manifest, if it comes from where there could be a signature: a registry.
        manifest: Option<Digest>,
    },
    /// There are signatures, and none is good.
    #[error("{image} has no signature that the policy accepts: {}", reasons.join("; "))]
    NotAccepted {
        /// Which image.
        image: String,
        /// What is wrong with each.
        reasons: Vec<String>,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::Key { .. } | Self::Sign | Self::Passphrase { .. } => return None,
            Self::PrivateKey { .. } => "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes one".to_owned(),
            Self::Policy { .. } => "containers-policy.json(5) describes the file; what coracle does not know it refuses".to_owned(),
            Self::Rejected(_)
            | Self::Unsupported { .. }
            | Self::NotSigned { .. }
            | Self::NotAccepted { .. } => {
                "the policy is ~/.config/containers/policy.json if that is there, else /etc/containers/policy.json; --signature-policy names another".to_owned()
            }
        })
    }
}
