//! ClamAV's databases.

use super::{Entry, Subject};

pub(super) const SUBJECT: Subject = Subject {
    title: "CLAMAV'S DATABASES",
    introduction: "Why a database is refused, by `publish` on a master or before a mirror installs it. Clients would refuse it too, or worse, not notice.",
    entries: &[
        Entry {
            messages: &["a .cdiff over {cdiff_bytes} bytes"],
            meaning: "",
            advice: "leave it out: clients then take the whole database",
        },
        Entry {
            messages: &[
                "a member is still open at this command",
                "a member's name has only letters, digits, '.' and '_'",
                "MOVE must name a first line and a later last one",
                "no member is open for this command",
                "not DEL <line> <start of line>",
                "not MOVE <from> <to> <line> <its start> <line> <its start>",
                "not XCHG <line> <start of line> <new line>",
                "the command is longer than 1024 bytes",
                "unknown command",
            ],
            meaning: "what is wrong with a line of a cdiff's script",
            advice: "clients refuse it: build it again with sigtool, or fetch the official file again",
        },
        Entry {
            messages: &[
                "bytes follow the end of its gzip stream",
                "its gzip stream breaks off",
                "its gzip stream is damaged",
            ],
            meaning: "",
            advice: "it was damaged or not copied whole: fetch or build it again",
        },
        Entry {
            messages: &[
                "cdiff: {what}",
                "header field 6 (MD5) says {header}, the file's bytes from offset 512 give {file}",
                "header: only {got} bytes, a database starts with 512",
                "tar ends at opened offset {offset}, {missing} bytes before the end of {what}",
            ],
            meaning: "",
            advice: "the file is damaged or was still being written: copy it again from where it was built",
        },
        Entry {
            messages: &["cdiff header says version {header}, its name says {name}"],
            meaning: "",
            advice: "rename the file to the version its header says",
        },
        Entry {
            messages: &[
                "cdiff script line {line}: {what}",
                ".info line {line}: {what}",
                ".info line 1 does not read as a header",
                "member {name} has {got} bytes, .info says {listed}",
                "member {name} has SHA-256 {got}, .info says {listed}",
                "member {name} is {size} bytes, a .info has at most {info_bytes_max}",
                "member {name} is listed in .info but not there",
                "member {name} is not listed in .info",
                "member {name} is there twice",
                "no .info member",
                "opened content is larger than {opened_bytes_max} bytes",
                "tar has more than {members_max} members",
                "tar header at opened offset {offset}: {what}",
                "two .info members, {first} and {second}",
            ],
            meaning: "",
            advice: "clients refuse it: build it again with sigtool, or fetch the official file again",
        },
        Entry {
            messages: &[
                "cdiff: what follows its last ':' does not sign the bytes before it",
                "header field 7 (signature) does not sign the MD5 of field 6",
                ".info has no DSIG line",
                ".info line {line} (DSIG) does not sign the lines above it",
                "the signature has {chars} characters, at most {dsig_chars_max} are read",
                "the signature is empty",
                "the signature is not smaller than the key's modulus",
                "the signature is not this key's, or not over these bytes",
                "the signature's character {at} is byte {byte}, not one of a-z A-Z 0-9 + /",
            ],
            meaning: "",
            advice: "stock clients refuse it; fetch the official file again, or publish your own database as .cud or under another name",
        },
        Entry {
            messages: &[
                "header: byte {byte} at offset {offset} is not printable ASCII",
                "header field 1 (magic) is {got}, not \"ClamAV-VDB\"",
                "header field {field} ({name}) is missing",
                "header field {field} ({name}) is {value}, not {expected}",
            ],
            meaning: "",
            advice: "look at it with `head -c 512`: it may be an error page or another file under this name",
        },
        Entry {
            messages: &["header field {field} ({name}) says {header}, .info says {info}"],
            meaning: "",
            advice: "the header was changed after the file was built: build or fetch it again",
        },
        Entry {
            messages: &["{file_name} is not named like {expected}"],
            meaning: "",
            advice: "give the file the name clients ask for, such as daily.cvd or daily-27780.cdiff",
        },
    ],
};
