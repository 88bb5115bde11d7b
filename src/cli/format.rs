//! What `--format` means for verbs that list records: docker's `table TEMPLATE`, `json` (one object
//! a line) or a template.

use serde_json::Value;

use super::table::Table;
use super::template::{Template, TemplateError};
use super::{Failure, text};

impl From<TemplateError> for Failure {
    fn from(e: TemplateError) -> Self {
        Self::usage(e.to_string())
    }
}

/// The user's template; `None` for the verb's own table, which `table` alone asks for as well.
pub(super) fn wanted(format: Option<&str>) -> Option<&str> {
    format.filter(|f| *f != "table")
}

/// Print records as the user asked for.
pub(super) fn records(format: &str, records: &[Value]) -> Result<(), Failure> {
    let mut out = String::new();
    if format == "json" {
        for record in records {
            out.push_str(&text::json_printable(&record.to_string()));
            out.push('\n');
        }
    } else if let Some(rest) = format.strip_prefix("table ") {
        let columns: Vec<Template> = rest
            .replace("\\t", "\t")
            .split('\t')
            .map(Template::parse)
            .collect::<Result<_, _>>()?;
        let headings: Vec<String> = columns.iter().map(|c| c.headings().join(" ")).collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for record in records {
            let row = columns.iter().map(|c| c.render(record));
            table.row(row.collect::<Result<_, _>>()?);
        }
        out = table.render();
    } else {
        let template = Template::parse(format)?;
        for record in records {
            out.push_str(&template.render(record)?);
            out.push('\n');
        }
    }
    text::stdout(|w| w.write_all(out.as_bytes()))?;
    Ok(())
}
