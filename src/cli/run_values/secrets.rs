//! `--secret`

use std::path::{Path, PathBuf};

use super::Parsed;
use crate::ops::run::{SecretUse, SecretWay};

/// As podman gives it to a file.
const MODE: u32 = 0o444;

/// `NAME[,type=mount|env][,target=NAME][,uid=N][,gid=N][,mode=OCTAL]`
pub(in crate::cli) fn secret(s: &str) -> Parsed<SecretUse> {
    let (mut name, mut target, mut variable) = (None, None, false);
    let (mut uid, mut gid, mut mode) = (None, None, None);
    for (i, part) in s.split(',').enumerate() {
        let (key, value) = match part.split_once('=') {
            Some(pair) => pair,
            None if i == 0 => ("source", part),
            None => return Err(format!("{part:?} is no option of a secret: want KEY=VALUE")),
        };
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{key}: {value:?} is no number"))
        };
        match key.to_ascii_lowercase().as_str() {
            "source" | "src" => name = Some(value),
            "type" => {
                variable = match value {
                    "mount" => false,
                    "env" => true,
                    _ => return Err(format!("type {value:?} is neither mount nor env")),
                }
            }
            "target" => target = Some(value),
            "uid" => uid = Some(number()?),
            "gid" => gid = Some(number()?),
            "mode" => {
                let bits = u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o7777);
                mode = Some(bits.ok_or_else(|| format!("mode {value:?} is no octal mode"))?);
            }
            _ => {
                return Err(format!(
                    "unknown option {key:?}; there are type, target, uid, gid and mode"
                ));
            }
        }
    }
    let name = name
        .filter(|n| !n.is_empty())
        .ok_or("a secret needs a name")?;
    let target = target.unwrap_or(name);
    let way = match variable {
        true if uid.or(gid).or(mode).is_some() => {
            return Err(
                "uid, gid and mode are for files, and type=env makes a variable".to_owned(),
            );
        }
        true if target.is_empty() || target.contains(['=', '\0']) => {
            return Err(format!("{target:?} is no name of a variable"));
        }
        true => SecretWay::Variable(target.to_owned()),
        false => SecretWay::File {
            target: file(target)?,
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            mode: mode.unwrap_or(MODE),
        },
    };
    Ok(SecretUse {
        name: name.to_owned(),
        way,
    })
}

/// A path, or a name in the directory where secrets are.
fn file(target: &str) -> Parsed<PathBuf> {
    let path = Path::new("/run/secrets").join(target);
    let plain = (path.components()).all(|c| c != std::path::Component::ParentDir);
    match plain && path.file_name().is_some() && !target.ends_with('/') && !target.contains('\0') {
        true => Ok(path),
        false => Err(format!("target {target:?} is no path of a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_file(target: &str, uid: u32, gid: u32, mode: u32) -> SecretWay {
        let target = target.into();
        SecretWay::File {
            target,
            uid,
            gid,
            mode,
        }
    }

    #[test]
    fn podmans_words() {
        for (word, name, way) in [
            ("a", "a", as_file("/run/secrets/a", 0, 0, 0o444)),
            ("a,target=b", "a", as_file("/run/secrets/b", 0, 0, 0o444)),
            (
                "a,type=mount,target=/etc/k,UID=1,GID=2,mode=0400",
                "a",
                as_file("/etc/k", 1, 2, 0o400),
            ),
            ("source=a,type=env", "a", SecretWay::Variable("a".into())),
            (
                "a,type=env,target=KEY",
                "a",
                SecretWay::Variable("KEY".into()),
            ),
        ] {
            let name = name.to_owned();
            assert_eq!(secret(word), Ok(SecretUse { name, way }), "{word}");
        }
        for wrong in [
            "",
            "type=env",
            "a,type=x",
            "a,b",
            "a,mode=9",
            "a,mode=10000",
            "a,uid=x",
            "a,type=env,uid=1",
            "a,target=../x",
            "a,target=/",
            "a,target=x/",
            "a,type=env,target=A=B",
            "a,nope=1",
        ] {
            assert!(secret(wrong).is_err(), "{wrong}");
        }
    }
}
