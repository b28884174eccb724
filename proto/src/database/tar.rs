//! Reads the tar inside a container as it streams by.

use alloc::format;
use alloc::string::String;

use super::DatabaseError;

/// Most members read. Today's bytecode database, which has most, holds about 90.
pub const MEMBERS_MAX: usize = 4096;

/// Largest member: clients hold the size in an `unsigned int` (`libclamav/cvd.c`).
pub const MEMBER_BYTES_MAX: u64 = u32::MAX as u64;

/// Clients read tars in blocks of this size and refuse one that ends inside a block.
const BLOCK: usize = 512;

/// What a [`TarReader`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarEvent<'a> {
    /// A member starts. Its name has 1 to 100 printable ASCII characters, none of them `/` or `\`.
    Member {
        /// The member's name.
        name: &'a str,
        /// Bytes that will follow in [`TarEvent::Data`].
        size: u64,
    },
    /// The next bytes of the member that started last; never empty.
    Data(&'a [u8]),
    /// All bytes of the member have passed.
    End,
}

/// Takes a tar in pieces of any size and tells its members.
///
/// The form is the narrow one of ClamAV (`libclamav/cvd.c`, `cli_tgzload`; `common/tar.c`): regular files in
/// one folder, whole blocks, sizes in octal. No end blocks are needed; after a block that starts with a
/// NUL the rest is not read, as clients do not. Beyond what clients do, the headers' checksums count and
/// names must be printable. One block is all the memory it takes.
#[derive(Debug)]
pub struct TarReader {
    block: [u8; BLOCK],
    state: State,
    /// Bytes taken so far.
    offset: u64,
    members: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Collecting a header block, of which so many bytes are there.
    Header(usize),
    /// Inside a member: bytes of it and of its padding still to come.
    Member { data: u64, padding: u64 },
    /// After the end block.
    Done,
    /// After an error.
    Refused,
}

impl Default for TarReader {
    fn default() -> Self {
        Self::new()
    }
}

impl TarReader {
    /// A reader at the start of a tar.
    #[must_use]
    pub fn new() -> Self {
        Self {
            block: [0; BLOCK],
            state: State::Header(0),
            offset: 0,
            members: 0,
        }
    }

    /// Takes the next bytes and calls `sink` for what they hold.
    ///
    /// # Errors
    /// `TarHeader` or `TooManyMembers`: the file is at fault. What `sink` returns comes through. After
    /// an error nothing more is read.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(TarEvent<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        // Whoever goes on after an error is told nothing more, least of all a wrong member boundary.
        let state = core::mem::replace(&mut self.state, State::Refused);
        self.state = self.step(state, bytes, &mut sink)?;
        Ok(())
    }

    /// Says that the tar ends here.
    ///
    /// # Errors
    /// `TarTruncated`, or `TarHeader` after an error of [`Self::push`]: the file is at fault.
    pub fn finish(&self) -> Result<(), DatabaseError> {
        let (missing, what) = match self.state {
            State::Done | State::Header(0) => return Ok(()),
            State::Refused => {
                return Err(DatabaseError::TarHeader {
                    offset: self.offset,
                    what: "something before it was refused",
                });
            }
            State::Header(filled) => ((BLOCK - filled) as u64, String::from("a header block")),
            State::Member { data, padding } => {
                let name = member_name(&self.block).unwrap_or("?");
                (data + padding, format!("member {name} with its padding"))
            }
        };
        Err(DatabaseError::TarTruncated {
            offset: self.offset,
            missing,
            what,
        })
    }

    fn step(
        &mut self,
        mut state: State,
        mut bytes: &[u8],
        sink: &mut impl FnMut(TarEvent<'_>) -> Result<(), DatabaseError>,
    ) -> Result<State, DatabaseError> {
        while !bytes.is_empty() {
            let taken;
            (state, taken) = match state {
                State::Done | State::Refused => (state, bytes.len()),
                State::Header(filled) => {
                    let taken = bytes.len().min(BLOCK - filled);
                    self.block[filled..filled + taken].copy_from_slice(&bytes[..taken]);
                    let next = if filled + taken < BLOCK {
                        State::Header(filled + taken)
                    } else {
                        self.member(sink)?
                    };
                    (next, taken)
                }
                State::Member { data: 0, padding } => {
                    let taken = at_most(bytes.len(), padding);
                    (
                        match padding - taken as u64 {
                            0 => State::Header(0),
                            padding => State::Member { data: 0, padding },
                        },
                        taken,
                    )
                }
                State::Member { data, padding } => {
                    let taken = at_most(bytes.len(), data);
                    sink(TarEvent::Data(&bytes[..taken]))?;
                    (Self::within(data - taken as u64, padding, sink)?, taken)
                }
            };
            bytes = &bytes[taken..];
            self.offset += taken as u64;
        }
        Ok(state)
    }

    /// The state with so much of a member to come; tells its end.
    fn within(
        data: u64,
        padding: u64,
        sink: &mut impl FnMut(TarEvent<'_>) -> Result<(), DatabaseError>,
    ) -> Result<State, DatabaseError> {
        if data == 0 {
            sink(TarEvent::End)?;
            if padding == 0 {
                return Ok(State::Header(0));
            }
        }
        Ok(State::Member { data, padding })
    }

    /// Reads the full header block.
    fn member(
        &mut self,
        sink: &mut impl FnMut(TarEvent<'_>) -> Result<(), DatabaseError>,
    ) -> Result<State, DatabaseError> {
        if self.block[0] == 0 {
            return Ok(State::Done);
        }
        // The bytes being taken are not counted yet, and headers start at whole blocks.
        let offset = self.offset / BLOCK as u64 * BLOCK as u64;
        let fault = |what| DatabaseError::TarHeader { offset, what };
        if self.members == MEMBERS_MAX {
            return Err(DatabaseError::TooManyMembers);
        }
        self.members += 1;
        match self.block[156] {
            0 | b'0' => {}
            b'5' => return Err(fault("a directory, only regular files are allowed")),
            _ => {
                return Err(fault(
                    "neither type 0 nor '0', only regular files are allowed",
                ));
            }
        }
        // With the checksum's own eight bytes taken as blanks (POSIX pax, ustar header).
        let sum: u64 = self.block.iter().map(|b| u64::from(*b)).sum();
        let own: u64 = self.block[148..156].iter().map(|b| u64::from(*b)).sum();
        if octal(&self.block[148..156]) != Some(sum - own + 8 * 32) {
            return Err(fault("its checksum does not match"));
        }
        let size = octal(&self.block[124..136])
            .filter(|size| *size <= MEMBER_BYTES_MAX)
            .ok_or(fault("the size is not an octal number below 4 GiB"))?;
        let name = member_name(&self.block).ok_or(fault(
            "the name is not printable ASCII without '/' and '\\'",
        ))?;
        sink(TarEvent::Member { name, size })?;
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        Self::within(size, padding, sink)
    }
}

/// `have`, or the rest of what is wanted where that is less.
fn at_most(have: usize, wanted: u64) -> usize {
    usize::try_from(wanted).map_or(have, |wanted| wanted.min(have))
}

/// An octal number, blanks before and a NUL or blanks behind it, as `sscanf("%o")` reads what `tar` writes.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    // A field has at most 12 bytes, so 36 bits: no overflow.
    if digits.is_empty() || !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
        return None;
    }
    Some(digits.iter().fold(0, |n, b| n << 3 | u64::from(b - b'0')))
}

