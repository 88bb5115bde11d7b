//! What `--format` means for verbs that list records: `table TEMPLATE`, `json` (an array, as podman prints it) or a
//! template, which is filled in once a record. A template that begins with `{{range .}}` gets the whole list, as
//! with podman.

use serde_json::Value;

use super::inspect::print_pretty;
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
    format.filter(|f| !f.is_empty() && *f != "table")
}

/// Whether a format is a word for JSON.
pub(super) fn is_json(format: &str) -> bool {
    format.trim() == "json"
}

/// How a verb shows its records by template.
#[derive(Debug, Default)]
pub(super) struct Style<'a> {
    /// Headings that are not their fields' names in capitals: field and heading.
    pub headings: &'a [(&'a str, &'a str)],
    /// A table has no headings.
    pub bare: bool,
}

/// Print records as the user asked for; `json` shows them as they are.
pub(super) fn records(format: &str, records: &[Value]) -> Result<(), Failure> {
    if is_json(format) {
        print_pretty(&Value::Array(records.to_vec()))?;
        return Ok(());
    }
    styled(format, records, &Style::default())
}

/// Print records by a template.
pub(super) fn styled(format: &str, records: &[Value], style: &Style<'_>) -> Result<(), Failure> {
    let out = match format.strip_prefix("table ") {
        Some(rest) => table(rest, records, style)?,
        None => plain(format, records)?,
    };
    text::stdout(|w| w.write_all(out.as_bytes()))?;
    Ok(())
}

fn plain(format: &str, records: &[Value]) -> Result<String, TemplateError> {
    // As podman: unless it ends its line itself. `{{end -}}` takes it away again.
    let end = match format.ends_with('\n') || format.ends_with("\\n") {
        true => "",
        false => "\n",
    };
    let template = Template::parse(&format!("{format}{end}"))?;
    if template.ranges_over_all() {
        return template.render(&Value::Array(records.to_vec()));
    }
    records.iter().map(|r| template.render(r)).collect()
}

fn table(format: &str, records: &[Value], style: &Style<'_>) -> Result<String, TemplateError> {
    let template = Template::parse(&columns(format))?;
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let heading = template.heading(style.headings);
    let heading = cells(heading.trim_end_matches('\n'));
    let mut table = match style.bare {
        true => Table::new(&[]),
        false => Table::new(&heading.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let rows = match template.ranges_over_all() {
        true => vec![template.render(&Value::Array(records.to_vec()))?],
        false => (records.iter())
            .map(|r| template.render(r))
            .collect::<Result<_, _>>()?,
    };
    // A tab of a record would have been escaped: those that are left part columns.
    for row in rows
        .iter()
        .flat_map(|r| r.trim_end_matches('\n').split('\n'))
    {
        table.row(cells(row));
    }
    Ok(table.render())
}

/// As podman: spaces between two actions part columns, too.
fn columns(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").unwrap_or((after, ""));
        let ends = after.is_empty() && !format.ends_with("}}");
        push_columns(&mut out, text);
        out.push_str("{{");
        out.push_str(action);
        if ends {
            return out;
        }
        out.push_str("}}");
        rest = after;
    }
    push_columns(&mut out, rest);
    out
}

fn push_columns(out: &mut String, text: &str) {
    let text = text.replace("\\t", "\t");
    let mut spaced = false;
    for c in text.chars() {
        if c != ' ' || !spaced {
            out.push(if c == ' ' { '\t' } else { c });
        }
        spaced = c == ' ' || c == '\t';
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> Vec<Value> {
        vec![
            json!({ "ID": "1", "Names": "a\tb" }),
            json!({ "ID": "22", "Names": "c" }),
        ]
    }

    #[test]
    fn a_template_is_filled_in_once_a_record_or_once_for_all() {
        for (format, want) in [
            ("{{.ID}}", "1\n22\n"),
            ("{{.ID}}\\n", "1\n22\n"),
            ("{{range .}}{{.ID}},{{end}}", "1,22,\n"),
            ("{{range .}}{{.ID}}\\n{{end -}}", "1\n22\n"),
            (" {{.ID}} ", " 1 \n 22 \n"),
            ("{{println .ID}}", "1\n\n22\n\n"),
        ] {
            assert_eq!(plain(format, &list()).as_deref(), Ok(want), "{format}");
        }
        assert_eq!(plain("{{.ID}}", &[]).as_deref(), Ok(""));
    }

    #[test]
    fn tables_have_the_headings_of_docker() {
        let style = Style {
            headings: &[("ID", "CONTAINER ID")],
            bare: false,
        };
        let want = "CONTAINER ID  NAMES\n1             a\\tb\n22            c\n";
        for format in [
            "{{.ID}}\\t{{.Names}}",
            "{{.ID}}\t{{.Names}}",
            "{{.ID}} {{.Names}}",
            "{{.ID}}   {{.Names}}\\n",
            "{{ .ID }}\\t{{ .Names | printf \"%s\" }}",
        ] {
            let got = table(format, &list(), &style);
            assert_eq!(got.as_deref(), Ok(want), "{format}");
        }
        let bare = Style {
            bare: true,
            ..style
        };
        let got = table("{{.ID}}:{{.Names}}", &list(), &bare);
        assert_eq!(got.as_deref(), Ok("1:a\\tb\n22:c\n"));
        assert!(table("{{.ID", &list(), &bare).is_err());
    }
}
