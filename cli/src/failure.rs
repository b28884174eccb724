//! Why a command did not do what it was asked: what is printed, and how the process ends.

use std::path::Path;

use serde::Serialize;

use crate::exit::{Diagnose, Exit};

/// Sources below an error that are printed; a longer chain tells nobody anything.
const CAUSES_MAX: usize = 6;

/// A command's failure, ready to be printed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What happened, and where.
    pub(crate) what: String,
    /// Why, from near to far.
    pub(crate) causes: Vec<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
}

/// What a command ends with; [`Exit`] other than `Ok` when its result is printed but is bad news.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure found by the command itself.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// A wrong command line.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A file operation that failed.
    pub(crate) fn file(action: &str, path: &Path, error: &std::io::Error) -> Self {
        let what = format!("cannot {action} {}: {error}", path.display());
        Self {
            hint: error.hint(),
            ..Self::new(error.exit(), what)
        }
    }

    /// The same with advice.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Makes the commands that the hint quotes work on the state that was named.
    pub(crate) fn on_state(self, state: &Path) -> Self {
        let quoted = format!("`tidecast --state {} ", state.display());
        Self {
            hint: self.hint.map(|hint| hint.replace("`tidecast ", &quoted)),
            ..self
        }
    }

    /// For a terminal: one line each for what, causes and hint (a shown line of a file makes more).
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.what.trim_end());
        for cause in &self.causes {
            text.push_str(&format!("  because: {}\n", cause.trim_end()));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }

    /// For programs: one JSON object. SPEC §10.5.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Object<'a> {
            error: String,
            hint: Option<&'a str>,
            exit_code: u8,
        }
        let error = std::iter::once(&self.what)
            .chain(&self.causes)
            .map(|text| text.trim_end())
            .collect::<Vec<_>>()
            .join(": ");
        let object = Object {
            error,
            hint: self.hint.as_deref(),
            exit_code: self.exit.code(),
        };
        // Strings and a number always make JSON.
        serde_json::to_string(&object).unwrap_or_default() + "\n"
    }
}

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        let what = error.to_string();
        let mut said = what.clone();
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(error) = source
            && causes.len() < CAUSES_MAX
        {
            let text = error.to_string();
            // Many messages hold their source's already.
            if !said.contains(&text) {
                said.push_str(&text);
                causes.push(text);
            }
            source = error.source();
        }
        Self {
            exit: error.exit(),
            what,
            causes,
            hint: error.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidecast_engine::docroot::DocrootError;
    use tidecast_engine::durable::FileError;

    fn denied() -> std::io::Error {
        std::io::Error::from(std::io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_source_is_told_once() {
        let failure = Failure::from(FileError::at("open", Path::new("/x"))(denied()));
        assert!(failure.causes.is_empty(), "{failure:?}");
        let failure = Failure::from(DocrootError::NotWritable {
            path: "/srv".into(),
            source: denied(),
        });
        assert_eq!(failure.causes, ["permission denied"]);
        assert!(
            failure
                .text()
                .starts_with("error: docroot /srv is not writable")
        );
        assert!(
            failure
                .text()
                .contains("\n  because: permission denied\nhint: ")
        );
    }

    #[test]
    fn a_quoted_command_names_the_state_that_was_named() {
        let failure = Failure::usage("no").hint("use `tidecast status`");
        assert_eq!(
            failure.on_state(Path::new("/x")).hint.as_deref(),
            Some("use `tidecast --state /x status`")
        );
    }

    #[test]
    fn a_program_reads_error_hint_and_code() {
        let failure = Failure::usage("no").hint("yes");
        let object: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
        assert_eq!(
            object,
            serde_json::json!({"error": "no", "hint": "yes", "exit_code": 2})
        );
    }
}
