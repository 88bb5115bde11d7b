//! Pieces to a tree of nodes.

use serde_json::Value;

use super::functions::FUNCTIONS;
use super::lex::{self, Piece, Token};
use super::{DEPTH_MAX, TemplateError};

/// What is printed, or decides what is.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// Commands joined by `|`: the value of one is the last argument of the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe {
    /// `$x :=`, or `$i, $x :=` of a range.
    pub variables: Vec<String>,
    /// The variables are new ones.
    pub declares: bool,
    pub commands: Vec<Vec<Word>>,
}

#[derive(Clone, Debug)]
pub(super) enum Word {
    /// Fields of something; none of the dot is `.`.
    Path(Base, Vec<String>),
    Literal(Value),
    Function(&'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Base {
    Dot,
    /// Without its `$`; the record has no name.
    Variable(String),
    Pipe(Box<Pipe>),
}

impl Pipe {
    /// `.` and nothing else.
    pub(super) fn is_dot(&self) -> bool {
        let [command] = &self.commands[..] else {
            return false;
        };
        matches!(&command[..], [Word::Path(Base::Dot, fields)] if fields.is_empty())
    }

    /// The name of the first field that it asks for.
    pub(super) fn field(&self) -> Option<&str> {
        self.commands.iter().flatten().find_map(|word| match word {
            Word::Path(Base::Pipe(inner), fields) => {
                fields.last().map(String::as_str).or_else(|| inner.field())
            }
            Word::Path(_, fields) => fields.last().map(String::as_str),
            _ => None,
        })
    }
}

pub(super) fn template(source: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = lex::pieces(source)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0, false)?;
    match end {
        End::Eof => Ok(nodes),
        End::Else(_) => Err(TemplateError::Block("else".to_owned())),
        End::Close => Err(TemplateError::Block("end".to_owned())),
    }
}

enum End {
    Eof,
    /// `{{else}}`, or `{{else if …}}` with what follows the `else`.
    Else(Option<String>),
    Close,
}

/// Nodes up to the end of the block. `looping`: inside a range.
fn block(
    pieces: &mut dyn Iterator<Item = Piece>,
    depth: usize,
    looping: bool,
) -> Result<(Vec<Node>, End), TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError::Depth);
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = keyword(&action);
        match word {
            "end" if rest.is_empty() => return Ok((nodes, End::Close)),
            "else" => {
                let rest = Some(rest.to_owned()).filter(|r| !r.is_empty());
                return Ok((nodes, End::Else(rest)));
            }
            "break" | "continue" if rest.is_empty() => {
                nodes.push(match (looping, word) {
                    (true, "break") => Node::Break,
                    (true, _) => Node::Continue,
                    (false, _) => return Err(TemplateError::Block(action)),
                });
            }
            "if" | "with" | "range" => {
                nodes.push(branch(word, rest, pieces, depth + 1, looping)?);
            }
            _ => nodes.push(Node::Print(pipe(&action, depth, false)?)),
        }
    }
    Ok((nodes, End::Eof))
}

fn branch(
    word: &str,
    condition: &str,
    pieces: &mut dyn Iterator<Item = Piece>,
    depth: usize,
    looping: bool,
) -> Result<Node, TemplateError> {
    let pipe = pipe(condition, depth, word == "range")?;
    let (body, end) = block(pieces, depth, looping || word == "range")?;
    let other = match end {
        End::Close => Vec::new(),
        End::Eof => return Err(TemplateError::NoEnd),
        End::Else(None) => match block(pieces, depth, looping)? {
            (other, End::Close) => other,
            (_, End::Else(_)) => return Err(TemplateError::Block("else".to_owned())),
            (_, End::Eof) => return Err(TemplateError::NoEnd),
        },
        // One `end` closes them all.
        End::Else(Some(again)) => match keyword(&again) {
            (next, rest) if next == word && word != "range" => {
                vec![branch(next, rest, pieces, depth + 1, looping)?]
            }
            _ => return Err(TemplateError::Block(format!("else {again}"))),
        },
    };
    Ok(match word {
        "if" => Node::If(pipe, body, other),
        "with" => Node::With(pipe, body, other),
        _ => Node::Range(pipe, body, other),
    })
}

