//! Roots and their key holders.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "ROOTS AND THEIR KEY HOLDERS",
    introduction: "What `tidecast root` says, and what a master says of the roots it holds.",
    entries: &[
        Entry {
            messages: &[
                "all {keys} {role} keys must sign: if one is lost nothing can be published until a new root names another",
                "all {keys} root keys must sign: if one is lost this feed ends, and every mirror must join another",
                "any single one of {keys} {role} keys is enough: one thief speaks for all",
                "{removed} head key(s) go and the epoch stays: right only if they were in good hands to the end",
                "{key} is a {first} key and a {second} key: lost or stolen once, it is so twice",
                "it expires earlier than the root it replaces",
                "it expires in {days} days: mirrors then take nothing new",
                "it lives {days} days: a habit that comes round so seldom is forgotten",
                "it names no master: no mirror can fetch from anybody",
                "{needed} keys of the old root must sign and only {staying} of them stay: keys that go must sign this once more",
                "master {name} has no address: mirrors find it only where their operators wrote one down",
                "there is one {role} key: if it is lost nothing can be published until a new root names another",
                "there is one root key: if it is lost this feed ends, and every mirror must join another",
                "what is published now has too few signatures of the release keys that stay: publish again as soon as this root is installed",
            ],
            meaning: "something about a root that is allowed and deserves a thought before it is signed",
            advice: "draft another root, or go on if it is meant",
        },
        Entry {
            messages: &[
                "another root {version} is installed; mirrors that have taken it refuse this one",
            ],
            meaning: "",
            advice: "find out who signed two roots of one number; `tidecast root show FILE` shows either",
        },
        Entry {
            messages: &["cannot look for the keys that the root names"],
            meaning: "",
            advice: "look up the reason on this page: mostly a key file that this user may not read",
        },
        Entry {
            messages: &[
                "cannot make the first root: {reason}",
                "{key} is a {role} key already",
                "{key} is no {role} key of this root",
                "no such root can be: {reason}",
                "releases below {had} are refused already; {got} would allow them again",
                "this root names no master {name}",
                "two masters would have the node key {key}",
            ],
            meaning: "",
            advice: "correct the options; `tidecast root show` says what the present root holds",
        },
        Entry {
            messages: &["{state} holds {which}"],
            meaning: "",
            advice: "name a master's or mirror's state folder with --state, or a root's file",
        },
        Entry {
            messages: &["{folder} holds more than {chain_roots_max} roots"],
            meaning: "",
            advice: "restore that file from a backup",
        },
        Entry {
            messages: &["{folder} holds no root"],
            meaning: "",
            advice: "restore the folder from a backup",
        },
        Entry {
            messages: &["{state} holds no root to begin with"],
            meaning: "",
            advice: "name a master's or mirror's state folder with --state, or a root's file with --from",
        },
        Entry {
            messages: &[
                "{key} in {path} is a root key neither of this root nor of the one before; nothing was signed",
            ],
            meaning: "",
            advice: "`tidecast root show FILE` lists the keys that could sign",
        },
        Entry {
            messages: &["{path} is another root"],
            meaning: "",
            advice: "compare the two with `tidecast root show FILE`",
        },
        Entry {
            messages: &["no mirror would follow this root: {reason}"],
            meaning: "",
            advice: "draft it again with `tidecast root rotate`",
        },
        Entry {
            messages: &["{what} nothing was signed"],
            meaning: "",
            advice: "read it, then add --yes",
        },
        Entry {
            messages: &["nothing was signed"],
            meaning: "",
            advice: "name a key with --key",
        },
        Entry {
            messages: &[
                "root {version} does not name this master's head key {key}: it signs no heads any more",
            ],
            meaning: "",
            advice: "make the key the root names this master's, or stop this master",
        },
        Entry {
            messages: &["root {version} does not name this master's {role} key {key}"],
            meaning: "",
            advice: "`tidecast key show FILE` prints the keys of the state folder; a root must name them first",
        },
        Entry {
            messages: &["the root does not name this master's node key: mirrors turn away from it"],
            meaning: "",
            advice: "name the key in a new root: `tidecast root rotate --master-key NAME=KEY --out FILE`; `tidecast key show FILE` prints it",
        },
        Entry {
            messages: &["the roots given do not begin with root 1"],
            meaning: "",
            advice: "give every root, 1 to the newest, each with --root",
        },
        Entry {
            messages: &["the roots given make no feed: {reason}"],
            meaning: "",
            advice: "`tidecast root show FILE` says what is missing",
        },
        Entry {
            messages: &["the running master did not take up everything: {reason}"],
            meaning: "",
            advice: "the root is installed; look up the reason on this page, mend it, then restart the master",
        },
        Entry {
            messages: &["there is no file {path}"],
            meaning: "",
            advice: "check the path; or: make a root with `tidecast root new` or `tidecast root rotate`",
        },
    ],
};
