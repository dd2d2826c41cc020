//! Source files as `tests/layout.rs` looks at them. Depends on the standard library only.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// From the root of the package, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and the insides of literals turned into spaces, line by line.
    pub code: String,
    /// `code` with `#[cfg(test)]` items turned into spaces too.
    outside_tests: String,
}

/// Every source file of the package.
pub fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("build.rs")];
    for directory in ["src", "tests", "benches"] {
        collect(&root.join(directory), &mut paths);
    }
    paths.retain(|path| path.is_file());
    let mut files: Vec<_> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
            let path = path.strip_prefix(root).expect("it was found under the root");
            let path = path.to_string_lossy().replace('\\', "/");
            Source::new(&path, &text)
        })
        .collect();
    // A file that is only there as `#[cfg(test)] mod name;` is test code from end to end.
    let tests: Vec<_> = files.iter().flat_map(Source::test_files).collect();
    for file in files.iter_mut().filter(|file| tests.contains(&file.path)) {
        file.outside_tests = blank(&file.code, 0..file.code.len());
    }
    files
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("an entry can be read").path()) {
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = code_of(text);
        let outside_tests = without_tests(&code);
        Source { path: path.into(), text: text.into(), code, outside_tests }
    }

    /// Whether it is the file `path`, or in the module or directory of that name.
    pub fn is_under(&self, path: &str) -> bool {
        let rest = self.path.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    }

    /// Whether `module` is the top-level module that the file is part of.
    pub fn is_own_module(&self, module: &str) -> bool {
        self.is_under(&format!("src/{module}"))
    }

    /// Line of each occurrence as a whole word, and what follows it there.
    pub fn all(&self, word: &str) -> Vec<(usize, String)> {
        find(&self.code, word)
    }

    /// Whether the comment right above `line` (from 1 on) has one of `marks`.
    pub fn explained(&self, line: usize, marks: &[&str]) -> bool {
        let above: Vec<&str> = self.text.lines().take(line - 1).map(str::trim).collect();
        let comment = |text: &&&str| text.starts_with("//") || text.starts_with("#[");
        let mut above = above.iter().rev().take_while(comment);
        above.any(|text| marks.iter().any(|mark| text.starts_with(mark)))
    }

    /// The same, `#[cfg(test)]` items left out.
    pub fn outside_tests(&self, word: &str) -> Vec<(usize, String)> {
        find(&self.outside_tests, word)
    }

    /// Line and top-level module of every `crate::` path outside tests, groups opened up.
    pub fn crate_uses(&self) -> Vec<(usize, String)> {
        let mut uses = Vec::new();
        for (at, _) in self.outside_tests.match_indices("crate::") {
            let line = line_of(&self.outside_tests, at);
            let rest = self.outside_tests[at + "crate::".len()..].trim_start();
            let Some(group) = rest.strip_prefix('{') else {
                uses.push((line, identifier(rest)));
                continue;
            };
            let (mut depth, mut expecting) = (1, true);
            for (at, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => expecting = true,
                    c if expecting && is_word(c) => {
                        uses.push((line, identifier(&group[at..])));
                        expecting = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        uses
    }

    /// Files that `#[cfg(test)] mod name;` in this one may mean.
    fn test_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for (at, attribute) in self.code.match_indices("#[cfg(test)]") {
            let item = self.code[at + attribute.len()..].trim_start();
            let Some(name) = item.strip_prefix("mod ").map(identifier) else { continue };
            let (directory, stem) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
            let stem = stem.trim_end_matches(".rs");
            let home = match stem {
                "mod" | "lib" | "main" => directory.to_owned(),
                stem => format!("{directory}/{stem}"),
            };
            files.push(format!("{home}/{name}.rs"));
            files.push(format!("{home}/{name}/mod.rs"));
        }
        files
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Finds whole words. Crates of one family share a prefix, so `tonic_health` is `tonic` too.
fn find(code: &str, word: &str) -> Vec<(usize, String)> {
    let ends = |after: &str| {
        let family = ["tonic", "prost", "candle"].contains(&word) && after.starts_with('_');
        family || !word.ends_with(is_word) || !after.starts_with(is_word)
    };
    code.match_indices(word)
        .filter(|(at, _)| !code[..*at].ends_with(is_word) && ends(&code[at + word.len()..]))
        .map(|(at, _)| {
            let after = code[at + word.len()..].lines().next().unwrap_or_default();
            (line_of(code, at), after.to_owned())
        })
        .collect()
}

fn blank(text: &str, range: std::ops::Range<usize>) -> String {
    let spaces: String =
        text[range.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    format!("{}{spaces}{}", &text[..range.start], &text[range.end..])
}

/// Turns each `#[cfg(test)]` item, up to its closing brace or semicolon, into spaces.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(start) = code.find("#[cfg(test)]") {
        let mut depth = 0;
        let end = code[start..].char_indices().skip("#[cfg(test)]".len()).find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(c, '}' | ';')
        });
        let end = end.map_or(code.len(), |(at, _)| start + at + 1);
        code = blank(&code, start..end);
    }
    code
}

/// Blanks out comments and the insides of string and character literals.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len()).find(|j| at(*j) == '\n').unwrap_or(chars.len()),
            ('/', '*') => block_end(&chars, i),
            ('"', _) => string_end(&chars, i),
            ('r', '"' | '#') if i == 0 || !is_word(at(i - 1)) || at(i - 1) == 'b' => {
                raw_end(&chars, i).unwrap_or(i)
            }
            ('\'', '\\') => {
                (i + 3..chars.len()).find(|j| at(*j) == '\'').map_or(chars.len(), |j| j + 1)
            }
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            code.push(at(i));
            i += 1;
        }
        while i < end {
            code.push(if at(i) == '\n' { '\n' } else { ' ' });
            i += 1;
        }
    }
    code
}

fn block_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// End of a raw string that begins with the `r` at `start`; `None` if none does.
fn raw_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}
