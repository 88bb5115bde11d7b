//! `.dockerignore`: which files of a context are none of the build. moby/patternmatcher, whose rules docker,
//! buildah and podman share.

use super::{Glob, IGNORE_MAX, Problem};

/// The patterns of an ignore file, the last one that matches deciding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `!`: what it matches is part of the build after all.
    keep: bool,
    glob: Glob,
}

impl Ignore {
    /// The file.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // A comment is one only at the beginning of its line.
        Self::of(text.lines().filter(|l| !l.starts_with('#')))
    }

    /// Patterns from elsewhere: `--exclude`.
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<Self, Problem> {
        let mut rules = Vec::new();
        let mut bytes = 0;
        for line in lines {
            bytes += line.len() + 1;
            if bytes > IGNORE_MAX {
                return Err(Problem::Limit {
                    what: "bytes of ignore patterns",
                    max: IGNORE_MAX,
                });
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                match keep {
                    true => return Err(Problem::Pattern(line.to_owned())),
                    // The root: nothing is matched by it.
                    false => continue,
                }
            }
            let glob = Glob::deep(&pattern)?;
            rules.push(Rule { keep, glob });
        }
        Ok(Self { rules })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a file of the context (relative, no slash before it) is ignored: it, or a directory above it.
    pub fn ignores(&self, path: &[u8]) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            if rule.keep == ignored && rule.matches(path) {
                ignored = !rule.keep;
            }
        }
        ignored
    }

    /// Whether nothing below an ignored directory can be part of the build: nobody need look.
    pub fn is_final(&self) -> bool {
        !self.rules.iter().any(|r| r.keep)
    }
}

impl Rule {
    fn matches(&self, path: &[u8]) -> bool {
        let ends = (0..path.len()).filter(|i| path[*i] == b'/');
        ends.chain([path.len()])
            .any(|end| self.glob.matches(&path[..end]))
    }
}

/// Go's `filepath.Clean`, without a slash at the beginning.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of moby/patternmatcher's own table.
    #[test]
    fn as_docker_matches() {
        for (pattern, path, want) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (r"a\*b", "a*b", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc?def", "abcZdef", true),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            // What is below a directory that matches.
            ("dir", "dir/file", true),
            ("/dir/", "dir/a/b", true),
            ("d*", "dir/file", true),
            ("./a/../b", "b/c", true),
            ("*/f", "d/f/x", true),
        ] {
            let ignore = Ignore::parse(pattern).unwrap();
            assert_eq!(ignore.ignores(path.as_bytes()), want, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_pattern_decides() {
        for (text, ignored, kept) in [
            (
                "*.md\n!README.md",
                vec!["x.md"],
                vec!["README.md", "d/x.md"],
            ),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                vec!["README-secret.md"],
                vec!["README-a.md"],
            ),
            ("*\n!src", vec!["a", "b/src"], vec!["src", "src/a/b"]),
            ("# no\n\n  a  \n #b\n", vec!["a", "#b"], vec!["b", "no"]),
            ("a/b\n!a", vec![], vec!["a/b", "a"]),
            (".\n/\n", vec![], vec!["a"]),
        ] {
            let ignore = Ignore::parse(text).unwrap();
            for path in ignored {
                assert!(ignore.ignores(path.as_bytes()), "{text:?} {path}");
            }
            for path in kept {
                assert!(!ignore.ignores(path.as_bytes()), "{text:?} {path}");
            }
        }
        assert!(Ignore::parse("!").is_err() && Ignore::parse("a\n[").is_err());
        assert!(
            Ignore::parse("a").unwrap().is_final() && !Ignore::parse("a\n!b").unwrap().is_final()
        );
        assert!(Ignore::parse(&"a\n".repeat(IGNORE_MAX)).is_err());
    }
}
