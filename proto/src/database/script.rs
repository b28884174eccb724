//! The commands of an opened `.cdiff`.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::header::decimal;
use super::{DatabaseError, DatabaseVersion, Header};

/// Longest command kept in memory, in bytes. Only the text that `ADD` and `XCHG` insert may be longer, and
/// that is not looked at; sigtool cuts the words it compares at 16 characters.
pub const COMMAND_BYTES_MAX: usize = 1024;

/// Distinct `.info` members, and versions of one, that are remembered: one is right, and a second is enough to tell that
/// it is not.
const DISTINCT_MAX: usize = 2;

/// What a whole script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Length of the opened script.
    pub bytes: u64,
    /// How many commands it has.
    pub commands: u64,
    /// The `.info` members it touches, in order.
    infos: Vec<TouchedInfo>,
}

/// An `.info` that a script edits, moves or removes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TouchedInfo {
    /// `daily` of `daily.info`.
    name: String,
    /// What the first lines that it is given say.
    versions: Vec<DatabaseVersion>,
}

/// Why a script does not lead to a version of a database, whatever its file is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtherScript {
    /// A client would call what it has made by the old version, and fetch this script for ever.
    #[error("it edits no .info")]
    NoInfo,
    /// Made for another database.
    #[error("it edits {0}.info")]
    OtherDatabase(String),
    /// Made for another version.
    #[error("it makes version {0}")]
    OtherVersion(DatabaseVersion),
    /// It leaves the version as it was, or names two.
    #[error("it does not say which version it makes")]
    NoVersion,
}

impl Script {
    /// Whether it turns a database `name` into its `version`.
    ///
    /// The header of a cdiff says a version, and nothing outside the script says whose. But every database lists its
    /// members and says its version in its one `<name>.info`, so that every script edits that: sigtool compares it
    /// like any other member, and clients read name and version of what they have made from it (`sigtool/sigtool.c`,
    /// `compare`; `libfreshclam/libfreshclam_internal.c`, `buildcld`).
    ///
    /// # Errors
    /// [`OtherScript`].
    pub fn is_for(&self, name: &str, version: DatabaseVersion) -> Result<(), OtherScript> {
        if let Some(other) = self.infos.iter().find(|info| info.name != name) {
            return Err(OtherScript::OtherDatabase(other.name.clone()));
        }
        let info = self.infos.first().ok_or(OtherScript::NoInfo)?;
        match info.versions.as_slice() {
            [only] if *only == version => Ok(()),
            [only] => Err(OtherScript::OtherVersion(*only)),
            _ => Err(OtherScript::NoVersion),
        }
    }
}

/// Checks that a script's commands are ones clients can follow, as its bytes stream by.
///
/// What it cannot tell without the database: whether the lines named are there. A signature says more; this is
/// for cdiffs nobody signed (`libclamav_rust/src/cdiff.rs`).
#[derive(Debug, Default)]
pub struct ScriptCheck {
    /// The first bytes of the line passing by.
    head: Vec<u8>,
    line_bytes: u64,
    line: u64,
    bytes: u64,
    commands: u64,
    open: bool,
    infos: Vec<TouchedInfo>,
    /// Which of them is open.
    open_info: Option<usize>,
}

