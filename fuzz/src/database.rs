//! ClamAV's databases, as their publisher reads them.

use tidecast_proto::database::{
    Cdiff, CvdCheck, DSIG_CHARS_MAX, DatabaseFile, DatabaseVersion, HEADER_BYTES, Header, Info,
    MEMBER_BYTES_MAX, PublicKey, ScriptCheck, SignedFile, TarEvent, TarReader, Verified,
    VerifyPolicy, decode_number, encode_number,
};

const POLICIES: [VerifyPolicy; 3] = [
    VerifyPolicy::Genuine,
    VerifyPolicy::Header,
    VerifyPolicy::None,
];

/// A whole database: a byte for policy and name, one for the pieces, then the file. Nobody here has the keys of ClamAV's
/// builders, so nothing passes as genuine under a stock name.
pub fn cvd(bytes: &[u8]) {
    let [choice, step, file @ ..] = bytes else {
        return;
    };
    let policy = POLICIES[usize::from(choice % 3)];
    // Mostly names that need no signature, so that the inside is reached.
    let path = ["own.cvd", "own.cld", "own.cud", "daily.cvd"][usize::from(choice / 3 % 4)];
    let Ok(mut check) = CvdCheck::new(policy, path, file) else {
        return;
    };
    let body = file.get(HEADER_BYTES..).unwrap_or_default();
    let step = usize::from(*step) + 1;
    for piece in body.chunks(step) {
        check.packed(piece);
        if check.opened(piece).is_err() {
            break;
        }
    }
    if let Ok(Some(database)) = check.finish() {
        assert!(path.starts_with(&database.name));
        assert_ne!(database.verified, Verified::Genuine);
        assert!(path != "daily.cvd" || policy != VerifyPolicy::Genuine);
    }
}

/// The first 512 bytes of a database: what lies behind them changes nothing.
pub fn cvd_header(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(Header::parse(&bytes[..HEADER_BYTES]), Ok(header.clone()));
        assert!(!header.md5.is_empty() && !header.dsig.is_empty());
        assert!(header.unix_time_s.is_none() || header.build_time_s() == header.unix_time_s);
    }
}

/// The `.info` member of a database. None is signed by ClamAV's builders.
pub fn info(bytes: &[u8]) {
    if let Ok(info) = Info::parse(bytes) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        assert!(
            info.dsig_line()
                .is_none_or(|line| (2..=lines).contains(&line))
        );
        assert!(info.members.len() < lines);
        assert!(
            info.members
                .iter()
                .all(|member| member.size <= MEMBER_BYTES_MAX)
        );
        assert!(info.verify(&PublicKey::INFO).is_err());
    }
}

/// Members with their sizes and the bytes that came, and whether all was well.
fn read_tar(bytes: &[u8], step: usize) -> (Vec<(String, u64, u64)>, bool) {
    let mut members: Vec<(String, u64, u64)> = Vec::new();
    let mut reader = TarReader::new();
    let mut good = true;
    for piece in bytes.chunks(step) {
        let pushed = reader.push(piece, |event| {
            match event {
                TarEvent::Member { name, size } => members.push((name.into(), size, 0)),
                TarEvent::Data(data) => {
                    members.last_mut().expect("a member").2 += data.len() as u64;
                }
                TarEvent::End => {
                    let (_, size, got) = members.last().expect("a member");
                    assert_eq!(size, got);
                }
            }
            Ok(())
        });
        good &= pushed.is_ok();
    }
    good &= reader.finish().is_ok();
    (members, good)
}

/// Sets the checksum of a header.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The tar inside a database, behind a byte: the same events however it is cut into pieces. An odd byte has the checksums
/// of whole blocks set right first, which no fuzzer guesses.
pub fn tar(bytes: &[u8]) {
    let [step, tar @ ..] = bytes else {
        return;
    };
    let mut tar = tar.to_vec();
    if step % 2 == 1 {
        for block in tar.chunks_exact_mut(512) {
            // A member's content looks otherwise, mostly.
            if block[0] != 0 && block[99] == 0 {
                seal(block);
            }
        }
    }
    let (members, good) = read_tar(&tar, usize::from(*step) + 1);
    for (name, size, got) in &members {
        assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']));
        assert!(got <= size && *size <= MEMBER_BYTES_MAX);
    }
    assert_eq!((members, good), read_tar(&tar, tar.len().max(1)));
}

/// A cdiff's outer form, and the script in it.
pub fn cdiff(bytes: &[u8]) {
    for policy in POLICIES {
        for path in ["own-2.cdiff", "daily-2.cdiff"] {
            let Ok(cdiff) = Cdiff::check(policy, path, bytes) else {
                continue;
            };
            assert_eq!(cdiff.version.0, 2);
            assert!(cdiff.verified != Verified::Genuine || bytes.is_empty());
            if let Some(content) = cdiff.content {
                assert!(content.packed.len() < bytes.len());
            }
        }
    }
    let script = |step| {
        let mut check = ScriptCheck::new();
        for piece in bytes.chunks(step) {
            check.opened(piece).ok()?;
        }
        check.finish().ok()
    };
    let whole = script(bytes.len().max(1));
    assert_eq!(script(7), whole);
    if let Some(script) = whole {
        assert_eq!(script.bytes, bytes.len() as u64);
        assert!(script.commands <= script.bytes);
        // Nothing is for two databases.
        let is_for = |name| script.is_for(name, DatabaseVersion(2)).is_ok();
        assert!(!(is_for("own") && is_for("daily")));
    }
}

/// ClamAV's signatures in text: numbers in its base 64 have one short spelling, and none of them signs anything.
pub fn dsig(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(number) = decode_number(text) {
        assert!(text.len() <= DSIG_CHARS_MAX);
        let short = encode_number(&number);
        assert!(short.len() <= text.len());
        assert_eq!(decode_number(&short).as_ref(), Ok(&number));
    }
    let sum = [0x5a; 32];
    assert!(PublicKey::OUTER.verify_md5(&[0x5a; 16], text).is_err());
    assert!(PublicKey::INFO.verify_pss(&sum, text).is_err());
    assert!(PublicKey::CDIFF.verify_pss(&sum, text).is_err());
}

/// What a path's file is to a client: spelled back, it is the path's last part.
pub fn database_names(bytes: &[u8]) {
    let Ok(path) = core::str::from_utf8(bytes) else {
        return;
    };
    let file = path.rsplit('/').next().expect("a part");
    let spelled = match DatabaseFile::of(path) {
        DatabaseFile::Container { name, container } => format!("{name}.{}", container.extension()),
        DatabaseFile::Cdiff { name, version } => format!("{name}-{version}.cdiff"),
        DatabaseFile::Sign(signed) => {
            assert_eq!(SignedFile::of_sign(path), Some(signed));
            match signed {
                SignedFile::Container { name, version } => {
                    assert!(signed.is_for(&signed.file_name(), Some(version)));
                    assert!(!signed.is_for(&signed.file_name(), None));
                    format!("{name}-{version}.cvd.sign")
                }
                SignedFile::Beside(beside) => {
                    assert!(signed.is_for(beside, None));
                    format!("{beside}.sign")
                }
            }
        }
        DatabaseFile::Other => file.to_owned(),
    };
    assert_eq!(spelled, file);
}
