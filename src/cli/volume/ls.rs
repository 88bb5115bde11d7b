//! `coracle volume ls`

use crate::cli::filters::{moment, pair, truth};
use crate::cli::table::Table;
use crate::cli::{Failure, Global, format, text};
use crate::ops::prune::Label;
use crate::ops::volume::{self, Filter};

/// List volumes
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only volumes of which this is true: name=PART, label=KEY[=VALUE], label!=KEY[=VALUE], dangling=true|false, driver=local, opt=NAME[=VALUE], until=TIME, since=VOLUME
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter)]
    filters: Vec<Filter>,
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    /// Print no line of headings
    #[arg(short, long)]
    noheading: bool,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let store = global.store()?;
    let list = volume::list(&store, &args.filters)?;
    if args.quiet {
        text::stdout(|out| {
            list.iter()
                .try_for_each(|v| writeln!(out, "{}", v.record.name))
        })?;
        return Ok(0);
    }
    if let Some(template) = format::wanted(args.format.as_deref()) {
        let records: Vec<_> = list.iter().map(volume::document).collect();
        format::records(template, &records)?;
        return Ok(0);
    }
    let mut table = Table::new(&["DRIVER", "VOLUME NAME"]);
    for v in &list {
        table.row(vec!["local".to_owned(), v.record.name.clone()]);
    }
    let table = table.render();
    let skipped = usize::from(args.noheading);
    text::stdout(|out| {
        let mut lines = table.lines().skip(skipped);
        lines.try_for_each(|line| writeln!(out, "{line}"))
    })?;
    Ok(0)
}

/// A condition on volumes.
pub(super) fn filter(s: &str) -> Result<Filter, String> {
    let (key, value) = pair(s)?;
    Ok(match key {
        "name" => Filter::Name(value.to_owned()),
        "label" => Filter::Label(Label::new(value, false)),
        "label!" => Filter::Label(Label::new(value, true)),
        "dangling" => Filter::Dangling(truth(value)?),
        "driver" => Filter::Driver(value.to_owned()),
        "opt" => match value.split_once('=') {
            Some((name, value)) => Filter::Option(name.to_owned(), Some(value.to_owned())),
            None => Filter::Option(value.to_owned(), None),
        },
        "until" => Filter::Until(moment(value)?),
        "since" | "after" => Filter::Since(value.to_owned()),
        _ => {
            return Err(format!(
                "unknown filter {key:?}; there are name, label, label!, dangling, driver, opt, until and since"
            ));
        }
    })
}
