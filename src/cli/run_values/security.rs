//! What is shared, and what is allowed.

use std::path::PathBuf;

use super::Parsed;
use super::mounts::target;
use crate::cli::Failure;
use crate::ops::run::{IdentityChoice, Namespace, SeccompChoice, Security, UserNamespace};

/// `--userns`
pub(in crate::cli) fn userns(s: &str) -> Parsed<UserNamespace> {
    match s {
        "" | "private" => Ok(UserNamespace::Default),
        "keep-id" => Ok(UserNamespace::KeepId),
        "host" => Err("the host's user namespace would need root: mounting does".to_owned()),
        "nomap" => Err("nomap hides the caller's id, and there is no other one to use".to_owned()),
        "auto" => Err("auto picks from subordinate ids, and there are none".to_owned()),
        _ if s.starts_with("keep-id:") => {
            Err("keep-id takes no other id here: use --user UID:GID".to_owned())
        }
        _ => Err(format!("unknown user namespace {s:?}: want keep-id")),
    }
}

/// `--identity`
pub(in crate::cli) fn identity(s: &str) -> Parsed<IdentityChoice> {
    match s {
        "full" => Ok(IdentityChoice::Full),
        "strict" => Ok(IdentityChoice::Strict),
        "ids" => Ok(IdentityChoice::Ids),
        "off" => Ok(IdentityChoice::Off),
        _ => Err(format!(
            "unknown identity {s:?}: want full, strict, ids or off"
        )),
    }
}

/// `--pid`, `--ipc`, `--uts`
pub(in crate::cli) fn namespace(s: &str) -> Parsed<Namespace> {
    match s {
        "private" | "shareable" | "" => Ok(Namespace::Private),
        "host" => Ok(Namespace::Host),
        _ if s.starts_with("container:") => {
            Err("joining another container is not supported yet".to_owned())
        }
        _ => Err(format!(
            "unknown namespace mode {s:?}: want private or host"
        )),
    }
}

/// `--group-add`: a group, or none to keep the caller's.
pub(in crate::cli) fn group_add(s: &str) -> Parsed<Option<String>> {
    match s {
        // What the kernel does anyway: without root nobody can give up a group.
        "keep-groups" => Ok(None),
        "" => Err("a group has a name or a number".to_owned()),
        _ if s.bytes().all(|b| b.is_ascii_digit()) => match s.parse::<u32>() {
            // -1 means "nobody" to every call that takes an id.
            Ok(id) if id != u32::MAX => Ok(Some(s.to_owned())),
            _ => Err(format!("{s} is no group: ids end at {}", u32::MAX - 1)),
        },
        _ => Ok(Some(s.to_owned())),
    }
}

/// A capability's name, with or without CAP_, or ALL.
pub(in crate::cli) fn capability(s: &str) -> Parsed<String> {
    let one = [s.to_owned()];
    crate::runtime::caps::Caps::EMPTY
        .adjusted(&one, &[])
        .map(|_| s.to_owned())
        .map_err(|e| e.to_string())
}

/// One `--security-opt`.
pub(in crate::cli) fn security(s: &str, out: &mut Security) -> Result<(), Failure> {
    let (key, value) = s.split_once(['=', ':']).unwrap_or((s, ""));
    let paths = |v: &str| -> Result<Vec<PathBuf>, Failure> {
        v.split(':')
            .filter(|p| !p.is_empty())
            .map(|p| target(p).map_err(|e| Failure::usage(format!("--security-opt {s}: {e}"))))
            .collect()
    };
    match (key, value) {
        ("seccomp", "unconfined") => out.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "" | "builtin") => out.seccomp = SeccompChoice::Default,
        ("seccomp", file) => out.seccomp = SeccompChoice::File(file.into()),
        ("no-new-privileges", "" | "true") => out.new_privileges = Some(false),
        ("no-new-privileges", "false") => out.new_privileges = Some(true),
        ("systempaths", "unconfined") => out.unmask.push("ALL".to_owned()),
        ("unmask", v) if !v.is_empty() => out.unmask.extend(v.split(':').map(str::to_owned)),
        ("mask", v) if !v.is_empty() => out.mask.extend(paths(v)?),
        // Where no label or profile is set, these ask for what is the case.
        ("label", "disable") | ("apparmor", "unconfined") => {}
        ("label", _) => return Err(Failure::usage(format!("--security-opt {s}: SELinux labels cannot be set without root; label=disable is what applies"))),
        ("apparmor", _) => return Err(Failure::usage(format!("--security-opt {s}: AppArmor profiles cannot be chosen without root; apparmor=unconfined is what applies"))),
        _ => return Err(Failure::usage(format!("unknown --security-opt {s:?}"))
            .with_hint("known are seccomp=FILE|unconfined, no-new-privileges[=false], unmask=ALL|PATHS, mask=PATHS")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options() {
        let parse = |s: &str| {
            let mut o = Security::default();
            security(s, &mut o).map(|()| o)
        };
        assert_eq!(
            parse("seccomp=unconfined").unwrap().seccomp,
            SeccompChoice::Unconfined
        );
        assert_eq!(
            parse("unmask=/proc/acpi:/sys/firmware")
                .unwrap()
                .unmask
                .len(),
            2
        );
        for (word, want) in [
            ("no-new-privileges=false", true),
            ("no-new-privileges", false),
        ] {
            assert_eq!(parse(word).unwrap().new_privileges, Some(want));
        }
        for bad in [
            "fly",
            "seccomp-fly=1",
            "apparmor=docker-default",
            "label=type:x",
            "mask=relative",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