fn member_name(block: &[u8; BLOCK]) -> Option<&str> {
    let field = &block[..100];
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let name = core::str::from_utf8(&field[..end]).ok()?;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'/' && b != b'\\');
    (plain && !name.is_empty() && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::super::samples::{tar, tar_header, tar_seal};
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Member {
        name: String,
        size: u64,
        data: Vec<u8>,
        ended: bool,
    }

    fn read(tar: &[u8], piece: usize) -> (Vec<Member>, Result<(), DatabaseError>) {
        let mut members: Vec<Member> = Vec::new();
        let mut reader = TarReader::new();
        let mut result = Ok(());
        for bytes in tar.chunks(piece) {
            result = reader.push(bytes, |event| {
                match event {
                    TarEvent::Member { name, size } => members.push(Member {
                        name: name.to_owned(),
                        size,
                        data: vec![],
                        ended: false,
                    }),
                    TarEvent::Data(bytes) => members.last_mut().unwrap().data.extend(bytes),
                    TarEvent::End => members.last_mut().unwrap().ended = true,
                }
                Ok(())
            });
            if result.is_err() {
                break;
            }
        }
        let result = result.and_then(|()| reader.finish());
        (members, result)
    }

    fn member(name: &str, data: &[u8]) -> Member {
        Member {
            name: name.to_owned(),
            size: data.len() as u64,
            data: data.to_vec(),
            ended: true,
        }
    }

    fn fault(tar: &[u8]) -> (u64, &'static str) {
        match read(tar, 100).1 {
            Err(DatabaseError::TarHeader { offset, what }) => (offset, what),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_come_out_whole_however_the_bytes_arrive() {
        let big = vec![7; 1025];
        let files: [(&str, &[u8]); 4] = [
            ("COPYING", b"x"),
            ("empty", b""),
            ("full", &[1; 512]),
            ("big", &big),
        ];
        let tar = tar(&files);
        for piece in [1, 7, 511, 512, 513, 100_000] {
            let (members, result) = read(&tar, piece);
            assert_eq!(result, Ok(()));
            let expected: Vec<_> = files
                .iter()
                .map(|(name, data)| member(name, data))
                .collect();
            assert_eq!(members, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn the_end_needs_no_blocks_and_ends_reading_where_it_has_them() {
        assert_eq!(read(&[], 9), (vec![], Ok(())));
        let mut ended = tar(&[("a", b"1")]);
        ended.extend([0; 512]);
        ended.extend(b"clients read no further");
        assert_eq!(read(&ended, 64), (vec![member("a", b"1")], Ok(())));
    }

    #[test]
    fn a_tar_cut_anywhere_but_between_members_is_truncated() {
        let tar = tar(&[("a", b"1"), ("b", &[2; 700])]);
        for cut in 0..tar.len() {
            let result = read(&tar[..cut], 200).1;
            if cut == 0 || cut == 1024 {
                assert_eq!(result, Ok(()));
            } else {
                let error = result.unwrap_err();
                assert!(
                    matches!(error, DatabaseError::TarTruncated { offset, .. } if offset == cut as u64),
                    "cut at {cut}: {error}"
                );
            }
        }
    }

    #[test]
    fn names_that_leave_the_folder_or_the_line_are_refused() {
        for name in ["a/b", "/a", "..", ".", "a\\b", "a b", "a\n", "é", "a\u{7f}"] {
            let (offset, what) = fault(&tar(&[("ok", b""), (name, b"x")]));
            assert_eq!(offset, 512);
            assert!(what.starts_with("the name"), "{name:?}");
        }
        let longest = "n".repeat(100);
        assert_eq!(
            read(&tar(&[(&longest, b"x")]), 512).0,
            [member(&longest, b"x")]
        );
    }

    #[test]
    fn only_regular_files_are_read() {
        for (kind, start) in [
            (b'5', "a directory"),
            (b'1', "neither"),
            (b'2', "neither"),
            (b'L', "neither"),
            (b'x', "neither"),
        ] {
            let mut header = tar_header("a", 0);
            header[156] = kind;
            assert!(fault(&tar_seal(header)).1.starts_with(start));
        }
        let mut header = tar_header("a", 0);
        header[156] = b'0';
        assert_eq!(
            read(&tar_seal(header), 512),
            (vec![member("a", b"")], Ok(()))
        );
    }

    #[test]
    fn a_header_with_any_flipped_bit_is_refused() {
        let good = tar_seal(tar_header("a.ndb", 0));
        // The checksum has several spellings of one number, such as a blank for its first zero.
        for bit in (0..good.len() * 8).filter(|bit| !(148..156).contains(&(bit / 8))) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (members, result) = read(&bad, 512);
            assert!(result.is_err() && members.is_empty(), "bit {bit}");
        }
    }

    #[test]
    fn a_claimed_size_costs_no_memory_and_is_missed_at_the_end() {
        let mut header = tar_header("bomb", 0);
        header[124..136].copy_from_slice(b"37777777777\0");
        let bomb = tar_seal(header);
        let (members, result) = read(&bomb, 512);
        assert_eq!(members[0].size, MEMBER_BYTES_MAX);
        assert_eq!(
            result,
            Err(DatabaseError::TarTruncated {
                offset: 512,
                missing: 1 << 32,
                what: "member bomb with its padding".into()
            })
        );
        for size in [
            b"40000000000\0",
            b"777777777777",
            b"8\0\0\0\0\0\0\0\0\0\0\0",
            b"-1\0\0\0\0\0\0\0\0\0\0",
            &[0; 12],
        ] {
            let mut header = tar_header("bomb", 0);
            header[124..136].copy_from_slice(size);
            assert!(fault(&tar_seal(header)).1.starts_with("the size"));
        }
    }

    #[test]
    fn members_are_counted() {
        let block = tar_seal(tar_header("a", 0));
        let most = block.repeat(MEMBERS_MAX);
        assert_eq!(read(&most, 4096).1, Ok(()));
        assert_eq!(
            read(&block.repeat(MEMBERS_MAX + 1), 4096).1,
            Err(DatabaseError::TooManyMembers)
        );
    }

    #[test]
    fn after_an_error_nothing_more_is_told_and_the_end_is_no_good_one() {
        let mut reader = TarReader::new();
        assert!(reader.push(&[b'x'; 512], |_| Ok(())).is_err());
        let good = tar(&[("a", b"1")]);
        let told = reader.push(&good, |event| panic!("{event:?}"));
        assert_eq!(told, Ok(()));
        assert!(matches!(
            reader.finish(),
            Err(DatabaseError::TarHeader { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1_usize..600) {
            let _ = read(&bytes, piece);
        }

        #[test]
        fn arbitrary_bytes_behind_a_good_header_never_panic(
            size in 0_u64..3000,
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
            piece in 1_usize..600,
        ) {
            let mut tar = tar_seal(tar_header("a", size));
            tar.extend(&bytes);
            let (members, result) = read(&tar, piece);
            prop_assert_eq!(members[0].data.len() as u64, size.min(bytes.len() as u64));
            prop_assert!(members[0].ended || result.is_err());
        }
    }
}
