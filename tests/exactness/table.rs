//! The table of SPEC §5.8.

use std::path::Path;

use crate::page::Page;

/// What is packed; a column of the table each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Noise,
    Program,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::Noise, Self::Program];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Noise => "noise",
            Self::Program => "program",
        }
    }
}

/// What a cell promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The file opens and is rebuilt from what it opens to.
    Exact,
    /// It does not, and the explanation says where it differs.
    Whole,
    /// One or the other.
    Varies,
}

/// A row: settings that come to the same.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) producer: String,
    /// What the producer must say of its version for the promises to hold; `None` for any.
    version: Option<String>,
    pub(crate) settings: Vec<String>,
    promises: [Promise; 3],
}

impl Row {
    /// What holds for a producer that calls itself `version`.
    pub(crate) fn promise(&self, kind: Kind, version: &str) -> Promise {
        match self.is_of(version) {
            true => self.promises[kind as usize],
            false => Promise::Varies,
        }
    }

    pub(crate) fn is_of(&self, version: &str) -> bool {
        self.version
            .as_ref()
            .is_none_or(|stated| version.split_whitespace().any(|word| word == stated))
    }

    fn parse(cells: &[String]) -> Self {
        let [producer, version, settings, promises @ ..] = cells else {
            panic!("{cells:?} is no row");
        };
        let promise = |cell: &String| match cell.as_str() {
            "exact" => Promise::Exact,
            "whole" => Promise::Whole,
            "varies" => Promise::Varies,
            other => panic!("{other:?} in the row {cells:?}"),
        };
        let promises: Vec<Promise> = promises.iter().map(promise).collect();
        Self {
            producer: producer.clone(),
            version: (!version.starts_with("any")).then(|| version.clone()),
            settings: settings
                .split(',')
                .flat_map(|one| spelled_out(one.trim().trim_matches('`')))
                .collect(),
            promises: promises.try_into().expect("a cell for each kind"),
        }
    }
}

/// One setting for each level of `1..9`.
fn spelled_out(settings: &str) -> Vec<String> {
    match settings.split_once("..") {
        Some((first, rest)) => {
            let (last, rest) = rest.split_once(' ').expect("more than levels");
            let [first, last] = [first, last].map(|level| level.parse::<u8>().expect("a level"));
            (first..=last)
                .map(|level| format!("{level} {rest}"))
                .collect()
        }
        None => vec![settings.to_owned()],
    }
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = Page::read(&top.join("SPEC.md"));
    let rows = page.table("5.8", "producer | version");
    rows.iter().map(|cells| Row::parse(cells)).collect()
}

/// The rows of one producer.
pub(crate) fn rows_of(producer: &str) -> Vec<Row> {
    let mut rows = rows();
    rows.retain(|row| row.producer == producer);
    assert!(!rows.is_empty(), "SPEC §5.8 has no row for {producer}");
    rows
}
