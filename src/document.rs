//! What in a text is the sender's own, and its sentences.
//!
//! An e-mail carries more than its sender wrote: the thread below it, a signature, small print. The
//! thread is often somebody else's, or the sender's own of last week: its complaint is not this
//! message's. Rules by the line find them; nothing is learnt, so that a client can be told what was
//! left out and why. Where a rule is in doubt the text is kept: reading a signature costs little,
//! not reading a question costs all. Pure; depends on nothing else in the crate.

mod lines;
#[cfg(test)]
mod tests;

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

/// Most lines with something on them that a signature has.
const SIGNATURE_LINES: usize = 16;

/// How much is left out of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveOut {
    /// Quotations only.
    Quotations,
    /// Quotations, signatures and small print.
    Signatures,
}

/// A text, divided. Ranges are of bytes, on boundaries of characters, and together they are the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// What the sender wrote; never empty or blank unless the text is.
    pub own: Vec<Range<usize>>,
    /// What is quoted, or signature.
    pub left_out: Vec<Range<usize>>,
}

impl Parts {
    /// Of `text`; a text that would be left without a word or sign is kept whole.
    pub fn of(text: &str, leave_out: LeaveOut) -> Self {
        let mut marked = mark(text);
        if leave_out == LeaveOut::Signatures && !keeps_something(text, &marked, Of::is_own) {
            return Self::of(text, LeaveOut::Quotations);
        }
        for (_, of) in &mut marked {
            if *of == Of::Signature && leave_out == LeaveOut::Quotations {
                *of = Of::Sender;
            }
        }
        if !keeps_something(text, &marked, Of::is_own) {
            marked.iter_mut().for_each(|(_, of)| *of = Of::Sender);
        }
        let mut parts = Parts { own: Vec::new(), left_out: Vec::new() };
        let mut before = None;
        for (range, of) in marked {
            let side = if of.is_own() { &mut parts.own } else { &mut parts.left_out };
            match side.last_mut().filter(|_| before == Some(of.is_own())) {
                Some(last) => last.end = range.end,
                None => side.push(range),
            }
            before = Some(of.is_own());
        }
        parts
    }

    /// The sender's own text by itself.
    pub fn own_text(&self, text: &str) -> String {
        self.own.iter().filter_map(|range| text.get(range.clone())).collect()
    }

    /// Sentences of the sender's own text, in order, white space behind them included; none is blank
    /// unless a whole part is. Line breaks end a sentence too: people leave out full stops there.
    pub fn sentences(&self, text: &str) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for part in &self.own {
            let first = found.len();
            let inside = text.get(part.clone()).unwrap_or_default();
            // What is blank so far at the start of the part goes with the first sentence.
            let mut from = part.start;
            for (at, sentence) in inside.split_sentence_bound_indices() {
                let end = part.start + at + sentence.len();
                if !sentence.trim().is_empty() {
                    found.push(from..end);
                    from = end;
                } else if found.len() > first {
                    found[first..].last_mut().into_iter().for_each(|last| last.end = end);
                    from = end;
                }
            }
            if from < part.end {
                found.push(from..part.end);
            }
        }
        found
    }
}

/// `range` without the white space at its ends.
pub fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inside = text.get(range.clone()).unwrap_or_default();
    let start = range.start + (inside.len() - inside.trim_start().len());
    start..start + inside.trim().len()
}

/// Whose a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Sender,
    Quotation,
    Signature,
}

impl Of {
    fn is_own(self) -> bool {
        self == Of::Sender
    }
}

type Line = (Range<usize>, Of);

