//! The measured part of a model card: which files the model is made of, and what `eval` says of it.
//!
//! Written between two marks, so that what people write around it stays. May depend on `model::bundle`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::FileReport;
use crate::message::ModelId;
use crate::model::bundle::Manifest;

const BEGIN: &str = "<!-- measured: begin (written by `klankbord eval --card`) -->";
const END: &str = "<!-- measured: end -->";

/// Puts what was measured into the card at `path`, in place of what was measured before; at its end, where there
/// was nothing.
///
/// # Errors
/// Where the card cannot be read or written, or has one of the marks only.
pub(super) fn write(
    path: &Path,
    (manifest, id): &(Manifest, ModelId),
    arithmetic: &str,
    reports: &[FileReport],
) -> io::Result<()> {
    let before = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let measured = measured(manifest, id, arithmetic, reports);
    fs::write(path, put(&before, &measured)?)
}

/// `card` with its measured part replaced.
fn put(card: &str, measured: &str) -> io::Result<String> {
    match (card.find(BEGIN), card.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            Ok(format!("{}{measured}{}", &card[..begin], &card[end + END.len()..]))
        }
        (None, None) => {
            let gap = if card.is_empty() { "" } else { "\n" };
            Ok(format!("{card}{gap}{measured}\n"))
        }
        _ => Err(io::Error::other("the marks of the measured part are not a pair")),
    }
}

fn measured(manifest: &Manifest, id: &ModelId, arithmetic: &str, reports: &[FileReport]) -> String {
    let mut text = format!("{BEGIN}\n\n");
    let Manifest { name, version, .. } = manifest;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "Model `{name}` {version}, run in {arithmetic}; SHA-256 of its manifest and files:\n"
    );
    let _ = writeln!(text, "```\nmanifest.json      {}", id.digest);
    for (file, digest) in &manifest.files {
        let _ = writeln!(text, "{file:<18} {}", digest.sha256);
    }
    text.push_str("```\n");
    for report in reports {
        let name = Path::new(&report.file).file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        let shown = report.to_string();
        // Where the file lies is of no interest to a card.
        let shown = shown.strip_prefix(&report.file).unwrap_or(&shown);
        let _ = write!(text, "\n```\n$ klankbord eval {name}\n{name}{shown}```\n");
    }
    text.push('\n');
    text.push_str(END);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_around_it_stays() {
        let first = put("# Card\n", &format!("{BEGIN}\none\n{END}")).unwrap();
        assert_eq!(first, format!("# Card\n\n{BEGIN}\none\n{END}\n"));
        let more = format!("{first}\n## Limits\n");
        let second = put(&more, &format!("{BEGIN}\ntwo\n{END}")).unwrap();
        assert_eq!(second, more.replace("one", "two"));
        assert!(put(&format!("{END} {BEGIN}"), "x").is_err());
        assert!(put(BEGIN, "x").is_err());
    }
}
