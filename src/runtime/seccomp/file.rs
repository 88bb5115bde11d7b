//! Profiles that the user gives with `--security-opt seccomp=FILE`: Docker's JSON and the OCI
//! runtime-spec form of it. A profile that asks for what we cannot do is refused, never thinned.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use serde::Deserialize;
use serde_json::Value;

use super::profile::{Action, Arch, Condition, Operator, Profile, Rule};
use super::{Filter, bpf};
use crate::emulate::Mode;
use crate::runtime::caps::Caps;

/// Instructions that the kernel accepts in one filter (BPF_MAXINSNS).
const PROGRAM_MAX: usize = 4096;

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// JSON syntax, or a field of the wrong shape.
    #[error("the seccomp profile is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// `SCMP_ACT_NOTIFY` needs somebody who listens.
    #[error("the seccomp profile wants a notification listener, and there is none (listenerPath)")]
    Notify,
    /// The call that would tell the listener is one that it is to be asked about.
    #[error(
        "the seccomp profile has SCMP_ACT_NOTIFY for sendmsg, by which the listener is handed over"
    )]
    NotifyOfItself,
    /// An argument index beyond the six arguments of a system call.
    #[error("the seccomp profile compares argument {0} of {1}; system calls have arguments 0 to 5")]
    Argument(usize, String),
    /// An errno or trace value that does not fit in 16 bits.
    #[error("the seccomp profile has the errno {0}; the largest is 4095")]
    Errno(u32),
    /// More instructions than the kernel takes.
    #[error("the seccomp profile needs {0} filter instructions; the kernel takes {PROGRAM_MAX}")]
    TooLong(usize),
}

#[derive(Deserialize)]
struct Conditions {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

impl Conditions {
    /// Docker's words for this machine's instruction sets. `minKernel` is met by every kernel that can
    /// run us.
    const HERE: &'static [&'static str] = if cfg!(target_arch = "x86_64") {
        &["amd64", "x86", "x32"]
    } else {
        &["arm64", "arm"]
    };

    fn arch_here(&self) -> bool {
        self.arches
            .iter()
            .any(|a| Self::HERE[..1].contains(&a.as_str()))
    }
}

/// Parse, and settle Docker's conditions so that what is left is a runtime-spec profile.
pub(super) fn parse(json: &str, caps: Caps) -> Result<LinuxSeccomp, ProfileError> {
    settle(serde_json::from_str(json)?, caps)
}

/// The same for what was read already.
pub(super) fn settle(mut doc: Value, caps: Caps) -> Result<LinuxSeccomp, ProfileError> {
    if let Some(Value::Array(syscalls)) = doc.get_mut("syscalls") {
        let mut kept = Vec::with_capacity(syscalls.len());
        for mut rule in std::mem::take(syscalls) {
            let mut conditions = |key: &str| -> Result<Option<Conditions>, serde_json::Error> {
                match rule.as_object_mut().and_then(|r| r.remove(key)) {
                    None | Some(Value::Null) => Ok(None),
                    Some(v) => serde_json::from_value(v).map(Some),
                }
            };
            let (includes, excludes) = (conditions("includes")?, conditions("excludes")?);
            let included = includes.is_none_or(|c| {
                c.caps.iter().all(|n| caps.has(n)) && (c.arches.is_empty() || c.arch_here())
            });
            let excluded =
                excludes.is_some_and(|c| c.caps.iter().any(|n| caps.has(n)) || c.arch_here());
            if included && !excluded {
                // Docker's older single-name form, and null where runtime-spec wants nothing.
                if let Some(object) = rule.as_object_mut() {
                    if let Some(name) = object.remove("name") {
                        object
                            .entry("names")
                            .or_insert_with(|| Value::Array(vec![name]));
                    }
                    object.retain(|_, v| !v.is_null());
                }
                kept.push(rule);
            }
        }
        *syscalls = kept;
    }
    if let Some(object) = doc.as_object_mut() {
        // Docker's table of architectures: we always filter all that the machine can run.
        object.remove("archMap");
        object.remove("architectures");
        object.retain(|_, v| !v.is_null());
    }
    Ok(serde_json::from_value(doc)?)
}

