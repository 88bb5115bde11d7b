//! `coracle images [NAME]`

mod record;

use std::collections::HashSet;

use super::listing::Listing;
use super::table::Table;
use super::{Failure, Global, filters, format, human, inspect, text};
use crate::oci::Reference;
use crate::ops::images::{self, Filter, Label, Wanted};
use crate::store::ImageSummary;

const NONE: &str = "<none>";

/// List images
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show all images (accepted for docker's sake: there are no intermediate ones to hide)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only images of which this is true: dangling=true|false, reference=PATTERN, label=KEY[=VALUE], label!=KEY[=VALUE], id=START, before=IMAGE, since=IMAGE, until=TIME, readonly=true|false
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// Print no headings
    #[arg(short, long)]
    noheading: bool,
    /// Order by: created, id, repository, size or tag [default: created, the youngest first]
    #[arg(long, value_name = "KEY")]
    sort: Option<Key>,
    #[command(flatten)]
    listing: Listing,
    /// Only images of this repository or name, or that fit this pattern
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Key {
    Created,
    Id,
    Repository,
    Size,
    Tag,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let mut wanted = Wanted {
        name: args.name.clone(),
        additional: true,
        filters: args.filters.clone(),
    };
    // As docker: a pattern in the place of a name.
    if args
        .name
        .as_ref()
        .is_some_and(|n| n.contains(['*', '?', '[']))
        && let Some(pattern) = wanted.name.take()
    {
        let pattern = pattern.parse().map_err(Failure::usage)?;
        wanted.filters.push(Filter::Reference(pattern));
    }
    let mut list = images::images(&store, &wanted)?;
    match args.sort {
        None | Some(Key::Created) => {}
        Some(Key::Id) => list.sort_by_cached_key(|i| i.id.to_string()),
        Some(Key::Repository) => list.sort_by_cached_key(repository),
        Some(Key::Size) => list.sort_by_key(ImageSummary::size),
        Some(Key::Tag) => list.sort_by_cached_key(tag),
    }
    let id = |image: &ImageSummary| match args.listing.no_trunc {
        true => image.id.to_string(),
        false => image.id.short().to_owned(),
    };
    if args.listing.quiet {
        let mut seen = HashSet::new();
        return print(|out| {
            for image in list.iter().filter(|i| seen.insert(&i.id)) {
                writeln!(out, "{}", id(image))?;
            }
            Ok(())
        });
    }
    if let Some(template) = args.listing.template() {
        let records = record::Records::new(&store, &list, template)?;
        if format::is_json(template) {
            return inspect::print_pretty(&list.iter().map(|i| records.podman(i)).collect());
        }
        let values: Vec<_> = list.iter().map(|i| records.template(i, &id(i))).collect();
        let style = format::Style {
            headings: &record::HEADINGS,
            bare: args.noheading,
        };
        format::styled(template, &values, &style)?;
        return Ok(0);
    }
    let mut headings = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        headings.insert(2, "DIGEST");
    }
    // As podman: only where there is one.
    let read_only = list.iter().any(|i| i.read_only);
    if read_only {
        headings.push("R/O");
    }
    let mut table = Table::new(if args.noheading { &[] } else { &headings });
    for image in &list {
        let mut row = vec![
            repository(image),
            tag(image),
            id(image),
            human::ago(image.created.as_deref()),
            human::size(image.size()),
        ];
        if args.digests {
            row.insert(2, image.repo_digest().to_string());
        }
        if read_only {
            row.push(image.read_only.to_string());
        }
        table.row(row);
    }
    print(|out| out.write_all(table.render().as_bytes()))
}

fn filter(s: &str) -> Result<Filter, String> {
    let (key, value) = filters::pair(s)?;
    Ok(match key {
        "dangling" => Filter::Dangling(filters::truth(value)?),
        "reference" => Filter::Reference(value.parse()?),
        "label" => Filter::Label(Label::new(value, false)),
        "label!" => Filter::Label(Label::new(value, true)),
        "id" => Filter::Id(value.to_owned()),
        "before" => Filter::Before(value.to_owned()),
        "since" | "after" => Filter::Since(value.to_owned()),
        "until" => Filter::Until(filters::moment(value)?),
        "readonly" => Filter::ReadOnly(filters::truth(value)?),
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are dangling, reference, label, label!, id, before, since, until and readonly"
            ));
        }
    })
}

fn print(
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> Result<u8, Failure> {
    text::stdout(write)?;
    Ok(0)
}

fn repository(image: &ImageSummary) -> String {
    image
        .reference
        .as_ref()
        .map_or_else(|| NONE.to_owned(), Reference::name)
}

fn tag(image: &ImageSummary) -> String {
    let tag = image.reference.as_ref().and_then(Reference::tag);
    tag.unwrap_or(NONE).to_owned()
}
