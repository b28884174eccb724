//! Bugs of tidecast.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "BUGS: REPORT THEM",
    introduction: "These mean that tidecast itself went wrong. Nothing was harmed: the release that was live stays live. Report them with the version (`tidecast --version`), the whole message and the log around it.",
    entries: &[
        Entry {
            messages: &[
                "a {kind} of {got} bytes cannot be stored (1 to {limit})",
                "release {release_number} exists already",
            ],
            meaning: "",
            advice: "this is a bug: please report it",
        },
        Entry {
            messages: &[
                "{path}: a record of {bytes} bytes",
                "cannot make a head: {reason}",
            ],
            meaning: "",
            advice: "report this",
        },
        Entry {
            messages: &[
                "asked for the impossible: {text}",
                "cannot listen for signals: {reason}",
                "cannot set up TLS: {text}",
                "{files} files are not complete, the first is {path}",
                "level {level}, memLevel {memory_level}: both must be 1 to 9",
                "not the chunks that the list names",
                "rebuilt {got_bytes} bytes with hash {got}, expected {expected_bytes} with {expected}",
                "the chunk list {list} of {path} has not been added",
                "the HTTP server ended by a bug",
            ],
            meaning: "",
            advice: "restart the daemon, if it is one, and report this",
        },
    ],
};
