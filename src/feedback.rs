//! Corrections of verdicts, kept so that nothing that was acknowledged is lost: appended to JSON lines and on the disk
//! before the answer, several in one go; files are changed by size.
//!
//! What has a text is a record as `klankbord train` and `klankbord eval` read it; what has none is kept beside. May
//! depend on the domain.

mod file;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::message::{Channel, Intent, Language, Sentiment};
use file::Appended;

/// Corrections that wait to be written.
const WAITING: usize = 1024;
/// Most that go to the disk together.
const TOGETHER: usize = 256;
/// Files of corrections with a text, and of those without.
const WITH_TEXT: &str = "corrections";
const WITHOUT_TEXT: &str = "corrections-without-text";

/// A correction: what is right about a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correction {
    /// The caller's id of the message; may be empty where there is a text.
    pub id: String,
    pub text: Option<String>,
    pub channel: Option<Channel>,
    pub language: Option<Language>,
    /// The full set, where it is known.
    pub intents: Option<Vec<Intent>>,
    pub sentiment: Option<Sentiment>,
    pub urgent: Option<bool>,
    /// Who says so.
    pub who: String,
    /// When, in RFC 3339.
    pub at: String,
    /// Version and digest of the model that was wrong, where told.
    pub model: Option<(String, String)>,
}

/// Why a correction is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// The disk refuses.
    #[error("the correction cannot be written")]
    Disk,
    /// Too many wait.
    #[error("too many corrections wait to be written; try again")]
    Busy,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intents: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiment: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    urgent: Option<bool>,
    origin: &'static str,
    who: &'a str,
    at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
}

impl Correction {
    /// One line of JSON, its end included.
    fn line(&self) -> Result<String, serde_json::Error> {
        let known = |language: &Language| matches!(language, Language::Dutch | Language::English);
        let line = Line {
            id: &self.id,
            text: self.text.as_deref(),
            lang: self.language.filter(known).map(Language::tag),
            channel: self.channel.map(Channel::name),
            intents: self.intents.as_ref().map(|all| all.iter().map(|i| i.name()).collect()),
            sentiment: self.sentiment.map(Sentiment::name),
            urgent: self.urgent,
            origin: "correction",
            who: &self.who,
            at: &self.at,
            model: self.model.as_ref().map(|(version, _)| version.as_str()),
            digest: self.model.as_ref().map(|(_, digest)| digest.as_str()),
        };
        serde_json::to_string(&line).map(|line| line + "\n")
    }
}

struct Waiting {
    line: String,
    has_text: bool,
    kept: oneshot::Sender<Result<(), FeedbackError>>,
}

/// Keeps corrections in a folder. Dropping it writes what waits.
#[derive(Debug)]
pub struct Store {
    send: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Keeps them in `folder`, which must exist, in files of about `most` bytes. A last line that was not finished when
    /// a process was killed, and so was never acknowledged, is taken off.
    ///
    /// # Errors
    /// Where the folder cannot be written to.
    pub fn open(folder: &Path, most: u64) -> std::io::Result<Self> {
        let files = [WITH_TEXT, WITHOUT_TEXT].map(|name| Appended::open(folder, name, most));
        let [with_text, without] = files;
        let files = [with_text?, without?];
        let (send, receive) = sync_channel(WAITING);
        let thread =
            Builder::new().name("feedback".into()).spawn(move || write(files, &receive))?;
        Ok(Store { send: Some(send), thread: Some(thread) })
    }

    /// Keeps a correction; it is on the disk when this is done.
    ///
    /// # Errors
    /// [`FeedbackError`]; it is not kept then.
    pub async fn keep(&self, correction: &Correction) -> Result<(), FeedbackError> {
        let line = correction.line().map_err(|_| FeedbackError::Disk)?;
        let (kept, answer) = oneshot::channel();
        let waiting = Waiting { line, has_text: correction.text.is_some(), kept };
        let send = self.send.as_ref().ok_or(FeedbackError::Disk)?;
        send.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => FeedbackError::Busy,
            TrySendError::Disconnected(_) => FeedbackError::Disk,
        })?;
        answer.await.unwrap_or(Err(FeedbackError::Disk))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.send = None;
        if let Some(thread) = self.thread.take() {
            // It writes what waits, and ends.
            let _ = thread.join();
        }
    }
}

