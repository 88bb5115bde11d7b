//! A whole file: what stands before the first stage, the stages, and which of them a target needs.

use std::collections::BTreeSet;

use super::ast::{From, Instruction, Step};
use super::lines::{self, Directives};
use super::parse::parse;
use super::{Error, Problem, STEPS_MAX};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containerfile {
    /// What its first comments say.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub globals: Vec<Step>,
    /// The stages, at least one.
    pub stages: Vec<Stage>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Line of its `FROM`.
    pub line: u32,
    /// The same as it stands there.
    pub text: String,
    /// What it begins with.
    pub from: From,
    /// What follows.
    pub steps: Vec<Step>,
}

/// What a stage begins with, or a file is copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(usize),
    /// An image.
    Image(String),
}

impl Containerfile {
    /// Read it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (directives, lines) = lines::split(text)?;
        let mut file = Self {
            directives,
            globals: Vec::new(),
            stages: Vec::new(),
        };
        if lines.len() > STEPS_MAX {
            let limit = Problem::Limit {
                what: "instructions",
                max: STEPS_MAX,
            };
            return Err(limit.at(lines[STEPS_MAX].line));
        }
        for line in lines {
            let at = line.line;
            let instruction = parse(&line, file.directives.escape).map_err(|p| p.at(at))?;
            let text = line.text;
            match (instruction, file.stages.last_mut()) {
                (Instruction::From(from), _) => {
                    if let Some(name) = &from.name
                        && file
                            .stages
                            .iter()
                            .any(|s| s.from.name.as_ref() == Some(name))
                    {
                        return Err(Problem::StageTwice(name.clone()).at(at));
                    }
                    file.stages.push(Stage {
                        line: at,
                        text,
                        from,
                        steps: Vec::new(),
                    });
                }
                (instruction, Some(stage)) => stage.steps.push(Step {
                    line: at,
                    text,
                    instruction,
                }),
                (instruction @ Instruction::Arg(_), None) => file.globals.push(Step {
                    line: at,
                    text,
                    instruction,
                }),
                (other, None) => return Err(Problem::BeforeFrom(other.word()).at(at)),
            }
        }
        match file.stages.is_empty() {
            true => Err(Problem::NoFrom.at(1)),
            false => Ok(file),
        }
    }

    /// The stage that the user means: by name or number, else the last.
    pub fn target(&self, name: Option<&str>) -> Result<usize, Error> {
        let Some(name) = name else {
            return Ok(self.stages.len() - 1);
        };
        self.stage(name, self.stages.len()).ok_or_else(|| {
            let have = self.stages.iter().filter_map(|s| s.from.name.clone());
            Problem::NoStage {
                name: name.to_owned(),
                have: have.collect(),
            }
            .at(1)
        })
    }

    /// What `name` (expanded) is after `FROM` in this stage.
    pub fn base(&self, stage: usize, name: &str) -> Base {
        if name.eq_ignore_ascii_case("scratch") {
            return Base::Scratch;
        }
        let lower = name.to_ascii_lowercase();
        let before = self.stages[..stage].iter();
        match before
            .clone()
            .position(|s| s.from.name.as_ref() == Some(&lower))
        {
            Some(found) => Base::Stage(found),
            None => Base::Image(name.to_owned()),
        }
    }

    /// What `name` (expanded) is after `--from=` in this stage.
    pub fn source(&self, stage: usize, name: &str) -> Result<Base, Problem> {
        match self.stage(name, self.stages.len()) {
            Some(found) if found < stage => Ok(Base::Stage(found)),
            Some(_) => Err(Problem::Later(name.to_owned())),
            // A number is no image.
            None if name.parse::<usize>().is_ok() => Err(Problem::NoStage {
                name: name.to_owned(),
                have: Vec::new(),
            }),
            None => Ok(Base::Image(name.to_owned())),
        }
    }

    fn stage(&self, name: &str, end: usize) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let named = self.stages[..end].iter();
        let named = named
            .clone()
            .position(|s| s.from.name.as_ref() == Some(&lower));
        named.or_else(|| name.parse().ok().filter(|n| *n < end))
    }

    /// The stages that `target` needs, itself the last, in an order in which each finds what it needs. `expand`
    /// knows the values of names in a stage's `FROM` and `--from`.
    pub fn needed(
        &self,
        target: usize,
        expand: &dyn Fn(&str) -> Result<String, Problem>,
    ) -> Result<Vec<usize>, Error> {
        let mut needed = BTreeSet::from([target]);
        // A stage needs only those before it.
        for stage in (0..=target).rev() {
            if !needed.contains(&stage) {
                continue;
            }
            let this = &self.stages[stage];
            let from = expand(&this.from.image).map_err(|p| p.at(this.line))?;
            if let Base::Stage(base) = self.base(stage, &from) {
                needed.insert(base);
            }
            for step in &this.steps {
                let Instruction::Copy(copy) = &step.instruction else {
                    continue;
                };
                let Some(from) = &copy.from else {
                    continue;
                };
                let source = expand(from).and_then(|from| self.source(stage, &from));
                if let Base::Stage(source) = source.map_err(|p| p.at(step.line))? {
                    needed.insert(source);
                }
            }
        }
        Ok(needed.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "ARG V=1\nFROM a:$V AS one\nRUN x\nFROM scratch AS two\nCOPY --from=one /x /\nFROM b AS three\nRUN y\n\
        FROM two\nCOPY --from=0 /y /\nCOPY --from=img /z /\n";

    fn needed(file: &Containerfile, target: Option<&str>) -> Vec<usize> {
        let target = file.target(target).unwrap();
        file.needed(target, &|s| Ok(s.to_owned())).unwrap()
    }

    #[test]
    fn only_what_the_target_needs() {
        let file = Containerfile::parse(FILE).unwrap();
        assert_eq!((file.globals.len(), file.stages.len()), (1, 4));
        assert_eq!(file.stages[3].line, 8);
        assert_eq!(needed(&file, None), [0, 1, 3]);
        assert_eq!(needed(&file, Some("THREE")), [2]);
        assert_eq!(needed(&file, Some("1")), [0, 1]);
        assert!(file.target(Some("four")).is_err() && file.target(Some("9")).is_err());
        assert_eq!(file.base(3, "two"), Base::Stage(1));
        // A stage of the same name as an image, used before it is there.
        assert_eq!(file.base(1, "two"), Base::Image("two".to_owned()));
        assert_eq!(file.base(1, "scratch"), Base::Scratch);
    }

    #[test]
    fn what_is_no_file() {
        for (text, line) in [
            ("", 1),
            ("# x\nRUN a", 2),
            ("ARG a\n", 1),
            ("FROM a\nFROM b AS x\nFROM c AS X\n", 3),
            ("FROM a\n\nRNU a\n", 3),
        ] {
            assert_eq!(
                Containerfile::parse(text).unwrap_err().line,
                line,
                "{text:?}"
            );
        }
        for (text, line) in [
            ("FROM a AS x\nCOPY --from=x a b", 2),
            ("FROM a AS x\nCOPY --from=y a b\nFROM b AS y", 2),
            ("FROM a\nCOPY --from=5 a b", 2),
        ] {
            let file = Containerfile::parse(text).unwrap();
            let error = file.needed(0, &|s| Ok(s.to_owned())).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
        }
        let hint = Containerfile::parse("FORM a").unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("did you mean FROM?"));
        let many = "FROM a\n".to_owned() + &"RUN x\n".repeat(STEPS_MAX);
        assert!(Containerfile::parse(&many).is_err());
    }
}