impl ScriptCheck {
    /// A check at the start of a script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the opened script.
    ///
    /// # Errors
    /// `Script`: the file is at fault. Stop then.
    pub fn opened(&mut self, bytes: &[u8]) -> Result<(), DatabaseError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = COMMAND_BYTES_MAX - self.head.len();
            self.head.extend_from_slice(&text[..text.len().min(room)]);
            self.line_bytes = self.line_bytes.saturating_add(text.len() as u64);
            if ended {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// Says that the script ends here, and returns what it says.
    ///
    /// # Errors
    /// `Script`, also where a member is left open: its edits would be lost.
    pub fn finish(mut self) -> Result<Script, DatabaseError> {
        if self.line_bytes > 0 {
            self.end_line()?;
        }
        if self.open {
            return Err(DatabaseError::Script {
                line: self.line,
                what: "the script ends before CLOSE",
            });
        }
        Ok(Script {
            bytes: self.bytes,
            commands: self.commands,
            infos: self.infos,
        })
    }

    fn end_line(&mut self) -> Result<(), DatabaseError> {
        self.line += 1;
        let cut = self.line_bytes > self.head.len() as u64;
        let mut head = core::mem::take(&mut self.head);
        let result = self.command(&head, cut);
        head.clear();
        self.head = head;
        self.line_bytes = 0;
        let line = self.line;
        result.map_err(|what| DatabaseError::Script { line, what })
    }

    fn command(&mut self, head: &[u8], cut: bool) -> Result<(), &'static str> {
        // What sigtool notes for long lines.
        if head.starts_with(b"#") {
            return Ok(());
        }
        self.commands += 1;
        let blank = head.iter().position(|b| *b == b' ');
        let (command, text) = match blank {
            Some(blank) => (&head[..blank], &head[blank + 1..]),
            None => (head, &[][..]),
        };
        if cut && command != b"ADD" && command != b"XCHG" {
            return Err("the command is longer than 1024 bytes");
        }
        match command {
            b"ADD" | b"DEL" | b"XCHG" | b"CLOSE" if !self.open => {
                return Err("no member is open for this command");
            }
            b"OPEN" | b"MOVE" | b"UNLINK" if self.open => {
                return Err("a member is still open at this command");
            }
            b"ADD" => self.line_given(text),
            b"OPEN" if is_member(text) => {
                self.open = true;
                self.open_info = self.touched(text);
            }
            b"UNLINK" if is_member(text) => {
                self.touched(text);
            }
            b"OPEN" | b"UNLINK" => {
                return Err("a member's name has only letters, digits, '.' and '_'");
            }
            b"CLOSE" => {
                self.open = false;
                self.open_info = None;
            }
            b"DEL" => match words(text).as_slice() {
                [line, _] if line_number(line).is_some() => {}
                _ => return Err("not DEL <line> <start of line>"),
            },
            b"XCHG" => {
                let mut parts = text.splitn(3, |b| *b == b' ');
                let line = parts.next().and_then(line_number);
                let start = parts.next().filter(|start| !start.is_empty());
                let new = parts.next().filter(|new| !new.is_empty());
                let (Some(_), Some(_), Some(new)) = (line, start, new) else {
                    return Err("not XCHG <line> <start of line> <new line>");
                };
                self.line_given(new);
            }
            b"MOVE" => match words(text).as_slice() {
                [source, target, first, _, last, _] if is_member(source) && is_member(target) => {
                    match (line_number(first), line_number(last)) {
                        (Some(first), Some(last)) if first < last => {}
                        // Clients search for the end behind the start, for ever.
                        _ => return Err("MOVE must name a first line and a later last one"),
                    }
                    self.touched(source);
                    self.touched(target);
                }
                _ => return Err("not MOVE <from> <to> <line> <its start> <line> <its start>"),
            },
            _ => return Err("unknown command"),
        }
        Ok(())
    }
    /// Remembers that a command names `member`; returns where, if it is an `.info`.
    fn touched(&mut self, member: &[u8]) -> Option<usize> {
        let name = core::str::from_utf8(member.strip_suffix(b".info")?).ok()?;
        let known = self.infos.iter().position(|info| info.name == name);
        if known.is_none() && self.infos.len() < DISTINCT_MAX {
            self.infos.push(TouchedInfo {
                name: name.to_owned(),
                versions: Vec::new(),
            });
            return Some(self.infos.len() - 1);
        }
        known
    }

    /// Looks whether a line that the open member is given says an `.info`'s version.
    fn line_given(&mut self, line: &[u8]) {
        let Some(info) = self.open_info.and_then(|at| self.infos.get_mut(at)) else {
            return;
        };
        let header = core::str::from_utf8(line).ok().map(Header::parse_text);
        if let Some(Ok(header)) = header
            && !info.versions.contains(&header.version)
            && info.versions.len() < DISTINCT_MAX
        {
            info.versions.push(header.version);
        }
    }
}

fn words(text: &[u8]) -> Vec<&[u8]> {
    text.split(|b| *b == b' ')
        .filter(|word| !word.is_empty())
        .collect()
}

fn is_member(name: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'.' || *b == b'_';
    !name.is_empty() && !name.starts_with(b".") && name.iter().all(plain)
}

