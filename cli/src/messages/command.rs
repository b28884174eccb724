//! The command line.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "COMMAND LINE",
    introduction: "What is wrong with what was typed. Anything else that begins with `error:` and shows a usage line comes from the command line as well: `tidecast help COMMAND` says what it takes.",
    entries: &[
        Entry {
            messages: &[
                "a feed's name begins with a letter or a digit",
                "a feed's name has 1 to 64 characters",
                "a feed's name is made of a-z 0-9 . _ -",
                "--feed {feed}: {reason}",
            ],
            meaning: "",
            advice: "give another name, such as `clamav`",
        },
        Entry {
            messages: &[
                "a fingerprint is 64 hex digits or 24 words; this has {digits} characters in {words} words",
                "the words are all known, but the checksum in the last one does not match: one is wrong or out of order",
                "word {position} ({word}) is not on the list",
            ],
            meaning: "",
            advice: "copy it from what the feed's operators gave you; the master shows it with `tidecast status`",
        },
        Entry {
            messages: &[
                "{option}: a master has at most {most} addresses",
                "{option} {shown}: a name has at most {most} bytes of plain text",
                "--days {days} is not between 1 and {days_max}",
                "{option} {shown} is not {form}",
                "{option} names {pair} twice",
                "--revoke-manifest {id}: {reason}",
            ],
            meaning: "",
            advice: "correct that option: `tidecast root new --help` and `tidecast root rotate --help` say what it takes",
        },
        Entry {
            messages: &["a number, or `none`", "too large"],
            meaning: "what --rate and --connections take",
            advice: "give another value, such as 20M",
        },
        Entry {
            messages: &[
                "{option} {text}: at most {detail_bytes} bytes of plain text",
                "--host is given {hosts} times, {hosts_per_mirror} are allowed",
            ],
            meaning: "",
            advice: "give fewer, or shorter ones",
        },
        Entry {
            messages: &["--fingerprint: {reason}"],
            meaning: "",
            advice: "copy it from what the feed's operators gave you; the master shows it with `tidecast status`",
        },
        Entry {
            messages: &["{upstream} is no upstream"],
            meaning: "",
            advice: "name the master as host or host:port, for example master.example.org:4873",
        },
        Entry {
            messages: &[
                "neither a number of files, such as 100, nor a percentage of the bytes, such as 5%",
            ],
            meaning: "what --sample takes",
            advice: "give a value of one of these two forms",
        },
        Entry {
            messages: &["not joined; nothing was changed"],
            meaning: "",
            advice: "type it again and answer `y` if you agree with what was shown",
        },
        Entry {
            messages: &["nothing is to be set"],
            meaning: "",
            advice: "name what: --name, --note, --contact, --rate, --connections",
        },
        Entry {
            messages: &["{reason}nothing was changed"],
            meaning: "",
            advice: "with --yes they are moved to .tidecast/removed by the first sync, and kept there for 30 days; or: name a folder that holds nothing but the databases; or, if you are sure, add --yes",
        },
        Entry {
            messages: &["the mirror daemon runs and asks the upstreams of its configuration"],
            meaning: "",
            advice: "leave --upstream out, or stop the daemon first",
        },
        Entry {
            messages: &["--verify {verify} is no policy"],
            meaning: "",
            advice: "give `genuine`, `header` or `none`",
        },
    ],
};
