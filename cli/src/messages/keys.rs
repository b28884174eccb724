//! Key files, passphrases, keys of nodes.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "KEYS AND PASSPHRASES",
    introduction: "What is said about key files, and about the keys of nodes.",
    entries: &[
        Entry {
            messages: &[
                "a {role} key cannot be under a passphrase: the daemon starts with nobody there to type it",
            ],
            meaning: "",
            advice: "protect the disk it lies on instead",
        },
        Entry {
            messages: &["a key cannot take its own place"],
            meaning: "",
            advice: "name the new key first, and the old one behind --replaces",
        },
        Entry {
            messages: &[
                "a master's node key changes by a new root, which tells mirrors whom to believe",
            ],
            meaning: "",
            advice: "make it with `tidecast key new node --next`, name it in a root with `tidecast root rotate --master-key NAME=KEY --out FILE`, have that signed, and install it with `tidecast root install FILE`",
        },
        Entry {
            messages: &["a node that waits calls itself {shown}, as anybody could"],
            meaning: "",
            advice: "name it by 16 or more digits of its key, and make sure by telephone or mail that they are right",
        },
        Entry {
            messages: &[
                "a weak ed25519 public key",
                "expected 64 hex digits",
                "not an ed25519 public key",
            ],
            meaning: "",
            advice: "copy the key again from where it was made: `tidecast key show FILE` prints it",
        },
        Entry {
            messages: &["{path} cannot be opened: {reason}"],
            meaning: "",
            advice: "write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in {path} -out {path}.new`",
        },
        Entry {
            messages: &["cannot read the passphrase: {reason}"],
            meaning: "",
            advice: "look at the terminal, or name a file that holds it with --passphrase-file",
        },
        Entry {
            messages: &[
                "closed: this node has more connections than it may; is its key used elsewhere?",
                "node {key} {what}: is its key used in more than one place?",
            ],
            meaning: "",
            advice: "ask its operator; if the key is in wrong hands, revoke it and admit a new one. A copy of a machine, or a restored backup that runs beside the original, has the same key and must join anew",
        },
        Entry {
            messages: &["{shown} could be any of {keys}"],
            meaning: "",
            advice: "give more digits of the key",
        },
        Entry {
            messages: &["{path} exists; nothing was changed"],
            meaning: "",
            advice: "name another file with --out, or look at it with `tidecast key show FILE`; or: name another file with --out",
        },
        Entry {
            messages: &["{node_key} is no key"],
            meaning: "",
            advice: "give the 64 hex digits that `tidecast join` or `tidecast status` printed on the mirror",
        },
        Entry {
            messages: &["{role} is no role"],
            meaning: "",
            advice: "name one of the roles that `tidecast key new --help` lists",
        },
        Entry {
            messages: &["{path} is not an ed25519 private key in PKCS#8 PEM form"],
            meaning: "",
            advice: "restore it from a backup",
        },
        Entry {
            messages: &["{path} is not text"],
            meaning: "",
            advice: "the passphrase is the first line of that file",
        },
        Entry {
            messages: &["{path} is open to others: its mode is {mode}"],
            meaning: "",
            advice: "if nobody has read it: chmod 600 {path}; otherwise make a new key",
        },
        Entry {
            messages: &["{path} is under a passphrase"],
            meaning: "",
            advice: "a daemon has nobody to ask: keep this key unencrypted, `openssl pkey -in {path} -out {path}.open` makes such a copy",
        },
        Entry {
            messages: &["--next is for head and node keys, not {role}"],
            meaning: "",
            advice: "a new root names new root and release keys at once; give the file with --out",
        },
        Entry {
            messages: &["no key at {path}"],
            meaning: "",
            advice: "name the folder that `tidecast feed init` put the keys into, with --keys; or: name the state folder with --state; if that is right, restore the key from a backup",
        },
        Entry {
            messages: &["no node is called {shown}"],
            meaning: "",
            advice: "`tidecast node list` shows who waits; or give the whole key that `tidecast join` printed, 64 hex digits",
        },
        Entry {
            messages: &["node {key} was never admitted"],
            meaning: "",
            advice: "admit it with `tidecast node admit KEY`, which takes the same options",
        },
        Entry {
            messages: &[
                "the former node key cannot be used",
                "the former node key could not be removed: remove it by hand",
            ],
            meaning: "nothing but upstreams that do not know the present key yet would be shown it",
            advice: "remove `node.old.key` of the state folder, if every upstream has let the present key in; `tidecast status` says so",
        },
        Entry {
            messages: &[
                "the former node key is revoked there and shown to nobody any more",
                "the former node key was kept for 30 days and is removed; these upstreams have not let the present one in",
            ],
            meaning: "",
            advice: "ask the operators of those upstreams to admit the present key, which `tidecast status` shows",
        },
        Entry {
            messages: &["the next node key cannot be used"],
            meaning: "",
            advice: "`tidecast node rotate` says what is wrong with it; the key in use stays in use",
        },
        Entry {
            messages: &["the next node key waits to be admitted"],
            meaning: "",
            advice: "on the master, type: tidecast node admit with the key that is shown",
        },
        Entry {
            messages: &[
                "the passphrase has more than {passphrase_bytes} bytes",
                "the passphrase is empty",
                "the two passphrases differ; no key was made",
            ],
            meaning: "",
            advice: "choose another one; from a file, the first line is taken",
        },
        Entry {
            messages: &["there is no terminal to ask for a passphrase on"],
            meaning: "",
            advice: "name a file that holds it with --passphrase-file",
        },
        Entry {
            messages: &["wrong passphrase for {path}, or the file is damaged"],
            meaning: "",
            advice: "try again; if the passphrase is lost, so is the key: tests/DRILLS.md says what to do",
        },
    ],
};
