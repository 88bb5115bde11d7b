//! What a container may call: profiles to filters.
//!
//! An emitter of our own, since of the well-kept libraries libseccomp would have to be linked from a
//! system package and takes milliseconds for a profile of this size, and seccompiler kills 32-bit
//! callers. Filters are checked by running them in a small machine in the tests, for every call.

mod bpf;
mod calls;
mod default;
mod file;
mod precompiled;
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
            // Half a millisecond of compiling is a good part of a start.
            Self::Default if caps == Caps::default_set() => Ok(Some(Filter {
                program: precompiled::NATIVE.to_vec(),
                flags: 0,
            })),
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::profile::Arch;
    use super::*;

    fn render() -> String {
        let mut text = String::from(
            "//! The default profile for docker's default capabilities, compiled. Generated: renew it with\n\
             //! `scripts/update-generated`; a test fails when it is stale.\n\n\
             use crate::sys::seccomp::Instruction;\n\n\
             const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {\n    Instruction { code, jt, jf, k }\n}\n",
        );
        for (cfg, arches) in [
            ("x86_64", &[Arch::X86_64, Arch::X86][..]),
            ("aarch64", &[Arch::Aarch64]),
        ] {
            let program =
                bpf::compile_for(arches, |arch| default::profile(Caps::default_set(), arch));
            writeln!(text, "\n#[cfg(target_arch = \"{cfg}\")]\n#[rustfmt::skip]").unwrap();
            writeln!(text, "pub(super) const NATIVE: &[Instruction] = &[").unwrap();
            for row in program.chunks(4) {
                let row: Vec<String> = row
                    .iter()
                    .map(|i| format!("i({:#x}, {}, {}, {:#x}),", i.code, i.jt, i.jf, i.k))
                    .collect();
                writeln!(text, "    {}", row.join(" ")).unwrap();
            }
            text.push_str("];\n");
        }
        text
    }

    #[test]
    fn the_precompiled_filter_is_fresh() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/runtime/seccomp/precompiled.rs"
        );
        let fresh = render();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &fresh).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == fresh,
            "run scripts/update-generated"
        );
    }
}
