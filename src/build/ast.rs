//! Instructions as they stand in the file: words are not expanded yet.

/// One instruction, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line where it begins, from 1.
    pub line: u32,
    /// As it was written, its lines joined.
    pub text: String,
    /// What it says.
    pub instruction: Instruction,
}

/// A command, in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For a shell.
    Shell(String),
    /// A JSON list: program and arguments.
    Exec(Vec<String>),
}

/// A document in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// What ends it.
    pub name: String,
    /// `<<-`: tabs before each line do not count.
    pub strip_tabs: bool,
    /// Its name has no quotes: variables in it are replaced.
    pub expand: bool,
    /// As it stands in the file, each line with its end.
    pub content: String,
}

impl Heredoc {
    /// What it says, without the tabs that do not count.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        let lines = self.content.split_inclusive('\n');
        lines.map(|l| l.trim_start_matches('\t')).collect()
    }
}

/// `FROM`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct From {
    /// Image, stage or `scratch`.
    pub image: String,
    /// `AS`, in small letters.
    pub name: Option<String>,
    /// `--platform`
    pub platform: Option<String>,
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// With its heredocs, if a shell is to read them.
    pub command: Command,
    /// The command is one heredoc and nothing else.
    pub script: Option<Heredoc>,
    /// `--network=none` rather than the build's own.
    pub offline: bool,
}

/// `COPY` and `ADD`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// It is `ADD`.
    pub add: bool,
    /// Paths, patterns, and for `ADD` more.
    pub sources: Vec<String>,
    /// Documents, each with the name that stands for it among the sources.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub target: String,
    /// `--from`
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`: what it promises of caches holds for ours anyway.
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`
    pub exclude: Vec<String>,
}

/// `HEALTHCHECK`: what is `None` is the default of whoever runs it. Times in nanoseconds, as an image has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `None`: there is to be none.
    pub command: Option<Command>,
    /// `--interval`
    pub interval: Option<u64>,
    /// `--timeout`
    pub timeout: Option<u64>,
    /// `--start-period`
    pub start_period: Option<u64>,
    /// `--start-interval`
    pub start_interval: Option<u64>,
    /// `--retries`
    pub retries: Option<u32>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD` and `COPY`
    Copy(Box<Copy>),
    /// `ARG`: names, and defaults.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`
    Env(Vec<(String, String)>),
    /// `EXPOSE`
    Expose(Vec<String>),
    /// `FROM`
    From(From),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<(String, String)>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the instruction.
    OnBuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

impl Instruction {
    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Copy(c) if c.add => "ADD",
            Self::Copy(_) => "COPY",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::OnBuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}
