//! Lines of bounded length out of any reader, counted, with a way back.
//!
//! Depends on the standard library only.

use std::io::{self, BufRead, ErrorKind};

/// Longest line, in bytes. The longest valid message and context, every character written as a
/// JSON escape (six bytes for one), take 384 KiB.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was appended, its line end included.
    Line,
    /// It is longer than [`MAX_LINE_BYTES`]; it was skipped.
    TooLong,
    /// There are no more.
    End,
}

pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    /// Bytes given back, to be read again before the reader's.
    again: Vec<u8>,
    at: usize,
    /// Number of the line read last, from 1; 0 before the first.
    line: u64,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Lines { reader, again: Vec::new(), at: 0, line: 0 }
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Appends the next line to `frame`.
    pub(super) fn read_into(&mut self, frame: &mut Vec<u8>) -> io::Result<Step> {
        let start = frame.len();
        let (mut any, mut too_long) = (false, false);
        loop {
            let from_again = self.at < self.again.len();
            let available = if from_again {
                &self.again[self.at..]
            } else {
                match self.reader.fill_buf() {
                    Ok(bytes) => bytes,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            };
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|b| *b == b'\n');
            let take = end.map_or(available.len(), |at| at + 1);
            too_long |= frame.len() - start + take > MAX_LINE_BYTES;
            if too_long {
                frame.truncate(start);
            } else {
                frame.extend_from_slice(&available[..take]);
            }
            any = true;
            if from_again {
                self.at += take;
            } else {
                self.reader.consume(take);
            }
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(Step::End);
        }
        self.line += 1;
        // Windows programs begin UTF-8 files with a byte order mark.
        if self.line == 1 && frame[start..].starts_with(b"\xEF\xBB\xBF") {
            frame.drain(start..start + 3);
        }
        Ok(if too_long { Step::TooLong } else { Step::Line })
    }

    /// Gives back `bytes`, read since line `line`, so that the line after it comes next.
    pub(super) fn go_back(&mut self, line: u64, bytes: &[u8]) {
        self.again.drain(..self.at);
        self.again.splice(..0, bytes.iter().copied());
        self.at = 0;
        self.line = line;
    }
}
