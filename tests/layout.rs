//! Holds the house: which layer may know which, and what no source file may contain.
//!
//! Reads the sources as text, comments and string literals blanked out, so that a word in prose
//! breaks no rule. Depends on the standard library only.

#[path = "layout/source.rs"]
mod source;

use source::Source;

/// `crate::` modules that a file may use at all, by path.
const MAY_USE: &[(&str, &[&str])] = &[
    ("src/message.rs", &[]),
    ("src/machine", &[]),
    ("src/eval", &["message"]),
    ("src/feedback.rs", &["message"]),
    ("src/feedback", &["message"]),
    ("src/route.rs", &["message"]),
    ("src/route", &["message"]),
    ("src/record", &["message"]),
    ("src/kpi.rs", &["message"]),
    ("src/kpi", &["message"]),
    ("src/report.rs", &["kpi", "message"]),
    ("src/report", &["kpi", "message"]),
];

/// `crate::` modules that files under a path must not use.
const MUST_NOT_USE: &[(&str, &[&str])] = &[
    ("src/batch", &["rpc", "cli", "train"]),
    ("src/model", &["rpc", "cli", "train"]),
    ("src/pipeline.rs", &["rpc", "cli", "train"]),
    ("src/pipeline", &["rpc", "cli", "train"]),
    ("src/rpc", &["cli", "train"]),
    ("src/train", &["rpc", "cli"]),
];

/// `crate::` modules that only files under these paths may use.
const USED_BY: &[(&str, &[&str])] =
    &[("rpc", &["src/rpc", "src/cli/serve.rs", "src/cli/reload.rs"])];

/// Words in `src/` that only files under these paths may contain, and what to do instead.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("tonic", &["src/rpc"], "only rpc knows gRPC; put it there, behind a domain type"),
    ("prost", &["src/rpc"], "only rpc knows protobuf; convert to a domain type there"),
    ("pb::", &["src/rpc"], "generated types do not leave rpc; convert to a domain type there"),
    (
        "candle",
        &["src/model", "src/train", "src/cli/import"],
        "candle is for the model and training; hand over plain numbers",
    ),
];

/// Where one request's failure must be that request's, nothing may end the thread.
const NO_PANIC_IN: &[&str] = &["src/rpc", "src/pipeline.rs", "src/pipeline", "src/batch"];
const PANICS: &[&str] = &["unwrap()", "panic!", "todo!", "unimplemented!", "dbg!"];

const MAX_LINES: usize = 400;

/// What is wrong with one file, each as a sentence that says what to do.
fn complaints(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |line: usize, what: String| found.push(format!("{}:{line}: {what}", file.path));
    if !file.text.starts_with("//!") {
        say(1, "begin the file with a `//!` line: what it is for, what it may depend on".into());
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        say(lines, format!("{lines} lines; split the file by subject, {MAX_LINES} is the limit"));
    }
    if ["src/lib.rs", "src/main.rs"].contains(&file.path.as_str())
        && !["deny", "forbid"].iter().any(|l| file.code.contains(&format!("#![{l}(unsafe_code)]")))
    {
        say(1, "put `#![deny(unsafe_code)]` at the crate root".into());
    }
    let machine = file.is_under("src/machine");
    for (line, _) in file.all("unsafe") {
        if !machine {
            say(line, "`unsafe` only in src/machine; use a library that proves its own".into());
        } else if !file.explained(line, &["// SAFETY:", "/// # Safety"]) {
            say(line, "say why: `// SAFETY: …` or `/// # Safety` right above".into());
        }
    }
    if !file.path.starts_with("src/") {
        return found;
    }
    for (line, module) in file.crate_uses() {
        if let Some((_, allowed)) = MAY_USE.iter().find(|(path, _)| file.is_under(path))
            && !allowed.contains(&module.as_str())
            && !file.is_own_module(&module)
        {
            say(line, format!("uses `crate::{module}`; it may use {allowed:?} only"));
        }
        for (_, banned) in MUST_NOT_USE.iter().filter(|(path, _)| file.is_under(path)) {
            if banned.contains(&module.as_str()) {
                say(line, format!("uses `crate::{module}`; that layer stands above this one"));
            }
        }
        for (_, users) in USED_BY.iter().filter(|(name, _)| *name == module) {
            if !users.iter().any(|path| file.is_under(path)) {
                say(line, format!("uses `crate::{module}`; only {users:?} may"));
            }
        }
    }
    for (word, places, instead) in ONLY_IN {
        if !places.iter().any(|path| file.is_under(path)) {
            for (line, _) in file.outside_tests(word) {
                say(line, format!("mentions `{word}`: {instead}"));
            }
        }
    }
    if NO_PANIC_IN.iter().any(|path| file.is_under(path)) {
        for what in PANICS {
            for (line, _) in file.outside_tests(what) {
                say(line, format!("`{what}` ends more than one request; return an error"));
            }
        }
    }
    found
}