fn keeps_something(text: &str, marked: &[Line], keep: impl Fn(Of) -> bool) -> bool {
    marked.iter().any(|(range, of)| keep(*of) && !is_blank(&text[range.clone()]))
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

/// Every line of `text`, with its line break, and whose it is.
fn mark(text: &str) -> Vec<Line> {
    let mut at = 0;
    let ranges: Vec<Range<usize>> = text
        .split_inclusive('\n')
        .map(|line| {
            at += line.len();
            at - line.len()..at
        })
        .collect();
    let lines: Vec<&str> = ranges.iter().map(|range| &text[range.clone()]).collect();
    let mut of = vec![Of::Sender; lines.len()];
    let end = mark_quotations(&lines, &mut of);
    mark_signatures(&lines[..end], &mut of[..end]);
    // A blank line goes with what stands above it.
    for index in 1..lines.len() {
        if is_blank(lines[index]) {
            of[index] = of[index - 1];
        }
    }
    ranges.into_iter().zip(of).collect()
}

/// Marks what is quoted; returns the line from which on everything is.
fn mark_quotations(lines: &[&str], of: &mut [Of]) -> usize {
    let mut index = 0;
    while index < lines.len() {
        if lines::is_quoted(lines[index]) {
            index = mark_run(lines, of, index);
            continue;
        }
        if let Some(height) = attribution(&lines[index..]) {
            let next = (index + height..lines.len()).find(|&i| !is_blank(lines[i]));
            if let Some(next) = next.filter(|&i| lines::is_quoted(lines[i])) {
                of[index..next].fill(Of::Quotation);
                // What the reply says may stand below the quotation.
                index = mark_run(lines, of, next);
                continue;
            }
            if lines::is_exact(&lines[index..index + height].concat()) {
                of[index..].fill(Of::Quotation);
                return index;
            }
        }
        // A text that begins with headers is a message with its own headers, not a quotation.
        let above = lines[..index].iter().any(|line| !is_blank(line));
        if lines::is_divider(lines[index]) || above && begins_older(&lines[index..]) {
            of[index..].fill(Of::Quotation);
            return index;
        }
        index += 1;
    }
    lines.len()
}

/// Lines that an attribution takes, one or two, where `lines` begin with one.
fn attribution(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    if lines::is_attribution(first) {
        return Some(1);
    }
    let second = lines.get(1)?;
    // Programs break a long one in two.
    let both = || lines::is_attribution(&format!("{} {}", first.trim(), second.trim()));
    (!is_blank(first) && !first.trim_end().ends_with('.') && both()).then_some(2)
}

/// Whether `lines` begin with the headers of an older message, perhaps under a rule.
fn begins_older(lines: &[&str]) -> bool {
    let Some((first, rest)) = lines.split_first() else { return false };
    if lines::is_rule(first) {
        let next = rest.iter().find(|line| !is_blank(line));
        return next.is_some_and(|line| lines::is_sender(line));
    }
    let headers = rest.iter().take(6).take_while(|line| !is_blank(line));
    lines::is_sender(first) && headers.filter(|line| lines::is_header(line)).count() >= 2
}

/// Marks the quoted lines from `start`, blank ones between them included; returns the line behind.
fn mark_run(lines: &[&str], of: &mut [Of], start: usize) -> usize {
    let mut end = start + 1;
    for (index, line) in lines.iter().enumerate().skip(start + 1) {
        if lines::is_quoted(line) {
            end = index + 1;
        } else if !is_blank(line) {
            break;
        }
    }
    let attributed = start > 0 && of[start - 1] == Of::Quotation;
    if end > start + 1 || attributed || !lines::is_comparison(lines[start]) {
        of[start..end].fill(Of::Quotation);
    }
    end
}

/// Marks signatures and small print among the lines above the thread.
fn mark_signatures(lines: &[&str], of: &mut [Of]) {
    let own: Vec<usize> = (0..lines.len())
        .filter(|&index| of[index] == Of::Sender && !is_blank(lines[index]))
        .collect();
    let tail = own.len().saturating_sub(SIGNATURE_LINES);
    let mut inside = false;
    // A paragraph that says something, and one of small print, go on to the next blank line.
    let (mut said, mut small_print) = (false, false);
    for &index in &own[tail..] {
        let line = lines[index];
        if index == 0 || is_blank(lines[index - 1]) {
            (said, small_print) = (false, false);
        }
        let device = lines::is_device(line);
        small_print |= lines::is_small_print(line);
        let closes = lines::is_closing(line) || lines::is_dashes(line);
        inside |= closes;
        said |= inside
            && !small_print
            && !device
            && !closes
            && (lines::is_postscript(line) || lines::says_something(line));
        if device || small_print || closes || inside && !said {
            of[index] = Of::Signature;
        }
    }
}
