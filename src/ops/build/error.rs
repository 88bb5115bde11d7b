//! Why a build failed.

use std::path::PathBuf;

use super::super::Error;
use crate::build::{self, Problem};

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is none in the context.
    #[error("there is neither a Containerfile nor a Dockerfile in {}", .0.display())]
    NoFile(PathBuf),
    /// The Containerfile.
    #[error("{}, {source}", .file.display())]
    Text {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        source: build::Error,
    },
    /// The ignore file.
    #[error("{}: {problem}", .file.display())]
    Ignore {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// An instruction cannot be carried out.
    #[error("{}, line {line}: {text}: {source}", .file.display())]
    Step {
        /// The Containerfile.
        file: PathBuf,
        /// Line, from 1.
        line: u32,
        /// The instruction.
        text: String,
        /// Why.
        source: Box<Error>,
    },
    /// What is wrong with an instruction shows only when it is carried out.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// A program ended badly.
    #[error("{program:?} ended with code {code}")]
    Ended {
        /// What was run.
        program: String,
        /// Its code, or 128 and the signal.
        code: u8,
    },
    /// Part of the language or of docker, and not of this version.
    #[error("{0} is not supported yet")]
    NotYet(String),
    /// Too large to be what it is called.
    #[error("{} is larger than {max} bytes", .file.display())]
    TooLarge {
        /// Which.
        file: PathBuf,
        /// Bytes.
        max: usize,
    },
    /// It is no text.
    #[error("{} is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// A base that needs itself.
    #[error("an ONBUILD instruction of the base image: {0}")]
    OnBuild(build::Error),
    /// `SOURCE_DATE_EPOCH`
    #[error("{0} is no time in seconds since 1970")]
    Time(i64),
}

impl BuildError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFile(_) => Some("name one with --file".to_owned()),
            Self::Text { source, .. } => source.hint(),
            Self::Ignore { problem, .. } | Self::Problem(problem) => problem.hint(),
            Self::Step { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// The code of the program that failed, as podman has it.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Ended { code, .. } => Some(*code),
            Self::Step { source, .. } => match &**source {
                Error::Build(e) => e.exit_code(),
                e => Some(e.exit_code()),
            },
            _ => None,
        }
    }
}
