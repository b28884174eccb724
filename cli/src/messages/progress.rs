//! What needs nothing done.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "WHAT NEEDS NOTHING DONE",
    introduction: "Lines that a daemon logs when all goes well, or when it has helped itself.",
    entries: &[Entry {
        messages: &[
            "a fresh head is out: no longer stale",
            "another upstream has a newer head",
            "bundle built",
            "connected",
            "file",
            "first root accepted: the fingerprint matches",
            "genuine",
            "looked at the state again",
            "mirror connected",
            "receipt",
            "root accepted",
            "root installed",
            "stopping; a second signal ends at once",
            "switched",
            "switched to the key that the root names",
            "the next node key is this node's key now",
            "the record of what this mirror believes is written again",
            "vouched for again",
        ],
        meaning: "",
        advice: "nothing",
    }],
};
