//! What is wrong with a Containerfile, and where.

/// Something is wrong in a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// From 1; where the instruction begins.
    pub line: u32,
    /// What it is.
    #[source]
    pub problem: Problem,
}

impl Error {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// More than we are ready for.
    #[error("more than {max} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// Not an instruction.
    #[error("{0:?} is not an instruction")]
    Unknown(String),
    /// The instruction has nothing after it.
    #[error("{0} needs an argument")]
    Empty(&'static str),
    /// It has more or fewer words than it takes.
    #[error("{instruction} wants {want}")]
    Arguments {
        /// Which.
        instruction: &'static str,
        /// How it is written.
        want: &'static str,
    },
    /// Not one of the instruction's.
    #[error("{instruction} has no flag --{flag}")]
    Flag {
        /// Which.
        instruction: &'static str,
        /// Its name.
        flag: String,
    },
    /// It is there twice.
    #[error("--{0} is given twice")]
    FlagTwice(String),
    /// It has no value or a wrong one.
    #[error("--{flag}={value}: want {want}")]
    FlagValue {
        /// Its name.
        flag: String,
        /// What it says.
        value: String,
        /// What it could say.
        want: &'static str,
    },
    /// It is part of the language, and not of this version.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// It asks for what no rootless build can give.
    #[error("{0} needs rights that a rootless build has not")]
    Rights(String),
    /// A directive that is there twice.
    #[error("the parser directive {0:?} is given twice")]
    DirectiveTwice(String),
    /// A directive with a value that is none.
    #[error("the parser directive escape={0}: want \\ or `")]
    Escape(String),
    /// No end to a heredoc.
    #[error("the heredoc <<{0} has no end: a line that is just {0}")]
    Heredoc(String),
    /// A quote or brace without its end.
    #[error("{text:?}: {mark} has no end")]
    Open {
        /// Where.
        text: String,
        /// Which one.
        mark: char,
    },
    /// `${…}` that means nothing.
    #[error("{0:?}: not a substitution: want ${{NAME}}, or one with :- :+ :? # % or /")]
    Substitution(String),
    /// `${x:?…}` found nothing.
    #[error("{name} must be set{}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Unset {
        /// Of the variable.
        name: String,
        /// What the author says about it.
        message: Option<String>,
    },
    /// Not `NAME=VALUE`.
    #[error("{0:?} is not NAME=VALUE")]
    Pair(String),
    /// Not a port.
    #[error("{0:?} is not a port: want NUMBER[-NUMBER][/tcp|/udp|/sctp]")]
    Port(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: want for instance 30s, 1m30s or 500ms")]
    Duration(String),
    /// Not a mode.
    #[error("{0:?} is not a mode: want an octal number, or for instance u=rwX,go=rX")]
    Mode(String),
    /// Not a pattern.
    #[error("{0:?} is not a pattern: a bracket or backslash is not complete")]
    Pattern(String),
    /// An instruction that may not be in ONBUILD.
    #[error("ONBUILD {0} is not allowed")]
    OnBuild(String),
    /// It comes before the first FROM.
    #[error("{0} before the first FROM: only ARG may stand there")]
    BeforeFrom(&'static str),
    /// There is no FROM.
    #[error("there is no FROM")]
    NoFrom,
    /// A name that no stage can have.
    #[error("{0:?} is no name for a stage: want a letter, then letters, digits, - _ or .")]
    StageName(String),
    /// Two stages of one name.
    #[error("two stages are called {0:?}")]
    StageTwice(String),
    /// Not in the file.
    #[error("there is no stage {name:?}{}", if .have.is_empty() { String::new() } else { format!("; there are: {}", .have.join(", ")) })]
    NoStage {
        /// Asked for.
        name: String,
        /// Names that there are.
        have: Vec<String>,
    },
    /// A stage that needs itself, or a later one.
    #[error("--from={0}: a stage can only take from those before it")]
    Later(String),
}

impl Problem {
    /// In this line.
    pub(super) fn at(self, line: u32) -> Error {
        Error {
            line,
            problem: self,
        }
    }

    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown(word) => {
                let near = super::parse::nearest(word)?;
                format!("did you mean {near}?")
            }
            Self::BeforeFrom(_) => "put FROM IMAGE or FROM scratch first".to_owned(),
            Self::NoFrom => "begin with FROM IMAGE or FROM scratch".to_owned(),
            Self::Heredoc(_) => "write <<- to let tabs stand before the end".to_owned(),
            Self::Unset { name, .. } => format!("give it with --build-arg {name}=VALUE"),
            _ => return None,
        })
    }
}