/// Lines count from one.
fn line_number(text: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(text).ok()?;
    decimal(text).filter(|line| *line > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(script: &[u8], piece: usize) -> Result<Script, DatabaseError> {
        let mut check = ScriptCheck::new();
        for bytes in script.chunks(piece) {
            check.opened(bytes)?;
        }
        check.finish()
    }

    fn length(script: &[u8], piece: usize) -> Result<(u64, u64), DatabaseError> {
        check(script, piece).map(|script| (script.bytes, script.commands))
    }

    const GOOD: &[u8] =
        b"#LSIZE 9000\nOPEN a.ndb\nADD x y z\nADD \nDEL 3 abc\nXCHG 1 abc def g\nCLOSE\n\
        MOVE a.ndb b_2.ldb 3 abc 7 def\nUNLINK a.ndb\n";

    #[test]
    fn every_command_is_known_however_the_bytes_arrive() {
        for piece in [1, 2, 7, 1000] {
            assert_eq!(length(GOOD, piece), Ok((GOOD.len() as u64, 8)));
        }
        assert_eq!(
            length(&GOOD[..GOOD.len() - 1], 9),
            Ok((GOOD.len() as u64 - 1, 8))
        );
        assert_eq!(length(b"", 1), Ok((0, 0)));
    }

    #[test]
    fn inserted_text_may_be_long_but_commands_may_not() {
        let long = "x".repeat(100_000);
        let script = std::format!("OPEN a\nADD {long}\nXCHG 1 a {long}\nCLOSE\n");
        assert!(check(script.as_bytes(), 777).is_ok());
        for bad in ["OPEN", "DEL 1", "XCHG 1", "XCHG"] {
            let script = std::format!("OPEN a\nCLOSE\n{bad} {long}\n");
            assert!(check(script.as_bytes(), 777).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_clients_stop_at_are_named() {
        for (line, bad) in [
            (1, "ADD x\n"),
            (1, "CLOSE\n"),
            (2, "OPEN a\nOPEN b\n"),
            (2, "OPEN a\nUNLINK b\n"),
            (2, "OPEN a\nMOVE a b 1 a 2 b\n"),
            (2, "OPEN a\nDEL 0 x\n"),
            (2, "OPEN a\nDEL 1\n"),
            (2, "OPEN a\nDEL x 1\n"),
            (2, "OPEN a\nDEL 1 x y\n"),
            (2, "OPEN a\nXCHG 1 x\n"),
            (2, "OPEN a\nXCHG 1 x \n"),
            (2, "OPEN a\nXCHG -1 x y\n"),
            (2, "OPEN a\n\n"),
            (2, "OPEN a\nadd x\n"),
            (1, "OPEN\n"),
            (1, "OPEN ../a\n"),
            (1, "OPEN a/b\n"),
            (1, "OPEN .a\n"),
            (1, "UNLINK \n"),
            (1, "MOVE a b 2 x 2 y\n"),
            (1, "MOVE a b 3 x 2 y\n"),
            (1, "MOVE a b 1 x 2\n"),
            (2, "OPEN a\nADD x\n"),
        ] {
            let error = check(bad.as_bytes(), 3).unwrap_err();
            assert!(
                matches!(error, DatabaseError::Script { line: l, .. } if l == line),
                "{bad:?}: {error}"
            );
        }
    }

    fn is_for_daily_7(script: &str) -> Result<(), OtherScript> {
        let whole = check(script.as_bytes(), 1000).unwrap();
        assert_eq!(check(script.as_bytes(), 1).unwrap(), whole);
        whole.is_for("daily", DatabaseVersion(7))
    }

    #[test]
    fn a_script_is_for_the_database_and_version_of_the_info_it_edits() {
        let info = |name: &str, version: u32| {
            std::format!(
                "OPEN {name}.info\nXCHG 1 ClamAV-VDB:1 ClamAV-VDB:1 Jan 2026 00-00 +0000:{version}:9:90:X:X:me:1\nCLOSE\n"
            )
        };
        let members = "OPEN daily.ldb\nADD x\nCLOSE\n";
        assert_eq!(is_for_daily_7(&(info("daily", 7) + members)), Ok(()));
        // Members may be called anything: those of `bytecode` are numbers.
        let numbers = "OPEN 3986187.cbc\nADD x\nCLOSE\n";
        assert_eq!(is_for_daily_7(&(info("daily", 7) + numbers)), Ok(()));
        let anew = info("daily", 7).replace("XCHG 1 ClamAV-VDB:1 ", "ADD ");
        assert_eq!(is_for_daily_7(&anew), Ok(()));

        let other = Err(OtherScript::OtherDatabase("main".into()));
        assert_eq!(is_for_daily_7(&(info("main", 7) + members)), other);
        assert_eq!(
            is_for_daily_7(&(info("daily", 7) + &info("main", 7))),
            other
        );
        let both = info("daily", 7);
        for moved in [
            "UNLINK main.info\n",
            "MOVE main.info daily.ldb 1 a 2 b\n",
            "MOVE daily.ldb main.info 1 a 2 b\n",
        ] {
            assert_eq!(is_for_daily_7(&(both.clone() + moved)), other, "{moved}");
        }
        assert_eq!(is_for_daily_7(members), Err(OtherScript::NoInfo));
        assert_eq!(
            is_for_daily_7(&info("daily", 8)),
            Err(OtherScript::OtherVersion(DatabaseVersion(8)))
        );
        let two = info("daily", 7) + &info("daily", 8);
        assert_eq!(is_for_daily_7(&two), Err(OtherScript::NoVersion));
        let silent = "OPEN daily.info\nADD daily.ldb:1:ab\nCLOSE\n";
        assert_eq!(is_for_daily_7(silent), Err(OtherScript::NoVersion));
        // Only what is written into the `.info` counts.
        let elsewhere = std::format!("{silent}{}", info("daily", 7).replace(".info", ".ldb"));
        assert_eq!(is_for_daily_7(&elsewhere), Err(OtherScript::NoVersion));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1_usize..100) {
            let _ = check(&bytes, piece);
        }

        #[test]
        fn arbitrary_commands_never_panic(
            script in "((OPEN|ADD|DEL|XCHG|MOVE|CLOSE|UNLINK|#)?( ?[a.0-9]{1,3}){0,7}\n?){0,8}",
        ) {
            prop_assert_eq!(check(script.as_bytes(), 1), check(script.as_bytes(), 10_000));
        }
    }
}
