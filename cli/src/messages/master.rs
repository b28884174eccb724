//! Running a master.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "RUNNING A MASTER",
    introduction: "What `tidecast master` and its `tidecast status` say.",
    entries: &[
        Entry {
            messages: &[
                "a cached bundle is damaged; it is built again when needed",
                "cannot tidy up the cached bundles",
                "no bundle is made; mirrors fetch chunks",
                "no runs are made; mirrors fetch chunks",
            ],
            meaning: "mirrors get the release all the same; it costs more bytes",
            advice: "nothing once; if it repeats, look up the reason on this page: mostly a full disk",
        },
        Entry {
            messages: &[
                "a later version wrote it: upgrade",
                "it holds no head",
                "its number is not above those before",
                "{path}: record {record}: {reason}",
            ],
            meaning: "",
            advice: "somebody wrote into this master's state: `tidecast audit` says what else; then rotate the head key",
        },
        Entry {
            messages: &[
                "a mirror has seen number {seen} of this master's head key, which it has not signed",
                "this node has seen a number of our head key from the future: our clock is behind, it lies, or somebody else signs with our key",
            ],
            meaning: "",
            advice: "check this machine's clock; if it is right, that mirror lies, or somebody else signs with this head key: replace it by a new root with another epoch",
        },
        Entry {
            messages: &[
                "a mirror holds manifest {held} as release {release}, here it is {ours}",
                "a mirror holds release {release}, the newest here is {newest}",
                "a node says that it holds release {release}, the newest here is {newest}: nobody can have made so many since",
            ],
            meaning: "mirrors tell what they hold, and this master does not have it",
            advice: "a number beyond belief: that node lies, or its docroot is another feed's: revoke it, `tidecast node revoke {node}`. A newer release: unless another master has announced it: this store was restored from an old backup. Restore a newer one, or go past it with `tidecast publish --above {release} TREE`. Another manifest: two releases were signed under one number: ask every holder of a release key, and compare with other mirrors; `tidecast audit` on both sides says which was announced",
        },
        Entry {
            messages: &["a mirror that does not read is left"],
            meaning: "",
            advice: "nothing: it connects again",
        },
        Entry {
            messages: &[
                "a node waits to be admitted",
                "{text} to be admitted; {serves}{text}",
            ],
            meaning: "anybody can stand at the door and call himself anything",
            advice: "make sure by telephone or mail that the key is theirs; then `tidecast node admit KEY`",
        },
        Entry {
            messages: &["a part of the state cannot be read; going on without it"],
            meaning: "the field `error` says what could not be read",
            advice: "look up the reason on this page, mend it, then restart the master",
        },
        Entry {
            messages: &[
                "a rate of {got} bytes/s is not between {rate_bytes_per_s_min} and {rate_bytes_per_s_max}: mirrors leave a source that sends fewer than {useful_bytes_per_s} bytes/s",
                "{got} connections are not between 1 and {connections_max}",
                "the {field} has {got} bytes, more than {most}",
                "the {field} holds control characters",
            ],
            meaning: "",
            advice: "give another value; if nodes.json was edited, correct it there",
        },
        Entry {
            messages: &["{path} already holds a feed; nothing was changed"],
            meaning: "",
            advice: "publish into it with `tidecast publish TREE`, or name another folder with --state",
        },
        Entry {
            messages: &[
                "cannot listen on UDP {address}: {reason}",
                "cannot use the UDP socket: {reason}",
            ],
            meaning: "",
            advice: "address in use: another master runs there, stop it or name another address. Address not available: this machine does not have it",
        },
        Entry {
            messages: &["cannot show the new node key"],
            meaning: "the switch to the node key that the new root names was not completed",
            advice: "restart the master",
        },
        Entry {
            messages: &[
                "cannot sign a fresh head",
                "cannot sign a fresh head, and mirrors will call this feed stale; {reason}",
                "no fresh head is signed; {reason}",
                "no head can be signed: {what}",
                "stale: the root or the newest head has expired; mirrors serve what they have and take nothing new",
                "the head has expired and no fresh one could be signed; {serves}",
            ],
            meaning: "mirrors serve what they have, and take nothing new when the last head is over",
            advice: "the master's log says why: look up that reason on this page. Mostly it is a full disk, a clock that went back, or a root that has expired",
        },
        Entry {
            messages: &["cannot use the state; going on as before"],
            meaning: "",
            advice: "look up the reason on this page, mend it, then send the master HUP or type the command again",
        },
        Entry {
            messages: &["no master daemon runs, so mirrors hear of nothing; {serves}"],
            meaning: "",
            advice: "type `tidecast master`, or start its service",
        },
        Entry {
            messages: &["no number is left for this head key"],
            meaning: "",
            advice: "replace the head key: a new root with another epoch",
        },
        Entry {
            messages: &["node {key}: {reason}"],
            meaning: "",
            advice: "give another value; if nodes.json was edited, correct it there",
        },
        Entry {
            messages: &["{path}: node {key} is not an ed25519 public key in 64 hex digits"],
            meaning: "",
            advice: "correct the file, or restore it from a backup",
        },
        Entry {
            messages: &["{path}: not a number"],
            meaning: "",
            advice: "write the last number this master used into it, in digits; a master that begins again at any number might contradict itself",
        },
        Entry {
            messages: &["nothing is published yet"],
            meaning: "",
            advice: "type `tidecast publish TREE`",
        },
        Entry {
            messages: &["release {release} cannot be announced under root {root}: {reason}"],
            meaning: "mirrors keep the release that they have, and take nothing new",
            advice: "too few signatures: publish the same files again with a release key that the root names, `tidecast publish --force TREE`; where several holders must sign, `tidecast release propose --force TREE` and `tidecast release sign`. Taken back by the root: publish files that are good, `tidecast publish --force TREE`. If nobody replaced keys, look who changed the store: `tidecast audit`",
        },
        Entry {
            messages: &[
                "release {release} in the store is manifest {got}, but this master has announced it as {announced}",
            ],
            meaning: "",
            advice: "mirrors that took the other one refuse this one: make a release above it, `tidecast publish --above {release} TREE`",
        },
        Entry {
            messages: &[
                "the newest release in the store is {got}, but this master has announced release {announced}",
            ],
            meaning: "",
            advice: "restore the store that goes up to release {announced}; where it is lost, make a release above it: `tidecast publish --above {announced} TREE`",
        },
        Entry {
            messages: &[
                "this node has seen a higher number of our head key than we know: restored from a backup?",
            ],
            meaning: "",
            advice: "nothing if this master was restored from a backup: it goes on above that number. Otherwise somebody else signs with this head key: replace it by a new root with another epoch",
        },
        Entry {
            messages: &[
                "this node says one thing and then another: after the next line, nothing of that is told for ten minutes",
            ],
            meaning: "somebody uses its key in two places, or it lies",
            advice: "ask its operator; if the key is in wrong hands, revoke it and admit a new one",
        },
    ],
};
