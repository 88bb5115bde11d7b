//! `--identity`: whether the container's users and owners are emulated, and with what.

use std::path::PathBuf;

use super::options::{IdentityChoice, Options, UserNamespace};
use super::user::Ids;
use crate::emulate::creds::Cred;
use crate::emulate::{Mode, Setup};
use crate::owners::Layer;
use crate::runtime::caps::Caps;
use crate::runtime::{self, Identity, Stage};

/// What is to be tried. Without a word of the user, everything that a container of one id may need.
pub(super) fn wanted(o: &Options) -> IdentityChoice {
    match (o.identity, o.userns) {
        (Some(choice), _) => choice,
        // Whoever keeps the caller's ids wants them, and has nobody else's.
        (None, UserNamespace::KeepId) => IdentityChoice::Off,
        (None, UserNamespace::Default) => IdentityChoice::Full,
    }
}

/// What a supervisor has to know beside the mode.
pub(super) struct Place {
    /// Topmost first.
    pub layers: Vec<Layer>,
    pub upper: Layer,
    pub user: Ids,
    pub groups: Vec<u32>,
    pub caps: Caps,
    /// Where directories of the host are.
    pub host: Vec<PathBuf>,
    /// Where volumes are.
    pub kept: Vec<(PathBuf, Layer)>,
}

/// For the runtime.
pub(super) fn identity(choice: IdentityChoice, o: &Options, place: Place) -> Identity {
    let mode = match choice {
        IdentityChoice::Off => return Identity::One,
        IdentityChoice::Ids => return Identity::Pretended,
        IdentityChoice::Full => Mode::Full,
        IdentityChoice::Strict => Mode::Strict,
    };
    let Ids { uid, gid } = place.user;
    let caps = place.caps.bits().bits();
    let setup = Setup {
        first: Cred::first(uid, gid, &place.groups, caps, no_new_privileges(o)),
        caps,
        layers: place.layers,
        upper: place.upper,
        volumes: place.host,
        kept: place.kept,
        strict: mode == Mode::Strict,
        shared_pids: false,
    };
    Identity::Emulated(mode, Box::new(setup))
}

/// Whether set-id programs give nothing to emulated users either. no_new_privs of the kernel is on all the same: what
/// they gain here is nothing there.
pub(super) fn no_new_privileges(o: &Options) -> bool {
    o.security.new_privileges == Some(false)
}

/// Whether a supervisor is not to be had here, as opposed to a mistake.
pub(super) fn is_impossible(e: &runtime::Error) -> bool {
    matches!(e, runtime::Error::Init(f) if f.stage == Stage::Identity)
}
