//! `--filter` of `ps`, and of verbs that choose containers as it does.

use crate::cli::filters;
use crate::ops::ps::Filter;

const STATES: [&str; 5] = ["created", "exited", "paused", "restarting", "running"];

/// `KEY=VALUE`
pub(in crate::cli) fn filter(s: &str) -> Result<Filter, String> {
    let (key, value) = filters::pair(s)?;
    let owned = || value.to_owned();
    Ok(match key {
        "id" => Filter::Id(owned()),
        "name" => name(value)?,
        "label" => {
            let (key, value) = label(value);
            Filter::Label(key, value)
        }
        "label!" => {
            let (key, value) = label(value);
            Filter::NotLabel(key, value)
        }
        // podman's words for it.
        "status" if ["configured", "initialized"].contains(&value) => {
            Filter::Status("created".to_owned())
        }
        "status" if value == "stopped" => Filter::Status("exited".to_owned()),
        "status" if STATES.contains(&value) => Filter::Status(owned()),
        "status" => return Err(format!("a container is one of: {}", STATES.join(", "))),
        "ancestor" => Filter::Ancestor(owned()),
        "exited" => {
            let code = value.parse();
            Filter::Exited(code.map_err(|_| "want an exit code, 0 to 255".to_owned())?)
        }
        "before" => Filter::Before(owned()),
        "since" => Filter::Since(owned()),
        "until" => Filter::Until(filters::moment(value)?),
        "network" => Filter::Network(owned()),
        "volume" => Filter::Volume(owned()),
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are id, name, label, label!, status, ancestor, exited, before, since, until, network and volume"
            ));
        }
    })
}

fn label(s: &str) -> (String, Option<String>) {
    match s.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (s.to_owned(), None),
    }
}

/// Docker's names begin with a slash, and its filter is a regular expression.
fn name(value: &str) -> Result<Filter, String> {
    let rest = value.strip_prefix('^');
    let text = rest.unwrap_or(value);
    let text = text.strip_prefix('/').unwrap_or(text);
    let end = text.strip_suffix('$');
    let text = end.unwrap_or(text);
    let odd = |c: &char| !c.is_alphanumeric() && !"_.-".contains(*c);
    if let Some(c) = text.chars().find(odd) {
        return Err(format!(
            "{c:?} is in no name; ^ and $ are all that is understood of regular expressions"
        ));
    }
    Ok(Filter::Name {
        text: text.to_owned(),
        from_start: rest.is_some(),
        to_end: end.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_in_dockers_and_podmans_words() {
        for (s, want) in [
            ("label=a=b=c", Filter::Label("a".into(), Some("b=c".into()))),
            ("label!=a", Filter::NotLabel("a".into(), None)),
            ("status=stopped", Filter::Status("exited".into())),
            ("status=configured", Filter::Status("created".into())),
            ("status=paused", Filter::Status("paused".into())),
            ("volume=/v", Filter::Volume("/v".into())),
            (
                "name=^/web$",
                Filter::Name {
                    text: "web".into(),
                    from_start: true,
                    to_end: true,
                },
            ),
        ] {
            assert_eq!(filter(s), Ok(want), "{s}");
        }
        for bad in [
            "name",
            "name=",
            "name=a|b",
            "status=up",
            "exited=x",
            "until=x",
            "foo=bar",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