/// The first word of an action, which ends where a name does, and the rest.
fn keyword(action: &str) -> (&str, &str) {
    let end = action.find(|c: char| !c.is_alphanumeric());
    let (word, rest) = action.split_at(end.unwrap_or(action.len()));
    (word, rest.trim())
}

fn pipe(source: &str, depth: usize, ranging: bool) -> Result<Pipe, TemplateError> {
    let tokens = lex::tokens(source)?;
    let mut parser = Parser {
        source,
        tokens: &tokens,
        at: 0,
    };
    let variables = parser.variables(ranging)?;
    let mut pipe = parser.pipe(depth)?;
    if parser.at < tokens.len() {
        return Err(parser.syntax());
    }
    if let Some((variables, declares)) = variables {
        pipe.variables = variables;
        pipe.declares = declares;
    }
    Ok(pipe)
}

struct Parser<'a> {
    source: &'a str,
    tokens: &'a [(Token, bool)],
    at: usize,
}

impl Parser<'_> {
    fn syntax(&self) -> TemplateError {
        TemplateError::Syntax(self.source.trim().to_owned())
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// `$x :=`, `$x =`, and before a range `$i, $x :=`.
    fn variables(&mut self, ranging: bool) -> Result<Option<(Vec<String>, bool)>, TemplateError> {
        let tokens: Vec<&Token> = self.tokens.iter().take(4).map(|(t, _)| t).collect();
        let (names, assign) = match tokens[..] {
            [Token::Variable(a), Token::Comma, Token::Variable(b), sign] => (vec![a, b], sign),
            [
                Token::Variable(a),
                sign @ (Token::Declare | Token::Assign),
                ..,
            ] => (vec![a], sign),
            _ => return Ok(None),
        };
        let declares = match assign {
            Token::Declare => true,
            Token::Assign => false,
            _ => return Err(self.syntax()),
        };
        // `$` alone is the record.
        if names.iter().any(|n| n.is_empty()) || names.len() == 2 && !ranging {
            return Err(self.syntax());
        }
        self.at = names.len() * 2;
        Ok(Some((names.into_iter().cloned().collect(), declares)))
    }

    /// Up to a closing parenthesis, or the end.
    fn pipe(&mut self, depth: usize) -> Result<Pipe, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(TemplateError::Depth);
        }
        let mut commands = vec![Vec::new()];
        while let Some(token) = self.peek() {
            match token {
                Token::Pipe => {
                    commands.push(Vec::new());
                    self.at += 1;
                }
                Token::Close => break,
                _ => {
                    let word = self.word(depth)?;
                    if let Some(command) = commands.last_mut() {
                        command.push(word);
                    }
                }
            }
        }
        if commands.iter().any(Vec::is_empty) {
            return Err(self.syntax());
        }
        Ok(Pipe {
            commands,
            ..Pipe::default()
        })
    }

    fn word(&mut self, depth: usize) -> Result<Word, TemplateError> {
        let Some((token, _)) = self.tokens.get(self.at) else {
            return Err(self.syntax());
        };
        self.at += 1;
        let (base, mut fields) = match token {
            Token::Dot => return Ok(Word::Path(Base::Dot, Vec::new())),
            Token::Field(name) => (Base::Dot, vec![name.clone()]),
            Token::Variable(name) => (Base::Variable(name.clone()), Vec::new()),
            Token::Open => {
                let inner = self.pipe(depth + 1)?;
                if self.peek() != Some(&Token::Close) {
                    return Err(self.syntax());
                }
                self.at += 1;
                (Base::Pipe(Box::new(inner)), Vec::new())
            }
            Token::Text(text) => return Ok(Word::Literal(text.as_str().into())),
            Token::Integer(n) => return Ok(Word::Literal((*n).into())),
            Token::Float(f) => return Ok(Word::Literal((*f).into())),
            Token::Name(name) => {
                return Ok(match name.as_str() {
                    "true" => Word::Literal(true.into()),
                    "false" => Word::Literal(false.into()),
                    "nil" => Word::Literal(Value::Null),
                    name => match FUNCTIONS.iter().find(|f| **f == name) {
                        Some(function) => Word::Function(function),
                        None => return Err(self.syntax()),
                    },
                });
            }
            Token::Pipe | Token::Close | Token::Comma | Token::Declare | Token::Assign => {
                return Err(self.syntax());
            }
        };
        while let Some((Token::Field(name), true)) = self.tokens.get(self.at) {
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Word::Path(base, fields))
    }
}
