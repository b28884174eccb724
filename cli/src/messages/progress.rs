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
            "healed",
            "looked at the state again",
            "mirror connected",
            "no longer held: the newest release is installed",
            "receipt",
            "root accepted",
            "root installed",
            "scrub: every file has been read",
            "stopping; a second signal ends at once",
            "switched",
            "switched to the key that the root names",
            "the docroot can be worked with again",
            "the next node key is this node's key now",
            "the record of what this mirror believes is written again",
            "the scrub begins anew",
            "vouched for again",
        ],
        meaning: "",
        advice: "nothing",
    }],
};
