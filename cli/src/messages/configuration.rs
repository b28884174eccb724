//! Configuration, state folder and daemon.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "CONFIGURATION",
    introduction: "What is said about `mirror.toml`, `master.toml` and the state folder. `tidecast config check` tries them without starting anything.",
    entries: &[
        Entry {
            messages: &[
                "a command has at most {command_bytes} bytes",
                "a field that this command does not have",
                "doubt without paths",
                "import without a path",
                "not a command: {reason}",
                "this daemon is a master; it has nothing to sync",
            ],
            meaning: "what a daemon answers to a command that it does not take; command and daemon are of different versions, or the state folder is another one",
            advice: "restart the daemon after an upgrade; check --state",
        },
        Entry {
            messages: &["cannot accept on the control socket"],
            meaning: "",
            advice: "look up the reason, in the field `error`, on this page: mostly too few descriptors (`ulimit -n`, systemd's `LimitNOFILE`)",
        },
        Entry {
            messages: &["{state} holds a mirror already; nothing was changed"],
            meaning: "",
            advice: "edit {config}, or name another state folder with --state",
        },
        Entry {
            messages: &[
                "{state} holds neither a master nor a mirror",
                "no configuration at {path}",
            ],
            meaning: "",
            advice: "name the state folder with --state; or make a feed with `tidecast feed init`, or a mirror with `tidecast join`",
        },
        Entry {
            messages: &["{state} is a master's; nothing was changed"],
            meaning: "",
            advice: "give the mirror a state folder of its own with --state",
        },
        Entry {
            messages: &[
                "{verify} is none of \"genuine\", \"header\", \"none\"",
                "{value} is not between {least} and {most}",
                "name at least one master, for example \"master.example.org:4873\"",
                "name the absolute path of clamd's socket (LocalSocket in clamd.conf), or host:port",
                "{path}: upstreams: {what}",
            ],
            meaning: "",
            advice: "correct that line; `tidecast config check` tells when it is right",
        },
        Entry {
            messages: &["no daemon answers on {path}"],
            meaning: "the command wanted the running daemon of this state folder",
            advice: "start it with `tidecast mirror` or `tidecast master`; if it runs, name its state folder with --state",
        },
        Entry {
            messages: &[
                "the daemon's answer: {reason}",
                "the master's answer: {reason}",
            ],
            meaning: "command and daemon are of different versions",
            advice: "restart the daemon: it still runs the version before an upgrade",
        },
    ],
};
