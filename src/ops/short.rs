//! What a short name means here, and which of its meanings serves (containers-registries.conf(5), "Short-Name
//! Aliasing"). Nobody is ever asked: what is ambiguous is tried in order, or is an error, as configured.

use super::progress::Progress;
use super::{Access, Error};
use crate::config::registries::Because;
use crate::oci::Reference;

/// The images that a short name may mean, in order; never empty. Says where that comes from, unless it is
/// what it would be without any configuration.
pub(super) fn names(
    access: &Access,
    name: &str,
    progress: &dyn Progress,
) -> Result<Vec<Reference>, Error> {
    let meaning = access.registries()?.meaning(name)?;
    let by_default = name.parse::<Reference>().ok();
    let usual = meaning.candidates.len() == 1 && meaning.candidates.first() == by_default.as_ref();
    let names: Vec<String> = meaning.candidates.iter().map(ToString::to_string).collect();
    match meaning.because {
        _ if usual => {}
        Because::Default => {}
        Because::Alias(path) => progress.note(&format!(
            "{name} is an alias of {} ({})",
            names.join(", "),
            path.display()
        )),
        Because::Search(path) => progress.note(&format!(
            "{name} is looked for as {} ({})",
            names.join(", then "),
            path.display()
        )),
    }
    Ok(meaning.candidates)
}

/// The first of `names` that `get` gets, for the short name `name`.
pub(super) fn first<T>(
    name: &str,
    names: &[Reference],
    mut get: impl FnMut(&Reference) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut tried = Vec::new();
    for reference in names {
        match get(reference) {
            Ok(value) => return Ok(value),
            Err(e) if names.len() == 1 => return Err(e),
            // Only what a registry says, or does not say, sends us to the next one.
            Err(Error::Registry(e)) => tried.push(format!("{reference}: {}", e.told())),
            Err(e) => return Err(e),
        }
    }
    Err(Error::NoCandidate {
        name: name.to_owned(),
        tried,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn refused(host: &str) -> Error {
        Error::Registry(registry::Error::HostNotFound { host: host.into() })
    }

    #[test]
    fn candidates_are_tried_in_order_and_each_reason_is_told() {
        let names: Vec<Reference> = ["a.io/x", "b.io/x", "c.io/x"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let got = first("x", &names, |r| match r.registry() {
            "a.io" => Err(refused("a.io")),
            host => Ok(host.to_owned()),
        });
        assert_eq!(got.unwrap(), "b.io");
        let e = first("x", &names, |r| Err::<(), _>(refused(r.registry()))).unwrap_err();
        let said = e.to_string();
        for host in ["a.io", "b.io", "c.io"] {
            let line = format!("{host}/x:latest: cannot find the address of {host}");
            assert!(said.contains(&line), "{said}");
        }
        // A fault of our own is not the registry's, and one candidate speaks for itself.
        let mut asked = 0;
        let own = first("x", &names, |_| {
            asked += 1;
            Err::<(), _>(Error::NoCommand)
        });
        assert!(matches!(own, Err(Error::NoCommand)) && asked == 1);
        let one = first("x", &names[..1], |_| Err::<(), _>(refused("a.io")));
        assert!(matches!(one, Err(Error::Registry(_))));
    }
}
