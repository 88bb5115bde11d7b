//! A tree of nodes and a record to text.

use serde_json::Value;

use super::TemplateError;
use super::functions;
use super::parse::{Base, Node, Pipe, Word};
use super::value::{Val, truth};

/// Objects whose keys are anybody's, so that the case of letters counts.
const FREE: [&str; 9] = [
    "Annotations",
    "Driver_Opts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Volumes",
];

pub(super) fn render(nodes: &[Node], record: &Value) -> Result<String, TemplateError> {
    let mut state = State {
        record,
        variables: Vec::new(),
        out: String::new(),
    };
    state.all(nodes, &Val::Data(record))?;
    Ok(state.out)
}

/// What goes on after a node.
enum Next {
    On,
    Break,
    Continue,
}

struct State<'a> {
    record: &'a Value,
    /// The youngest last.
    variables: Vec<(String, Val<'a>)>,
    out: String,
}

impl<'a> State<'a> {
    /// A block, at whose end its variables go.
    fn all(&mut self, nodes: &[Node], dot: &Val<'a>) -> Result<Next, TemplateError> {
        let before = self.variables.len();
        let next = self.each(nodes, dot);
        self.variables.truncate(before);
        next
    }

    fn each(&mut self, nodes: &[Node], dot: &Val<'a>) -> Result<Next, TemplateError> {
        for node in nodes {
            let next = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Next::On
                }
                Node::Print(pipe) => {
                    let value = self.assign(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.out.push_str(&value.text());
                    }
                    Next::On
                }
                Node::Break => Next::Break,
                Node::Continue => Next::Continue,
                Node::If(pipe, yes, no) | Node::With(pipe, yes, no) => {
                    let before = self.variables.len();
                    let value = self.assign(pipe, dot)?;
                    let next = match (truth(value.value()), node) {
                        (true, Node::With(..)) => self.all(yes, &value),
                        (true, _) => self.all(yes, dot),
                        (false, _) => self.all(no, dot),
                    };
                    self.variables.truncate(before);
                    next?
                }
                Node::Range(pipe, body, empty) => self.range(pipe, body, empty, dot)?,
            };
            if !matches!(next, Next::On) {
                return Ok(next);
            }
        }
        Ok(Next::On)
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &[Node],
        empty: &[Node],
        dot: &Val<'a>,
    ) -> Result<Next, TemplateError> {
        let value = self.value(pipe, dot)?;
        let items = value.items();
        let items = items.ok_or_else(|| TemplateError::argument("range"))?;
        if items.is_empty() {
            return self.all(empty, dot);
        }
        let before = self.variables.len();
        for (key, item) in items {
            let values = match pipe.variables.len() {
                2 => vec![Val::Made(key), item.clone()],
                n => vec![item.clone(); n],
            };
            for (name, value) in pipe.variables.iter().zip(values) {
                self.set(name, value, pipe.declares)?;
            }
            let next = self.all(body, &item)?;
            self.variables.truncate(before);
            if matches!(next, Next::Break) {
                break;
            }
        }
        Ok(Next::On)
    }

    fn set(&mut self, name: &str, value: Val<'a>, declares: bool) -> Result<(), TemplateError> {
        if declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(n, _)| n == name);
        match known {
            Some((_, old)) => *old = value,
            None => return Err(TemplateError::Variable(format!("${name}"))),
        }
        Ok(())
    }

    /// The value of a pipe, which is also that of its variable.
    fn assign(&mut self, pipe: &Pipe, dot: &Val<'a>) -> Result<Val<'a>, TemplateError> {
        let value = self.value(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.declares)?;
        }
        Ok(value)
    }

    fn value(&self, pipe: &Pipe, dot: &Val<'a>) -> Result<Val<'a>, TemplateError> {
        let mut carried: Option<Val<'a>> = None;
        for command in &pipe.commands {
            carried = Some(self.command(command, carried.take(), dot)?);
        }
        Ok(carried.unwrap_or(Val::Made(Value::Null)))
    }

    fn command(
        &self,
        words: &[Word],
        carried: Option<Val<'a>>,
        dot: &Val<'a>,
    ) -> Result<Val<'a>, TemplateError> {
        let (function, words) = match words {
            [Word::Function(name), rest @ ..] => (Some(*name), rest),
            words => (None, words),
        };
        // They stop at the first that decides.
        if let Some(name @ ("and" | "or")) = function {
            let mut last = None;
            for word in words {
                let value = self.word(word, dot)?;
                if truth(value.value()) == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            let last = carried.or(last);
            return last.ok_or_else(|| TemplateError::argument(name));
        }
        if let (None, [Word::Path(base, fields), arguments @ ..]) = (function, words)
            && (!arguments.is_empty() || carried.is_some())
        {
            let mut arguments = self.words(arguments, dot)?;
            arguments.extend(carried);
            return self.method(base, fields, &arguments, dot);
        }
        let mut arguments = self.words(words, dot)?;
        arguments.extend(carried);
        match function {
            Some(name) => functions::call(name, &arguments),
            None if arguments.len() == 1 => Ok(arguments.swap_remove(0)),
            None => Err(TemplateError::Syntax("several values".to_owned())),
        }
    }

    fn words(&self, words: &[Word], dot: &Val<'a>) -> Result<Vec<Val<'a>>, TemplateError> {
        words.iter().map(|w| self.word(w, dot)).collect()
    }

    fn word(&self, word: &Word, dot: &Val<'a>) -> Result<Val<'a>, TemplateError> {
        match word {
            Word::Literal(value) => Ok(Val::Made(value.clone())),
            // As an argument: one that needs none.
            Word::Function(name) => functions::call(name, &[]),
            Word::Path(base, fields) => self.path(base, fields, dot),
        }
    }

    fn path(
        &self,
        base: &Base,
        fields: &[String],
        dot: &Val<'a>,
    ) -> Result<Val<'a>, TemplateError> {
        let mut value = match base {
            Base::Dot => dot.clone(),
            Base::Variable(name) if name.is_empty() => Val::Data(self.record),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(n, _)| n == name);
                let known = known.ok_or_else(|| TemplateError::Variable(format!("${name}")))?;
                known.1.clone()
            }
            Base::Pipe(pipe) => self.value(pipe, dot)?,
        };
        let mut above = "";
        for name in fields {
            value = match value.part(|v| member(v, name, FREE.contains(&above))) {
                Some(part) => part,
                None => match &value {
                    Val::Data(v) if std::ptr::eq(*v, self.record) => {
                        let fields = v.as_object().into_iter().flat_map(|o| o.keys());
                        return Err(TemplateError::Field {
                            field: name.clone(),
                            fields: fields.cloned().collect(),
                        });
                    }
                    _ => return Ok(Val::Made("".into())),
                },
            };
            above = name;
        }
        Ok(value)
    }

    /// docker's `.Label "NAME"`, the one field that takes an argument.
    fn method(
        &self,
        base: &Base,
        fields: &[String],
        arguments: &[Val<'a>],
        dot: &Val<'a>,
    ) -> Result<Val<'a>, TemplateError> {
        let (Some((name, above)), [label]) = (fields.split_last(), arguments) else {
            return Err(TemplateError::Syntax("several values".to_owned()));
        };
        let (true, Value::String(label)) = (name == "Label", label.value()) else {
            return Err(TemplateError::argument(name));
        };
        let value = self.path(base, above, dot)?;
        let found = value.part(|v| v.get("Labels")?.get(label));
        Ok(found.unwrap_or(Val::Made("".into())))
    }
}

/// A member of an object. Go's name of a field and that in its JSON (`.Host.CPUs`, `cpus`) differ in case.
fn member<'v>(value: &'v Value, name: &str, free: bool) -> Option<&'v Value> {
    let object = value.as_object()?;
    let same = |key: &&String| key.eq_ignore_ascii_case(name);
    object.get(name).or_else(|| match free {
        true => None,
        false => object.keys().find(same).and_then(|k| object.get(k)),
    })
}
