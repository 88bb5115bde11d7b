//! What a container may call: profiles to filters.
//!
//! An emitter of our own, since of the well-kept libraries libseccomp would have to be linked from a
//! system package and takes milliseconds for a profile of this size, and seccompiler kills 32-bit
//! callers. Filters are checked by running them in a small machine in the tests, for every call.
//!
//! A process has one listener for notifications at most, and the strictest of several filters wins; so
//! what [`crate::emulate`] asks for is no filter of its own but part of this one. What a profile
//! refuses stays refused.

mod bpf;
mod calls;
mod default;
mod file;
mod precompiled;
mod profile;

pub use file::ProfileError;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::Value;

use self::profile::{Action, Arch, Condition, Profile, Rule};
use super::caps::Caps;
use crate::emulate::{self, Mode};
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
    /// Somebody listens to what the profile asks about.
    pub(crate) listener: bool,
}

impl Seccomp {
    /// Compile for a container that holds `caps` and has its identities emulated in this way; `None`
    /// means no filter.
    pub fn compile(
        &self,
        caps: Caps,
        identity: Option<Mode>,
    ) -> Result<Option<Filter>, ProfileError> {
        let compiled = |profile: &dyn Fn(Arch) -> Profile<'static>| {
            Some(Filter {
                program: bpf::compile(|arch| Profile {
                    instead: instead(identity),
                    ..profile(arch)
                }),
                flags: 0,
                listener: false,
            })
        };
        let ready = |program: &[Instruction]| {
            Some(Filter {
                program: program.to_vec(),
                flags: 0,
                listener: false,
            })
        };
        // Half a millisecond of compiling is a good part of a start.
        let usual = *self == Self::Default && caps == Caps::default_set();
        Ok(match (self, identity) {
            (Self::Unconfined, None) => None,
            (_, None) if usual => ready(precompiled::NATIVE),
            (_, Some(Mode::Full)) if usual => ready(precompiled::EMULATING),
            (Self::Unconfined, _) => compiled(&|_| Profile::new(Action::Allow, Vec::new())),
            (Self::Default, _) => compiled(&|arch| default::profile(caps, arch)),
            (Self::Profile(p), _) => Some(file::compile(p, identity, false)?),
        })
    }

    /// The filter of a bundle's profile. `listener`: the caller has somebody for what is to be asked about.
    pub fn bundle(profile: Value, listener: bool) -> Result<Filter, ProfileError> {
        let profile = file::settle(profile, Caps::EMPTY)?;
        file::compile(&profile, None, listener)
    }

    /// Read a profile: the OCI runtime-spec form, or Docker's with its `includes` and `excludes` for
    /// capabilities and architectures, which `caps` decides.
    pub fn parse(json: &str, caps: Caps) -> Result<Self, ProfileError> {
        file::parse(json, caps).map(|p| Self::Profile(Box::new(p)))
    }
}

/// The rules of identity emulation, as those of a profile.
fn instead(identity: Option<Mode>) -> Vec<Rule<'static>> {
    let rules = identity.map_or_else(Vec::new, emulate::rules::rules);
    let conditions = |tests: &[emulate::rules::Test]| {
        let condition = |t: &emulate::rules::Test| {
            Condition::masked(t.argument, u64::from(t.mask), u64::from(t.value))
        };
        tests.iter().map(condition).collect()
    };
    let rule = |r: emulate::rules::Rule| {
        r.when.iter().map(move |tests| Rule {
            name: r.name,
            action: match r.fate {
                emulate::rules::Fate::Ask => Action::Notify,
                emulate::rules::Fate::Pass => Action::Allow,
                emulate::rules::Fate::Errno(e) => Action::Errno(e),
            },
            conditions: conditions(tests),
        })
    };
    rules.into_iter().flat_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn render() -> String {
        let mut text = String::from(
            "//! The default profile for docker's default capabilities, compiled, without and with the rules of\n\
             //! identity emulation. Generated: renew it with\n\
             //! `scripts/update-generated`; a test fails when it is stale.\n\n\
             use crate::sys::seccomp::Instruction;\n\n\
             const fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {\n    Instruction { code, jt, jf, k }\n}\n",
        );
        for (cfg, arches) in [
            ("x86_64", &[Arch::X86_64, Arch::X86][..]),
            ("aarch64", &[Arch::Aarch64]),
        ] {
            for (name, identity) in [("NATIVE", None), ("EMULATING", Some(Mode::Full))] {
                let program = bpf::compile_for(arches, |arch| Profile {
                    instead: instead(identity),
                    ..default::profile(Caps::default_set(), arch)
                });
                writeln!(text, "\n#[cfg(target_arch = \"{cfg}\")]\n#[rustfmt::skip]").unwrap();
                writeln!(text, "pub(super) const {name}: &[Instruction] = &[").unwrap();
                for row in program.chunks(4) {
                    let row: Vec<String> = row
                        .iter()
                        .map(|i| format!("i({:#x}, {}, {}, {:#x}),", i.code, i.jt, i.jf, i.k))
                        .collect();
                    writeln!(text, "    {}", row.join(" ")).unwrap();
                }
                text.push_str("];\n");
            }
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
