//! What a container may call: profiles to filters.
//!
//! An emitter of our own, since of the well-kept libraries libseccomp would have to be linked from a
//! system package and takes milliseconds for a profile of this size, and seccompiler kills 32-bit
//! callers. Filters are checked by running them in a small machine in the tests, for every call.

mod bpf;
mod default;
mod file;
mod profile;

pub use file::ProfileError;

use oci_spec::runtime::LinuxSeccomp;

use super::caps::Caps;
use crate::sys::seccomp::Instruction;

/// Which filter a container gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seccomp {
    /// Docker's default profile, for the container's capabilities.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// One that the user gave.
    Profile(Box<LinuxSeccomp>),
}

/// A filter that is ready to be installed, with its `SECCOMP_FILTER_FLAG_*` bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub(crate) program: Vec<Instruction>,
    pub(crate) flags: u64,
}

impl Seccomp {
    /// Compile for a container that holds `caps`; `None` means no filter.
    pub fn compile(&self, caps: Caps) -> Result<Option<Filter>, ProfileError> {
        match self {
            Self::Unconfined => Ok(None),
            Self::Default => Ok(Some(Filter {
                program: bpf::compile(|arch| default::profile(caps, arch)),
                flags: 0,
            })),
            Self::Profile(p) => file::compile(p).map(Some),
        }
    }

    /// Read a profile: the OCI runtime-spec form, or Docker's with its `includes` and `excludes` for
    /// capabilities and architectures, which `caps` decides.
    pub fn parse(json: &str, caps: Caps) -> Result<Self, ProfileError> {
        file::parse(json, caps).map(|p| Self::Profile(Box::new(p)))
    }
}