fn write([mut with_text, mut without]: [Appended; 2], receive: &Receiver<Waiting>) {
    while let Ok(first) = receive.recv() {
        let all = std::iter::once(first).chain(receive.try_iter().take(TOGETHER - 1));
        let (texts, others): (Vec<_>, Vec<_>) = all.partition(|waiting| waiting.has_text);
        for (file, all) in [(&mut with_text, texts), (&mut without, others)] {
            if all.is_empty() {
                continue;
            }
            let lines: String = all.iter().map(|waiting| waiting.line.as_str()).collect();
            let written = file.append(lines.as_bytes());
            if let Err(error) = &written {
                tracing::error!(%error, "corrections cannot be written");
            }
            for Waiting { kept, .. } in all {
                let _ = kept.send(if written.is_ok() { Ok(()) } else { Err(FeedbackError::Disk) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn correction(id: usize, text: Option<&str>) -> Correction {
        Correction {
            id: id.to_string(),
            text: text.map(str::to_owned),
            intents: Some(vec![Intent::Question, Intent::FactualError]),
            sentiment: Some(Sentiment::Neutral),
            who: "an".into(),
            at: "2026-11-22T12:00:00Z".into(),
            ..Correction::default()
        }
    }

    fn lines(folder: &Path, name: &str) -> Vec<serde_json::Value> {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let own = |path: &&PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '_']))
        };
        let text: String =
            files.iter().filter(own).map(|path| std::fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_there_in_files_of_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 2_000).unwrap();
        for id in 0..60 {
            let text = (id % 3 > 0).then_some("tekst\nmet \"alles\"");
            store.keep(&correction(id, text)).await.unwrap();
        }
        let [with_text, without] = [WITH_TEXT, WITHOUT_TEXT].map(|name| lines(folder.path(), name));
        assert_eq!((with_text.len(), without.len()), (40, 20));
        let ids = |lines: &[serde_json::Value]| -> Vec<usize> {
            let mut ids: Vec<_> =
                lines.iter().map(|line| line["id"].as_str().unwrap().parse().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&with_text), (0..60).filter(|id| id % 3 > 0).collect::<Vec<_>>());
        assert_eq!(with_text[0]["intents"][1], "factual_error");
        let sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert!(sizes.len() > 4 && sizes.iter().all(|&size| size <= 2_000), "{sizes:?}");
    }

    #[tokio::test]
    async fn half_a_line_is_taken_off_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let keep = async |id| {
            let store = Store::open(folder.path(), 1 << 20).unwrap();
            store.keep(&correction(id, Some("x"))).await.unwrap();
        };
        keep(0).await;
        keep(1).await;
        let path = folder.path().join("corrections.jsonl");
        let whole = std::fs::read(&path).unwrap();
        for cut in [1, 7, 50] {
            let torn = [&whole[..], &whole[..cut]].concat();
            std::fs::write(&path, torn).unwrap();
            drop(Store::open(folder.path(), 1 << 20).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        keep(2).await;
        assert_eq!(lines(folder.path(), WITH_TEXT).len(), 3);
    }

    #[tokio::test]
    async fn many_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 1 << 20).unwrap();
        let corrections: Vec<_> = (0..500).map(|id| correction(id, Some("x"))).collect();
        let kept = futures::future::join_all(corrections.iter().map(|c| store.keep(c))).await;
        let count = kept.iter().filter(|kept| kept.is_ok()).count();
        assert_eq!(lines(folder.path(), WITH_TEXT).len(), count);
        assert_eq!(count, 500);
    }
}
