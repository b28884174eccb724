//! `tidecast-messages(7)` lists every message that an operator can meet, and what to do about it.
//!
//! A message is added by pasting the entry that a failing test prints into a file of `cli/src/messages`, where it
//! gets what to do. Errors of the sources, what daemons log, what commands and `status` say are found by reading the
//! sources with a Rust parser; tests, benches and fuzzing are left out.

#[path = "messages/advice.rs"]
mod advice;
#[path = "../cli/src/messages/mod.rs"]
mod messages;
#[path = "messages/scan.rs"]
mod scan;
mod support;
#[path = "messages/wording.rs"]
mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use messages::{Entry, SUBJECTS};
use scan::Said;

/// What the sources say; reading them takes a second or two.
fn said() -> &'static [Said] {
    static SAID: LazyLock<Vec<Said>> =
        LazyLock::new(|| scan::scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")));
    &SAID
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    SUBJECTS.iter().flat_map(|subject| subject.entries)
}

/// The entry of each message.
fn catalogue() -> BTreeMap<&'static str, &'static Entry> {
    entries()
        .flat_map(|entry| entry.messages.iter().map(move |message| (*message, entry)))
        .collect()
}

/// What a message is found by in an alphabet: its own words, from the first on.
fn order(message: &str) -> String {
    let mut depth = 0_usize;
    let mut words = String::new();
    for c in message.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            c if c.is_ascii_alphanumeric() => words.push(c.to_ascii_lowercase()),
            _ if words.ends_with(' ') || words.is_empty() => {}
            _ => words.push(' '),
        }
    }
    words
}

/// An entry as it is written in the catalogue.
fn pasted(said: &Said) -> String {
    let advice = said.advice.join("; or: ");
    format!(
        "// {}:{}\nEntry {{\n    messages: &[{:?}],\n    meaning: \"\",\n    advice: {:?},\n}},\n",
        said.file, said.line, said.text, advice
    )
}

#[test]
fn every_message_in_the_code_has_its_entry() {
    let catalogue = catalogue();
    let mut told = BTreeSet::new();
    let missing: String = said()
        .iter()
        .filter(|said| !catalogue.contains_key(said.text.as_str()))
        .filter(|said| told.insert(said.text.clone()))
        .map(pasted)
        .collect();
    assert!(
        missing.is_empty(),
        "no entry in cli/src/messages for these; paste them where they belong and say what to do:\n\n{missing}"
    );
}

#[test]
fn every_entry_is_a_message_of_the_code() {
    let said: BTreeSet<_> = said().iter().map(|said| said.text.as_str()).collect();
    let gone: Vec<_> = catalogue()
        .into_keys()
        .filter(|text| !said.contains(text))
        .collect();
    assert!(
        gone.is_empty(),
        "nothing in the code says this any more; remove it from cli/src/messages:\n{gone:#?}"
    );
}

#[test]
fn an_entry_says_what_the_code_advises() {
    let catalogue = catalogue();
    let mut differing = String::new();
    for said in said() {
        let Some(entry) = catalogue.get(said.text.as_str()) else {
            continue;
        };
        for advice in &said.advice {
            // What one function adds to another's advice.
            let mut parts = advice.split("{advice}");
            if !parts.all(|part| entry.advice.contains(part)) {
                differing.push_str(&format!(
                    "{:?}\n  the code ({}:{}): {advice:?}\n  the entry: {:?}\n",
                    said.text, said.file, said.line, entry.advice
                ));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "hint and manual page say different things:\n{differing}"
    );
}

#[test]
fn messages_are_found_by_their_first_words() {
    let mut seen = BTreeSet::new();
    for subject in SUBJECTS {
        assert!(subject.introduction.ends_with('.'), "{}", subject.title);
        let firsts = subject.entries.iter().map(|entry| entry.messages[0]);
        let orders: Vec<_> = firsts.map(order).collect();
        assert!(
            orders.is_sorted(),
            "{}: not in the order of the alphabet: {:?}",
            subject.title,
            orders.windows(2).find(|pair| pair[0] > pair[1])
        );
        for entry in subject.entries {
            let sorted = entry
                .messages
                .iter()
                .map(|message| order(message))
                .is_sorted();
            assert!(
                sorted,
                "not in the order of the alphabet: {:?}",
                entry.messages
            );
            // The page makes sentences of them.
            for text in [entry.meaning, entry.advice] {
                assert!(!text.ends_with('.') && text.is_ascii(), "{text:?}");
            }
            assert!(
                !entry.advice.is_empty(),
                "nothing to do: {:?}",
                entry.messages
            );
            for message in entry.messages {
                assert!(seen.insert(*message), "listed twice: {message:?}");
            }
        }
    }
}

#[test]
fn the_page_renders_without_a_warning_and_holds_every_message() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_tidecast"))
        .args(["generate", "man"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let page = folder.path().join("tidecast-messages.7");
    let Some(groff) = support::program("tidecast-messages(7)", "groff", "groff-base") else {
        return;
    };
    let rendered = Command::new(groff)
        .args(["-ww", "-man", "-Tascii", "-rLL=20000n", "-P-cbou"])
        .arg(&page)
        .output()
        .unwrap();
    let warnings = String::from_utf8_lossy(&rendered.stderr);
    assert!(
        rendered.status.success() && warnings.is_empty(),
        "{warnings}"
    );
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = plain(&String::from_utf8_lossy(&rendered.stdout));
    for entry in entries() {
        for message in entry.messages {
            let shown = message.replace(['{', '}'], "");
            let fixed = message.split(['{', '}']).step_by(2);
            let found = fixed.map(plain).all(|part| text.contains(&part));
            assert!(found, "not on the page: {shown}");
        }
    }
}

/// A source with one message of each sort.
const SAMPLE: &str = r#"
    #[derive(Debug, thiserror::Error)]
    enum SampleError {
        #[error("{}: not at {index:?} of {0}", path.display())]
        Named { path: PathBuf },
        #[error("refused: {0}")]
        Passed(#[from] OtherError),
        #[error(transparent)]
        Silent(OtherError),
    }
    impl SampleError {
        fn advice(&self) -> &'static str {
            match self {
                Self::Named { .. } => "look there",
                Self::Passed(_) | Self::Silent(_) => "wait",
            }
        }
    }
    fn work() -> Outcome {
        tracing::warn!(%error, path = %x, "the disk is {}", state);
        tokio::select! {
            _ = one() => tracing::info!("said in a macro"),
        }
        let what = format!("{} exists", file.display());
        Err(Failure::new(Exit::CannotCreate, what).hint("name another"))
    }
    #[cfg(test)]
    mod tests {
        fn not_said() { tracing::error!("only in a test"); }
    }
"#;

#[test]
fn the_reader_finds_each_sort_of_message() {
    let sample = syn::parse_file(SAMPLE).unwrap();
    let mut found: Vec<_> = scan::read(&[("cli/sample.rs".to_owned(), sample)])
        .into_iter()
        .map(|said| (said.text, said.advice.join("|")))
        .collect();
    found.sort();
    let expected = [
        ("refused: {reason}", "wait"),
        ("said in a macro", ""),
        ("the disk is {state}", ""),
        ("{file} exists", "name another"),
        ("{path}: not at {index} of {path}", "look there"),
    ];
    let expected = expected.map(|(text, advice)| (text.to_owned(), advice.to_owned()));
    assert_eq!(found, expected);
}
