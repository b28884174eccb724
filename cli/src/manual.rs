//! `tidecast-messages(7)`, written out of the catalogue.

use roff::{Inline, Roff, bold, italic, roman};

use crate::messages::{Entry, SUBJECTS};

/// The page's file name.
pub(crate) const MESSAGES_PAGE: &str = "tidecast-messages.7";

/// How the page is to be read.
const DESCRIPTION: [&str; 4] = [
    "Every message that a command prints, that a daemon logs or that `tidecast status` shows, with what to do about it. \
     Search for the first words that do not vary: names, numbers and paths stand in angle brackets. Within a section messages \
     stand in the order of the alphabet, by their first own word.",
    "A message is often made of several, one after a colon, in a line that begins with `because:`, or in the field `error` \
     of a logged line: each of them is listed by itself. What to do stands with the last one that this page has, for it is \
     nearest to the cause. A line that begins with `hint:` says the same as this page, with the names filled in.",
    "Whatever a mirror says, the release that is live stays in service until a better one is whole on its disk. Whatever a \
     master says, releases that are out stay as they are.",
    "Programs should not read messages: see `--json`, and the exit status.",
];

/// The page, as the source that `man` reads.
pub(crate) fn messages_page() -> String {
    let version = concat!("tidecast ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["tidecast-messages", "7", "", version, "tidecast"]);
    page.control("SH", ["NAME"]);
    page.text([roman(
        "tidecast-messages - what tidecast says, and what to do about it",
    )]);
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        page.control("PP", []).text(marked(paragraph, roman));
    }
    for subject in SUBJECTS {
        page.control("SH", [subject.title]);
        page.text(marked(subject.introduction, roman));
        for entry in subject.entries {
            write_entry(&mut page, entry);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("tidecast"),
        roman("(1), "),
        bold("tidecast-status"),
        roman("(1), "),
        bold("tidecast-verify"),
        roman("(1), "),
        bold("tidecast-audit"),
        roman("(1)"),
    ]);
    page.render()
}

fn write_entry(page: &mut Roff, entry: &Entry) {
    for (place, message) in entry.messages.iter().enumerate() {
        page.control(if place == 0 { "TP" } else { "TQ" }, []);
        page.text(varying(message, bold));
    }
    if !entry.meaning.is_empty() {
        page.text(marked(&sentence(entry.meaning), roman));
        page.control("br", []);
    }
    let mut advice = vec![italic("What to do:"), roman(" ")];
    advice.extend(marked(&sentence(entry.advice), roman));
    page.text(advice);
}

/// Hints begin small and end without a stop; here they are sentences.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut sentence: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    sentence.push_str(letters.as_str());
    if !sentence.ends_with(['.', '?', '!']) {
        sentence.push('.');
    }
    sentence
}

/// Text with what is to be typed, between backticks, in bold.
fn marked(text: &str, plain: fn(String) -> Inline) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let parts = parts.filter(|(_, part)| !part.is_empty());
    parts
        .flat_map(|(place, part)| varying(part, if place % 2 == 0 { plain } else { bold }))
        .collect()
}

/// Text with what varies in italics and angle brackets, which are seen where italics are not.
fn varying(text: &str, plain: fn(String) -> Inline) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for part in text.split_inclusive('}') {
        let (fixed, name) = match part.split_once('{') {
            Some((fixed, name)) => (fixed, name.trim_end_matches('}')),
            None => (part, ""),
        };
        if !fixed.is_empty() {
            inlines.push(plain(fixed.to_owned()));
        }
        if !name.is_empty() {
            inlines.push(italic(format!("<{}>", name.replace('_', " "))));
        }
    }
    inlines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_bracketed_and_what_is_typed_bold() {
        assert_eq!(
            marked("of {node_key}: `tidecast node admit {key}`", roman),
            [
                roman("of "),
                italic("<node key>"),
                roman(": "),
                bold("tidecast node admit "),
                italic("<key>"),
            ]
        );
    }

    #[test]
    fn a_hint_becomes_a_sentence() {
        assert_eq!(sentence("check the path"), "Check the path.");
        assert_eq!(sentence("`a` is right?"), "`a` is right?");
    }
}
