//! The demonstration.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "THE DEMONSTRATION",
    introduction: "What `tidecast demo` says when it cannot show everything. It runs apart from anything else on this machine.",
    entries: &[
        Entry {
            messages: &[
                "a process was lost",
                "cannot find this program: {reason}",
                "{name} ended; its last words:",
                "GET {url}daily.cvd: {reason}",
                "interrupted; everything was cleaned up",
                "no {field} was printed",
                "{name}'s status: {reason}",
                "the demo did not end within {patience} s",
                "the thread that packs a database is gone",
                "`tidecast {arguments}`: {said}",
                "what `tidecast {arguments}` printed: {reason}",
            ],
            meaning: "",
            advice: "look whether memory or the disk for temporary files is full, then run it again; if it repeats, report it with what it printed",
        },
        Entry {
            messages: &[
                "for a comparison with rsync, install it: apt-get install rsync",
                "rsync: {said}",
                "rsync printed no statistics",
                "the rsync daemon does not answer",
            ],
            meaning: "",
            advice: "the rest of the demonstration holds; install or update rsync for the comparison",
        },
    ],
};
