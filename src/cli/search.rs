//! `coracle search TERM`

use serde_json::json;

use super::intake::RegistryArgs;
use super::table::Table;
use super::{Failure, Global, format, progress, text};
use crate::ops::Access;
use crate::ops::find::{self, Filter};

/// Of a description this many characters are shown, unless all are wanted.
const DESCRIPTION: usize = 60;

/// Search registries for images
///
/// TERM is a word, or REGISTRY/WORD for one registry; REGISTRY/ alone lists all that it has.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// At most so many from each registry
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Only results that fit: stars=N, is-official=BOOL or is-automated=BOOL
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = condition, conflicts_with = "list_tags")]
    filters: Vec<Filter>,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,
    /// List the tags of the repository TERM
    #[arg(long)]
    list_tags: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// What to search for
    term: String,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let access = args.registry.access();
    if args.list_tags {
        return list_tags(args, &access);
    }
    let filter = args
        .filters
        .iter()
        .fold(Filter::default(), |all, one| Filter {
            stars: one.stars.or(all.stars),
            official: one.official.or(all.official),
            automated: one.automated.or(all.automated),
        });
    let progress = progress::new(true);
    let found = find::search(
        &access,
        &args.term,
        args.limit as usize,
        &filter,
        &*progress,
    )?;
    let description = |text: &str| match args.no_trunc {
        true => text.to_owned(),
        false => shortened(text),
    };
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<_> = found
            .iter()
            .map(|f| {
                json!({
                    "Index": f.registry,
                    "Name": f.name,
                    "Description": description(&f.hit.description),
                    "Stars": f.hit.stars,
                    "Official": mark(f.hit.official),
                    "Automated": mark(f.hit.automated),
                    "Tag": "",
                })
            })
            .collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
    for f in &found {
        table.row(vec![
            f.name.clone(),
            description(&f.hit.description),
            f.hit.stars.to_string(),
            mark(f.hit.official).to_owned(),
        ]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

fn list_tags(args: &Args, access: &Access) -> Result<u8, Failure> {
    let progress = progress::new(true);
    let (reference, tags) = find::tags(access, &args.term, Some(args.limit as usize), &*progress)?;
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<_> = tags
            .iter()
            .map(|tag| json!({ "Name": reference.name(), "Tag": tag }))
            .collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let mut table = Table::new(&["NAME", "TAG"]);
    for tag in tags {
        table.row(vec![reference.name(), tag]);
    }
    text::stdout(|out| out.write_all(table.render().as_bytes()))?;
    Ok(0)
}

/// As docker shows yes and no.
fn mark(yes: bool) -> &'static str {
    if yes { "[OK]" } else { "" }
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(DESCRIPTION) {
        None => line,
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

fn condition(s: &str) -> Result<Filter, String> {
    let (key, value) = s.split_once('=').unwrap_or((s, "true"));
    let yes = || match value {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(format!("{value:?}: want true or false")),
    };
    let mut filter = Filter::default();
    match key {
        "stars" => {
            let number = value
                .parse()
                .map_err(|_| format!("{value:?}: want a number"));
            filter.stars = Some(number?);
        }
        "is-official" | "official" => filter.official = yes()?,
        "is-automated" => filter.automated = yes()?,
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are stars, is-official and is-automated"
            ));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        assert_eq!(condition("stars=3").unwrap().stars, Some(3));
        assert_eq!(condition("is-official").unwrap().official, Some(true));
        assert_eq!(
            condition("is-official=false").unwrap().official,
            Some(false)
        );
        assert_eq!(condition("is-automated=0").unwrap().automated, Some(false));
        for bad in ["stars", "stars=x", "is-official=maybe", "colour=red", ""] {
            assert!(condition(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn descriptions_are_one_short_line() {
        assert_eq!(shortened("a\n b\tc "), "a b c");
        let long = shortened(&"ü".repeat(100));
        assert_eq!(long.chars().count(), DESCRIPTION + 1);
        assert!(long.ends_with('…'));
    }
}
