//! The commands of an opened `.cdiff`.

use alloc::vec::Vec;

use super::DatabaseError;
use super::header::decimal;

/// Longest command kept in memory, in bytes. Only the text that `ADD` and `XCHG` insert may be longer, and
/// that is not looked at; sigtool cuts the words it compares at 16 characters.
pub const COMMAND_BYTES_MAX: usize = 1024;

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

    /// Says that the script ends here; returns its length in bytes and the number of its commands.
    ///
    /// # Errors
    /// `Script`, also where a member is left open: its edits would be lost.
    pub fn finish(mut self) -> Result<(u64, u64), DatabaseError> {
        if self.line_bytes > 0 {
            self.end_line()?;
        }
        if self.open {
            return Err(DatabaseError::Script {
                line: self.line,
                what: "the script ends before CLOSE",
            });
        }
        Ok((self.bytes, self.commands))
    }

    fn end_line(&mut self) -> Result<(), DatabaseError> {
        self.line += 1;
        let cut = self.line_bytes > self.head.len() as u64;
        let result = self.command(cut);
        self.head.clear();
        self.line_bytes = 0;
        let line = self.line;
        result.map_err(|what| DatabaseError::Script { line, what })
    }

    fn command(&mut self, cut: bool) -> Result<(), &'static str> {
        // What sigtool notes for long lines.
        if self.head.starts_with(b"#") {
            return Ok(());
        }
        self.commands += 1;
        let blank = self.head.iter().position(|b| *b == b' ');
        let (command, text) = match blank {
            Some(blank) => (&self.head[..blank], &self.head[blank + 1..]),
            None => (&self.head[..], &[][..]),
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
            b"ADD" => {}
            b"OPEN" if is_member(text) => self.open = true,
            b"UNLINK" if is_member(text) => {}
            b"OPEN" | b"UNLINK" => {
                return Err("a member's name has only letters, digits, '.' and '_'");
            }
            b"CLOSE" => self.open = false,
            b"DEL" => match words(text).as_slice() {
                [line, _] if line_number(line).is_some() => {}
                _ => return Err("not DEL <line> <start of line>"),
            },
            b"XCHG" => {
                let mut parts = text.splitn(3, |b| *b == b' ');
                let line = parts.next().and_then(line_number);
                let (start, new) = (parts.next(), parts.next());
                if line.is_none()
                    || start.is_none_or(<[u8]>::is_empty)
                    || new.is_none_or(<[u8]>::is_empty)
                {
                    return Err("not XCHG <line> <start of line> <new line>");
                }
            }
            b"MOVE" => match words(text).as_slice() {
                [source, target, first, _, last, _] if is_member(source) && is_member(target) => {
                    match (line_number(first), line_number(last)) {
                        (Some(first), Some(last)) if first < last => {}
                        // Clients search for the end behind the start, for ever.
                        _ => return Err("MOVE must name a first line and a later last one"),
                    }
                }
                _ => return Err("not MOVE <from> <to> <line> <its start> <line> <its start>"),
            },
            _ => return Err("unknown command"),
        }
        Ok(())
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

    fn check(script: &[u8], piece: usize) -> Result<(u64, u64), DatabaseError> {
        let mut check = ScriptCheck::new();
        for bytes in script.chunks(piece) {
            check.opened(bytes)?;
        }
        check.finish()
    }

    const GOOD: &[u8] =
        b"#LSIZE 9000\nOPEN a.ndb\nADD x y z\nADD \nDEL 3 abc\nXCHG 1 abc def g\nCLOSE\n\
        MOVE a.ndb b_2.ldb 3 abc 7 def\nUNLINK a.ndb\n";

    #[test]
    fn every_command_is_known_however_the_bytes_arrive() {
        for piece in [1, 2, 7, 1000] {
            assert_eq!(check(GOOD, piece), Ok((GOOD.len() as u64, 8)));
        }
        assert_eq!(
            check(&GOOD[..GOOD.len() - 1], 9),
            Ok((GOOD.len() as u64 - 1, 8))
        );
        assert_eq!(check(b"", 1), Ok((0, 0)));
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
