//! A file that lines are appended to, and that gives way to a new one when it is full. May depend on the standard library.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that are looked at together for the end of the last line.
const BLOCK: u64 = 64 << 10;

/// The file now, and where the full ones go: `NAME_SECONDS-COUNT.jsonl` beside it.
pub(super) struct Appended {
    folder: PathBuf,
    name: &'static str,
    most: u64,
    file: File,
    length: u64,
}

impl Appended {
    pub(super) fn open(folder: &Path, name: &'static str, most: u64) -> io::Result<Self> {
        let path = folder.join(format!("{name}.jsonl"));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = whole_lines(&mut file)?;
        file.set_len(length)?;
        file.sync_all()?;
        sync_folder(folder)?;
        Ok(Appended { folder: folder.to_owned(), name, most, file, length })
    }

    /// Lines, on the disk when this is done; none of them where it fails.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.length > 0 && self.length + more > self.most {
            self.change()?;
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(lines))
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += more,
            // What is half there was not acknowledged.
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }

    fn change(&mut self) -> io::Result<()> {
        let own = self.folder.join(format!("{}.jsonl", self.name));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let full = (0u32..)
            .map(|count| self.folder.join(format!("{}_{since}-{count:04}.jsonl", self.name)))
            .find(|path| !path.exists())
            .unwrap_or_else(|| own.with_extension("full"));
        // It is not there where the last change was broken off in between.
        if own.exists() {
            std::fs::rename(&own, full)?;
        }
        self.file = OpenOptions::new().read(true).write(true).create_new(true).open(own)?;
        self.length = 0;
        sync_folder(&self.folder)
    }
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Makes names in a folder last.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