/// Compile a runtime-spec profile.
pub(super) fn compile(
    p: &LinuxSeccomp,
    identity: Option<Mode>,
    listener: bool,
) -> Result<Filter, ProfileError> {
    let default = action(p.default_action(), p.default_errno_ret(), listener)?;
    let mut rules = Vec::new();
    for syscall in p.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret(), listener)?;
        // What the default does already needs no rule; libseccomp refuses it, docker skips it.
        if action == default {
            continue;
        }
        for name in syscall.names() {
            // What hands the listener over cannot be asked about: nobody would be there to answer.
            if action == Action::Notify && name == "sendmsg" {
                return Err(ProfileError::NotifyOfItself);
            }
            let conditions = syscall
                .args()
                .iter()
                .flatten()
                .map(|a| {
                    let argument = u8::try_from(a.index())
                        .ok()
                        .filter(|i| *i < 6)
                        .ok_or_else(|| ProfileError::Argument(a.index(), name.clone()))?;
                    Ok(match a.op() {
                        LinuxSeccompOperator::ScmpCmpMaskedEq => {
                            Condition::masked(argument, a.value(), a.value_two().unwrap_or(0))
                        }
                        op => Condition::new(argument, operator(op), a.value()),
                    })
                })
                .collect::<Result<_, ProfileError>>()?;
            rules.push(Rule {
                name,
                action,
                conditions,
            });
        }
    }
    let profile = Profile {
        default,
        rules,
        instead: super::instead(identity),
    };
    let program = bpf::compile(|_: Arch| profile.clone());
    if program.len() > PROGRAM_MAX {
        return Err(ProfileError::TooLong(program.len()));
    }
    let flags = p.flags().iter().flatten().fold(0, |bits, f| {
        bits | match f {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
            }
            // Only means something for a listener, and those are refused.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    });
    let listener =
        default == Action::Notify || profile.rules.iter().any(|r| r.action == Action::Notify);
    if default == Action::Notify {
        return Err(ProfileError::NotifyOfItself);
    }
    Ok(Filter {
        program,
        flags,
        listener,
    })
}

fn action(
    a: LinuxSeccompAction,
    errno: Option<u32>,
    listener: bool,
) -> Result<Action, ProfileError> {
    let errno = |default: i32| {
        let e = errno.unwrap_or(default as u32);
        // MAX_ERRNO: the kernel clamps what is larger.
        u16::try_from(e)
            .ok()
            .filter(|e| *e <= 4095)
            .ok_or(ProfileError::Errno(e))
    };
    Ok(match a {
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(errno(libc::EPERM)?),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(errno(libc::EPERM)?),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Action::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActNotify if listener => Action::Notify,
        LinuxSeccompAction::ScmpActNotify => return Err(ProfileError::Notify),
    })
}

fn operator(op: LinuxSeccompOperator) -> Operator {
    match op {
        LinuxSeccompOperator::ScmpCmpNe => Operator::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => Operator::Less,
        LinuxSeccompOperator::ScmpCmpLe => Operator::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq | LinuxSeccompOperator::ScmpCmpMaskedEq => Operator::Equal,
        LinuxSeccompOperator::ScmpCmpGe => Operator::GreaterOrEqual,
        LinuxSeccompOperator::ScmpCmpGt => Operator::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str, caps: Caps) -> Vec<String> {
        let p = parse(json, caps).unwrap();
        p.syscalls()
            .iter()
            .flatten()
            .flat_map(|s| s.names().clone())
            .collect()
    }

    #[test]
    fn docker_conditions_are_settled() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[],"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{},"excludes":{}},
            {"name":"write","action":"SCMP_ACT_ALLOW"},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["riscv_flush_icache"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["riscv64"]}}
        ]}"#;
        assert_eq!(names(json, Caps::EMPTY), ["read", "write", "clone3"]);
        assert_eq!(names(json, Caps::ALL), ["read", "write", "mount"]);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for json in [
            r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#,
            r#"{"defaultAction":"SCMP_ACT_FLY"}"#,
            "{",
            "[]",
        ] {
            let refused = match parse(json, Caps::EMPTY) {
                Ok(p) => compile(&p, None, false).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{json}");
        }
    }
}
