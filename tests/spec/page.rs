//! SPEC.md as a program reads it: headings, tables, fenced vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Page {
    lines: Vec<String>,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("SPEC.md is readable");
        let lines = text.lines().map(str::to_owned).collect();
        Self { lines }
    }

    /// Numbers of all headings: `3`, `3.1`.
    pub(crate) fn sections(&self) -> BTreeSet<String> {
        self.lines
            .iter()
            .filter_map(|line| heading(line))
            .map(str::to_owned)
            .collect()
    }

    /// Lines from a heading to the next one.
    fn section(&self, number: &str) -> Vec<&str> {
        let lines: Vec<&str> = self
            .lines
            .iter()
            .map(String::as_str)
            .skip_while(|line| heading(line) != Some(number))
            .skip(1)
            .take_while(|line| heading(line).is_none())
            .collect();
        assert!(!lines.is_empty(), "no section {number}");
        lines
    }

    /// Rows of the table in a section whose header begins with `header`; cells without blanks and backquotes.
    pub(crate) fn table(&self, section: &str, header: &str) -> Vec<Vec<String>> {
        let lines = self.section(section).into_iter();
        let rows: Vec<Vec<String>> = lines
            .skip_while(|line| !line.starts_with(&format!("| {header} |")))
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().trim_matches('`').to_owned())
                    .collect()
            })
            .collect();
        assert!(!rows.is_empty(), "§{section} has no table {header}");
        rows
    }

    /// First two cells of each row of such a table.
    pub(crate) fn pairs(&self, section: &str, header: &str) -> Vec<(String, String)> {
        self.table(section, header)
            .into_iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect()
    }

    /// Fenced blocks whose info string is `vector NAME`.
    pub(crate) fn vectors(&self) -> BTreeMap<String, String> {
        let mut vectors = BTreeMap::new();
        let mut lines = self.lines.iter();
        while let Some(line) = lines.next() {
            let Some(name) = line.strip_prefix("```vector ") else {
                continue;
            };
            let text: Vec<&str> = lines
                .by_ref()
                .map(String::as_str)
                .take_while(|line| *line != "```")
                .collect();
            let before = vectors.insert(name.to_owned(), text.join("\n"));
            assert_eq!(before, None, "vector {name} stands twice");
        }
        vectors
    }

    /// The page with the content of each vector it names replaced.
    pub(crate) fn with_vectors(&self, texts: &BTreeMap<String, String>) -> String {
        let mut out = String::new();
        let mut lines = self.lines.iter();
        while let Some(line) = lines.next() {
            out += line;
            out.push('\n');
            if let Some(text) = line
                .strip_prefix("```vector ")
                .and_then(|name| texts.get(name))
            {
                out += text;
                out += "\n```\n";
                lines.by_ref().find(|line| *line == "```");
            }
        }
        out
    }
}

/// The number of a heading.
fn heading(line: &str) -> Option<&str> {
    let text = line.strip_prefix("## ").or(line.strip_prefix("### "))?;
    let number = text.split(' ').next()?;
    number
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| number.trim_end_matches('.'))
}

pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

/// A name as §11.7 spells it: JSON strings, each perhaps `* count`, put together with ` + `.
pub(crate) fn spelled(text: &str) -> String {
    text.split(" + ")
        .map(|term| {
            let (string, count) = term.split_once(" * ").unwrap_or((term, "1"));
            let string: String = serde_json::from_str(string).expect("a JSON string");
            string.repeat(count.parse().expect("a count"))
        })
        .collect()
}

/// Every Rust file below a folder.
pub(crate) fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Section numbers in `SPEC §1.2` and what follows it: `, §3` and ` to §5`.
pub(crate) fn citations(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.contains("SPEC §"))
        .flat_map(|line| line.split('§').skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect::<String>()
        })
        .map(|number| number.trim_end_matches('.').to_owned())
        .filter(|number| !number.is_empty())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hexadecimal digits, 32 bytes to a line.
pub(crate) fn hex_lines(bytes: &[u8]) -> String {
    bytes.chunks(32).map(hex).collect::<Vec<_>>().join("\n")
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("a byte"))
        .collect()
}

/// A number as tables spell it: with thousands apart, or hexadecimal.
pub(crate) fn number(text: &str) -> usize {
    let digits = text.replace(',', "");
    match digits.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).expect("a hexadecimal number"),
        None => digits.parse().expect("a number"),
    }
}
