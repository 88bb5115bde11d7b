//! Which failures may pass.

use std::io;
use std::time::Duration;

use super::Error;

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Transient {
    /// It cannot.
    No,
    /// It can, at once or a little later.
    Yes,
    /// It can, but each try costs a whole time limit.
    Slow,
    /// It can if the peer was there a moment ago.
    IfSeen,
    /// It can after this time.
    After(Duration),
}

impl Error {
    pub(in crate::registry) fn transient(&self) -> Transient {
        match self {
            Self::Broken { .. }
            | Self::Short { .. }
            | Self::Server { .. }
            | Self::UploadLost { .. } => Transient::Yes,
            Self::Stalled { .. } => Transient::Slow,
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                Transient::Slow
            }
            Self::Connect { .. } | Self::HostNotFound { .. } => Transient::IfSeen,
            Self::RateLimited { wait, .. } => match wait {
                Some(wait) => Transient::After(*wait),
                None => Transient::Yes,
            },
            _ => Transient::No,
        }
    }
}
