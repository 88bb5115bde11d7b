//! `--format`: Go's text/template as people use it with docker and podman, over JSON values.
//!
//! ```text
//! {{.Field.Sub}}  {{$x := .A}}{{$x.B}}  {{(index .List 0).C}}  {{.A | upper}}  {{- trimmed -}}  {{/* comment */}}
//! {{if .A}}…{{else if .B}}…{{else}}…{{end}}   {{with .A}}…{{else}}…{{end}}
//! {{range .List}}{{.}}{{else}}none{{end}}   {{range $i, $e := .List}}…{{break}}{{continue}}…{{end}}
//! ```
//! The functions are Go's own and those that docker and podman add: see [`functions`]. `\n` and `\t` in the text
//! mean what they look like. Fields have the names of docker's and podman's Go structures or of their JSON, which
//! differ in the case of letters; so the case only counts where two names differ in nothing else. A field that
//! the record does not have is an error; below the record it is empty, since images leave out what is not set.
//!
//! What a record says comes from strangers: it is escaped on its way to the output, other than what the template
//! itself says. <https://pkg.go.dev/text/template>

mod evaluate;
mod functions;
mod lex;
mod parse;
mod printf;
mod value;

use serde_json::Value;

use parse::Node;

/// How deep blocks and parentheses may stand in each other.
const DEPTH_MAX: usize = 32;

/// Why a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the format has {{{{ without }}}}")]
    Open,
    #[error("the format has {0:?}, which is not understood here")]
    Syntax(String),
    #[error("the format has {{{{{0}}}}} in the wrong place")]
    Block(String),
    #[error("the format ends before {{{{end}}}}")]
    NoEnd,
    #[error("the format asks for .{field}, which is not one of: {}", .fields.join(", "))]
    Field { field: String, fields: Vec<String> },
    #[error("the format uses {0}, which nothing was assigned to")]
    Variable(String),
    #[error("the format gives {function} what it cannot work with")]
    Argument { function: String },
    #[error("the format is nested too deeply")]
    Depth,
}

impl TemplateError {
    fn argument(function: &str) -> Self {
        Self::Argument {
            function: function.to_owned(),
        }
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Node>);

impl Template {
    pub(super) fn parse(source: &str) -> Result<Self, TemplateError> {
        parse::template(source).map(Self)
    }

    /// Fill in one record.
    pub(super) fn render(&self, record: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.0, record)
    }

    /// It begins with `{{range .}}`: it goes through the records itself.
    pub(super) fn ranges_over_all(&self) -> bool {
        let node = self.0.iter().find(|n| !matches!(n, Node::Text(_)));
        matches!(node, Some(Node::Range(pipe, ..)) if pipe.is_dot())
    }

    /// The line above a table of such rows: the text as it is, and for a value the heading of its field, which is
    /// its name in capitals unless `named` has another.
    pub(super) fn heading(&self, named: &[(&str, &str)]) -> String {
        let mut line = String::new();
        let nodes = match self.0.as_slice() {
            [Node::Range(_, body, _), ..] if self.ranges_over_all() => body,
            nodes => nodes,
        };
        for node in nodes {
            match node {
                Node::Text(text) => line.push_str(text),
                Node::Print(pipe) => {
                    let field = pipe.field().unwrap_or_default();
                    match named.iter().find(|(name, _)| *name == field) {
                        Some((_, heading)) => line.push_str(heading),
                        None => line.push_str(&field.to_uppercase()),
                    }
                }
                _ => {}
            }
        }
        line
    }
}

#[cfg(test)]
mod tests;
