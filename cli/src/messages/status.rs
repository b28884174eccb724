//! What a status says.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "STATUS OF A MIRROR",
    introduction: "What `tidecast status` says of a mirror, after a line that says whose fault it is. What else it can say is what the daemon ran into, which has its place in another section.",
    entries: &[
        Entry {
            messages: &["a reason has at most {hold_reason_bytes} bytes of plain text in one line"],
            meaning: "",
            advice: "say it shorter, and without line breaks",
        },
        Entry {
            messages: &["{whom} after the switch to release {tried_release}: {what}; {serves}"],
            meaning: "the release is served; the hook, or clamd, that was to be told of it did not take it",
            advice: "look up what is said on this page; for a hook, run its command by hand",
        },
        Entry {
            messages: &[
                "asking clamd again",
                "clamd at {address} cannot be reached: {reason}",
            ],
            meaning: "",
            advice: "check that clamd runs, and that `clamd` in mirror.toml is LocalSocket, or TCPAddr:TCPSocket, of clamd.conf. Permission denied: add the user tidecast runs as to the group of clamd's socket (LocalSocketGroup in clamd.conf)",
        },
        Entry {
            messages: &["clamd at {address} answered {said} to RELOAD"],
            meaning: "",
            advice: "check that this is clamd's socket, and that EnableReloadCommand in clamd.conf is yes",
        },
        Entry {
            messages: &[
                "clamd at {address} broke off: {reason}",
                "clamd at {address} did not answer within {try} s",
            ],
            meaning: "",
            advice: "see clamd's log; it looks for new databases by itself every SelfCheck seconds",
        },
        Entry {
            messages: &[
                "held: nothing newer is installed until `tidecast unhold`",
                "held since {since_ms}; {serves}",
            ],
            meaning: "somebody typed `tidecast hold` on this mirror",
            advice: "clients get old databases; see what is out with `tidecast sync -n`; go on with `tidecast unhold`",
        },
        Entry {
            messages: &["hook says: {line}"],
            meaning: "a line that the hook after a switch printed",
            advice: "nothing, unless the line says so",
        },
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
        Entry {
            messages: &["the daemon has just ended"],
            meaning: "",
            advice: "run the same command again",
        },
        Entry {
            messages: &[
                "the feed has taken release {release} back, and this mirror is held on it; {serves}",
            ],
            meaning: "",
            advice: "type `tidecast unhold`, unless you know why the feed's operators took it back and still want it",
        },
        Entry {
            messages: &["this mirror has no release yet that it could stay on"],
            meaning: "",
            advice: "install a release with `tidecast sync` first",
        },
        Entry {
            messages: &["what was told of this switch is not written down"],
            meaning: "after a restart the hook or clamd may be told once more",
            advice: "look up the reason, in the field `error`, on this page",
        },
    ],
};
