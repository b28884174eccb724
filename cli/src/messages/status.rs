//! What a status says.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "STATUS OF A MIRROR",
    introduction: "What `tidecast status` says of a mirror, after a line that says whose fault it is. What else it can say is what the daemon ran into, which has its place in another section.",
    entries: &[
        Entry {
            messages: &["no mirror daemon runs, so nothing newer arrives; {serves}"],
            meaning: "",
            advice: "type `tidecast mirror`, or start its service",
        },
        Entry {
            messages: &["pending: waiting to be admitted; {serves}"],
            meaning: "",
            advice: "send them your node key; they type the next command on the master",
        },
    ],
};
