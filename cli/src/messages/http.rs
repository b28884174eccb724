//! HTTP servers.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "SERVING CLIENTS",
    introduction: "What the HTTP servers say: for clients, and for Prometheus.",
    entries: &[
        Entry {
            messages: &[
                "access log cannot be written; lines are lost",
                "cannot open the access log again; going on with the old file",
            ],
            meaning: "",
            advice: "make room, or correct the owner of its folder; then send the daemon HUP",
        },
        Entry {
            messages: &[
                "{name}: {found} bytes on disk, {wanted} in the signed manifest",
                "{name}: cannot be opened",
                "file ends at {at}, {rest} bytes early",
                "{name}: not there",
                "released file not served",
            ],
            meaning: "a file of the live release is not on the disk as it was installed; the client was told to come back later",
            advice: "type `tidecast verify`, then `tidecast sync`, which mends it; look for another program that writes into the docroot",
        },
        Entry {
            messages: &["cannot serve {what} on {address}: {reason}"],
            meaning: "",
            advice: "permission denied: ports below 1024 need root or CAP_NET_BIND_SERVICE; or name another with the option. Address in use: another program listens there; name another address",
        },
        Entry {
            messages: &[
                "cannot take a client's connection; trying again",
                "cannot take a connection for the metrics; trying again",
            ],
            meaning: "",
            advice: "look up the reason, in the field `error`: mostly too few descriptors (`ulimit -n`, systemd's `LimitNOFILE`)",
        },
        Entry {
            messages: &[
                "client takes no bytes",
                "downloads were cut off: they took longer than the drain time",
            ],
            meaning: "",
            advice: "nothing: such clients try again by themselves",
        },
        Entry {
            messages: &["local file not served"],
            meaning: "",
            advice: "look at the permissions of that `local_*` file: the user tidecast runs as must be able to read it",
        },
    ],
};
