//! Where values come from: file, environment, command line; later ones win. Every fault of a file is found.
//!
//! May depend on: `config::settings`, `toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::settings::{Kind, SETTINGS, Setting};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere.
    Default,
    /// In a file, on a line counted from 1.
    File { path: PathBuf, line: usize },
    /// In an environment variable.
    Environment(String),
    /// On the command line, by this flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Source::Environment(name) => f.write_str(name),
            Source::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was given; nothing where it is about several settings.
    pub source: Option<Source>,
    /// What is wrong, beginning with the setting's key.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} in the configuration{}", problems(.0.len()), listed(.0))]
pub struct Problems(pub Vec<Problem>);

fn problems(count: usize) -> String {
    if count == 1 { "a problem".into() } else { format!("{count} problems") }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// A value as it was written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    pub source: Source,
}

/// What was given for each setting, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// Gives a value, in place of an earlier one.
    pub fn set(&mut self, setting: &'static Setting, text: String, source: Source) {
        self.0.insert(setting.key, Value { text, source });
    }

    /// What was given, or the default.
    pub fn get(&self, setting: &Setting) -> Value {
        self.0
            .get(setting.key)
            .cloned()
            .unwrap_or_else(|| Value { text: setting.default.to_owned(), source: Source::Default })
    }

    /// Takes the values of a TOML file, whose relative paths start at its own folder.
    ///
    /// Returns what is wrong with it; what is right is taken all the same, so that all that is wrong can be
    /// said at once.
    pub fn read(&mut self, path: &Path) -> Vec<Problem> {
        let at = |line| Some(Source::File { path: path.to_owned(), line });
        match std::fs::read_to_string(path) {
            Ok(text) => self.parse(&text, path),
            Err(error) => vec![Problem { source: at(1), what: format!("cannot be read: {error}") }],
        }
    }

    fn parse(&mut self, text: &str, path: &Path) -> Vec<Problem> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let source = |at: usize| Source::File { path: path.to_owned(), line: line(at) };
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut problems = Vec::new();
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let what = error.message().to_owned();
            problems.push(Problem { source: Some(source(at)), what });
        }
        let mut say = |at: usize, what: String| {
            problems.push(Problem { source: Some(source(at)), what });
        };
        for (section, value) in document.get_ref() {
            let (name, at) = (section.get_ref(), section.span().start);
            let known = SETTINGS.iter().any(|setting| setting.key.split('.').next() == Some(name));
            let DeValue::Table(table) = value.get_ref() else {
                say(at, format!("{name} is in no section"));
                continue;
            };
            if !known {
                say(at, format!("there is no section [{name}]"));
                continue;
            }
            for (key, value) in table {
                let key_of = format!("{name}.{}", key.get_ref());
                let Some(setting) = Setting::find(&key_of) else {
                    say(key.span().start, format!("there is no setting {key_of}"));
                    continue;
                };
                let written = match value.get_ref() {
                    DeValue::String(text) => self::resolved(setting, text, path),
                    DeValue::Integer(number) => number.to_string(),
                    DeValue::Float(number) => number.to_string(),
                    DeValue::Boolean(value) => value.to_string(),
                    other => {
                        let kind = other.type_str();
                        say(value.span().start, format!("{key_of} cannot be of type {kind}"));
                        continue;
                    }
                };
                self.set(setting, written, source(key.span().start));
            }
        }
        problems
    }
}

/// A path in a file is meant from where the file is.
fn resolved(setting: &Setting, text: &str, file: &Path) -> String {
    let is_path = matches!(setting.kind, Kind::File | Kind::Folder)
        || ["model.path", "kpi.history"].contains(&setting.key);
    let folder = file.parent().filter(|_| is_path && !text.is_empty());
    folder
        .map_or_else(|| text.to_owned(), |folder| folder.join(text).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> (Values, Vec<String>) {
        let mut values = Values::default();
        let problems = values.parse(text, Path::new("etc/k.toml"));
        (values, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_its_line() {
        let text = "loose = 1\n[limits]\nmax_calls = 5\nmax_cals = 6\nstream_window = [1]\n\n[limit]\nx = 1\n";
        let (values, problems) = parse(text);
        assert_eq!(
            problems,
            [
                "etc/k.toml, line 7: there is no section [limit]",
                "etc/k.toml, line 4: there is no setting limits.max_cals",
                "etc/k.toml, line 5: limits.stream_window cannot be of type array",
                "etc/k.toml, line 1: loose is in no section",
            ]
            .map(str::to_owned)
        );
        let calls = values.get(Setting::find("limits.max_calls").unwrap());
        assert_eq!(
            (calls.text.as_str(), calls.source.to_string().as_str()),
            ("5", "etc/k.toml, line 3")
        );
    }

    #[test]
    fn what_is_no_toml_is_said_and_the_rest_is_looked_at() {
        let (_, problems) = parse("[server]\nlisten = 127.0.0.1:5\n[nowhere]\nx = 1\n");
        assert!(problems.iter().any(|p| p.starts_with("etc/k.toml, line 2: ")), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("[nowhere]")), "{problems:?}");
    }

    #[test]
    fn paths_are_from_the_folder_of_the_file() {
        let (values, problems) = parse("[tls]\nkey = \"a.key\"\ncertificate = \"/etc/b.pem\"\n");
        assert!(problems.is_empty());
        let of = |key| values.get(Setting::find(key).unwrap()).text;
        assert_eq!(
            (of("tls.key"), of("tls.certificate")),
            ("etc/a.key".into(), "/etc/b.pem".into())
        );
    }

    proptest! {
        #[test]
        fn fuzz_a_file_of_settings(text in "\\PC{0,200}", cut in "[\\[\\]=\"'a-z._0-9\n#-]{0,200}") {
            parse(&text);
            parse(&cut);
        }
    }
}
