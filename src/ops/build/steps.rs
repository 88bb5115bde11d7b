//! One instruction after the other.

use super::super::Error;
use super::super::commit::Change;
use super::stage::Stage;
use super::{BuildError, Said};
use crate::build::{self, Instruction, Quoting, Step, expand, expand_words, ports};

impl Stage<'_> {
    /// Carry out the stage. `done`: the stages before it.
    pub(super) fn all(&mut self, done: &[Option<Self>]) -> Result<(), Error> {
        let build = self.build;
        let stage = &build.file.stages[self.index];
        let mut steps: Vec<Step> = Vec::new();
        // Of the base, and as if they stood here.
        let triggers = self.config.take_on_build();
        for text in &triggers {
            let instruction = build::instruction(text);
            steps.push(Step {
                line: stage.line,
                text: text.lines().next().unwrap_or_default().to_owned(),
                instruction: instruction.map_err(BuildError::OnBuild)?,
            });
        }
        if !triggers.is_empty() {
            self.wrote_nothing(&stage.text);
        }
        steps.extend(stage.steps.iter().cloned());
        let of = steps.len() + 1;
        self.announce(1, of, &stage.text);
        if steps.is_empty() {
            (build.say)(Said::Made(&self.image.id));
        }
        for (n, step) in (2..).zip(&steps) {
            self.announce(n, of, &step.text);
            build.at(step.line, &step.text, || self.one(step, done))?;
        }
        Ok(())
    }

    /// A word with its variables replaced.
    pub(super) fn word(&self, text: &str) -> Result<String, Error> {
        let env = self.config.env();
        let scope = |name: &str| self.scope.get(&env, name);
        let escape = self.build.file.directives.escape;
        Ok(expand(text, escape, Quoting::Words, &scope).map_err(BuildError::from)?)
    }

    /// A document with its variables replaced.
    pub(super) fn document(&self, heredoc: &build::Heredoc) -> Result<String, Error> {
        let text = heredoc.text();
        if !heredoc.expand {
            return Ok(text);
        }
        let env = self.config.env();
        let scope = |name: &str| self.scope.get(&env, name);
        let escape = self.build.file.directives.escape;
        Ok(expand(&text, escape, Quoting::Text, &scope).map_err(BuildError::from)?)
    }

    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, Error> {
        let one = |(name, value): &(String, String)| Ok((self.word(name)?, self.word(value)?));
        pairs.iter().map(one).collect()
    }

    fn words(&self, words: &[String]) -> Result<Vec<String>, Error> {
        words.iter().map(|w| self.word(w)).collect()
    }

    fn one(&mut self, step: &Step, done: &[Option<Self>]) -> Result<(), Error> {
        let text = step.text.as_str();
        match &step.instruction {
            Instruction::Run(run) => return self.run(run),
            Instruction::Copy(copy) => return self.copy(copy, text, done),
            Instruction::Workdir(dir) => {
                let dir = self.word(dir)?;
                return self.workdir(dir);
            }
            Instruction::Arg(pairs) => {
                let env = self.config.env();
                for (name, default) in pairs {
                    let given = &self.build.given;
                    self.scope.declare(given, name, default.as_deref(), &env)?;
                }
            }
            Instruction::Env(pairs) => self.config.change(Change::Env(self.pairs(pairs)?)),
            Instruction::Label(pairs) => self.config.change(Change::Label(self.pairs(pairs)?)),
            Instruction::Cmd(command) => {
                let args = self.config.arguments(command);
                self.config.change(Change::Cmd(args));
            }
            Instruction::Entrypoint(command) => {
                let args = self.config.arguments(command);
                self.config.change(Change::Entrypoint(args));
            }
            Instruction::Expose(list) => {
                let env = self.config.env();
                let scope = |name: &str| self.scope.get(&env, name);
                let escape = self.build.file.directives.escape;
                let mut all = Vec::new();
                for text in list {
                    for word in expand_words(text, escape, &scope).map_err(BuildError::from)? {
                        all.extend(ports(&word).map_err(BuildError::from)?);
                    }
                }
                self.config.change(Change::Expose(all));
            }
            Instruction::Volume(list) => {
                let list = self.words(list)?;
                self.config.change(Change::Volume(list));
            }
            Instruction::User(user) => {
                let user = self.word(user)?;
                self.config.change(Change::User(user));
            }
            Instruction::StopSignal(signal) => {
                let signal = self.word(signal)?;
                self.config.change(Change::StopSignal(signal));
            }
            Instruction::OnBuild(text) => self.config.change(Change::OnBuild(text.clone())),
            Instruction::Healthcheck(check) => self.config.set_healthcheck(check),
            Instruction::Shell(shell) => self.config.set_shell(shell),
            Instruction::Maintainer(who) => self.config.set_author(who),
            // The parser has ended the stage there.
            Instruction::From(_) => {}
        }
        // Variables have their values in the configuration, which makes the key of what comes after.
        let config = match &step.instruction {
            Instruction::Arg(_) => String::new(),
            _ => self.config.essence(),
        };
        self.mark([step.instruction.word(), text, &config]);
        self.wrote_nothing(text);
        Ok(())
    }
}