#[test]
fn the_house_is_in_order() {
    let files = source::all();
    for path in ["src/lib.rs", "src/message.rs", "src/record/lines.rs", "tests/layout.rs"] {
        assert!(files.iter().any(|file| file.path == path), "{path} was not found to look at");
    }
    let found: Vec<_> = files.iter().flat_map(complaints).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_rule_bites() {
    let long = "//! x\n".repeat(MAX_LINES + 1);
    for (path, text, complaint) in [
        ("src/x.rs", "use std::fmt;", "begin the file"),
        ("tests/x.rs", "#[test]\nfn x() {}", "begin the file"),
        ("build.rs", "fn main() {}", "begin the file"),
        ("src/x.rs", long.as_str(), "split the file"),
        ("src/lib.rs", "//! x\n#![warn(unsafe_code)]", "deny(unsafe_code)"),
        ("tests/x.rs", "//! x\nfn x() { unsafe { y() } }", "`unsafe` only in src/machine"),
        ("src/model/x.rs", "//! x\nunsafe fn x() {}", "`unsafe` only in src/machine"),
        ("src/machine/x.rs", "//! x\nfn x() {\n    let a = 1;\n    unsafe { y() } }", "say why"),
        ("src/message.rs", "//! x\nuse crate::eval::Report;", "may use [] only"),
        ("src/eval/slices.rs", "//! x\nfn f(r: crate::record::Records) {}", "uses `crate::record`"),
        ("src/record.rs", "//! x\nuse crate::{message, pipeline};", "uses `crate::pipeline`"),
        ("src/record.rs", "//! x\nuse crate::{\n    message::{A, B},\n    rpc,\n};", "crate::rpc"),
        ("src/batch/plan.rs", "//! x\npub(crate) use crate::cli::run;", "stands above"),
        ("src/train.rs", "//! x\nuse crate::rpc::server;", "stands above"),
        ("src/pipeline.rs", "//! x\nfn f() -> tonic::Status {}", "mentions `tonic`"),
        ("src/cli/eval.rs", "//! x\nuse prost::Message;", "mentions `prost`"),
        ("src/cli/serve.rs", "//! x\nfn f(x: pb::Reply) {}", "mentions `pb::`"),
        ("src/cli/eval.rs", "//! x\nuse crate::rpc;", "only [\"src/rpc\""),
        ("src/eval.rs", "//! x\nuse candle_core::Tensor;", "mentions `candle`"),
        ("src/batch/queue.rs", "//! x\nfn f() { x.unwrap() }", "`unwrap()`"),
        ("src/rpc/mod.rs", "//! x\nfn f() { todo!() }", "`todo!`"),
        ("src/pipeline.rs", "//! x\n#[cfg(test)]\nmod t { }\nfn f() { panic!() }", "`panic!`"),
    ] {
        let found = complaints(&Source::new(path, text));
        assert!(found.iter().any(|what| what.contains(complaint)), "{path}: {text}\n{found:?}");
    }
}

#[test]
fn no_rule_bites_what_is_allowed() {
    for (path, text) in [
        ("src/lib.rs", "//! x\n#![deny(unsafe_code)]\npub mod rpc;"),
        (
            "src/machine/x.rs",
            "//! x\n// SAFETY: it is.\nunsafe { y() }\n/// # Safety\n/// z\nunsafe fn z() {}",
        ),
        ("src/message.rs", "//! May not use crate::eval; no unsafe, no tonic.\n"),
        ("src/record.rs", "//! x\nuse crate::message::{self, Intent};\nuse crate::record::A;"),
        ("src/rpc/convert.rs", "//! x\nfn f(x: pb::Reply) -> tonic::Status {}"),
        ("src/cli/serve.rs", "//! x\nuse crate::rpc::server;"),
        ("src/cli/import.rs", "//! x\nuse candle_core::Tensor;"),
        ("src/batch/plan.rs", "//! x\n#[cfg(test)]\nmod tests {\n fn f() { x.unwrap() }\n}"),
        ("src/batch/plan.rs", "//! x\nfn f() { x.unwrap_or(\"panic!\"); /* todo! */ }"),
        ("src/eval.rs", "//! x\nfn f(pb: u8, tonics: u8) -> char { '\"' } // unsafe"),
        ("tests/service.rs", "//! x\nuse tonic::Request;\nfn f() { x.unwrap() }"),
    ] {
        assert_eq!(complaints(&Source::new(path, text)), [""; 0], "{path}: {text}");
    }
}
