//! Containers of our own making, good and bad in every way, against test keys.

use alloc::format;
use alloc::vec;

use proptest::prelude::*;

use super::super::samples::{self, Sample, gunzip, tar_header, tar_seal};
use super::super::{DatabaseVersion, DsigError, HEADER_BYTES};
use super::*;

const KEYS: Keys = Keys {
    outer: samples::OUTER.public,
    info: samples::INFO.public,
};

/// What a publisher does: inflates, feeds both, and stops at the first error.
fn check_with(
    keys: Keys,
    policy: VerifyPolicy,
    path: &str,
    file: &[u8],
) -> Result<Option<Database>, DatabaseError> {
    let (header, body) = file.split_at(file.len().min(HEADER_BYTES));
    let mut check = CvdCheck::with_keys(policy, path, header, keys)?;
    check.packed(body);
    if check.wants_opened() {
        let opened = if is_plain_body(body) {
            Some(body.to_vec())
        } else {
            gunzip(body)
        };
        for piece in opened.unwrap_or_default().chunks(1000) {
            if check.opened(piece).is_err() {
                break;
            }
        }
    }
    check.finish()
}

fn check(path: &str, file: &[u8]) -> Result<Option<Database>, DatabaseError> {
    check_with(KEYS, VerifyPolicy::Genuine, path, file)
}

fn database(name: &str, verified: Verified) -> Database {
    Database {
        name: name.into(),
        version: DatabaseVersion(6),
        build_time_s: Some(1_624_412_045),
        signatures: 14,
        verified,
        // What the sample's `.info` is called, whatever the file is.
        own_name: matches!(verified, Verified::Genuine | Verified::Contents).then(|| "test".into()),
    }
}

/// A change to a header or an `.info`.
type Edit = fn(String) -> String;

/// The default container with one thing changed.
macro_rules! sample {
    ($($field:ident: $value:expr),* $(,)?) => {
        Sample { $($field: $value,)* ..Sample::default() }.build()
    };
}

#[test]
fn a_signed_cvd_is_genuine_packed_or_plain() {
    for compressed in [true, false] {
        let file = sample!(compressed: compressed);
        let expected = Ok(Some(database("daily", Verified::Genuine)));
        assert_eq!(check("daily.cvd", &file), expected);
    }
}

#[test]
fn the_databases_name_is_covered_by_nothing() {
    let file = sample!();
    let expected = Ok(Some(database("main", Verified::Genuine)));
    assert_eq!(check("a/main.cvd", &file), expected);
}

#[test]
fn another_key_is_refused_under_a_stock_name() {
    let file = sample!();
    for name in super::super::STOCK_NAMES {
        assert_eq!(
            CvdCheck::new(VerifyPolicy::Genuine, &format!("{name}.cvd"), &file).unwrap_err(),
            DatabaseError::OuterSignature(DsigError::Mismatch)
        );
    }
}

#[test]
fn an_unsigned_cvd_passes_under_other_names_only() {
    let file = sample!(signed: false);
    assert!(matches!(
        check("daily.cvd", &file),
        Err(DatabaseError::OuterSignature(_))
    ));
    assert_eq!(
        check("own.cvd", &file),
        Ok(Some(database("own", Verified::Contents)))
    );
}

#[test]
fn a_cud_needs_no_signature_and_may_have_none_in_its_info() {
    let file = sample!(signed: false);
    assert_eq!(
        check("daily.cud", &file),
        Ok(Some(database("daily", Verified::Contents)))
    );
    assert!(matches!(
        check("daily.cud", &sample!()),
        Err(DatabaseError::InfoLine { line: 4, .. })
    ));
}

#[test]
fn a_cld_is_believed_by_its_info_alone() {
    fn cld(header: String) -> String {
        let mut fields: Vec<&str> = header.split(':').collect();
        fields[5] = "X";
        fields[6] = "X";
        fields.join(":")
    }
    let file = sample!(header: cld, compressed: false);
    assert_eq!(
        check("daily.cld", &file),
        Ok(Some(database("daily", Verified::Genuine)))
    );
    assert!(matches!(
        check("daily.cvd", &file),
        Err(DatabaseError::HeaderField { field: 6, .. })
    ));
    let unsigned = sample!(header: cld, compressed: false, signed: false);
    assert_eq!(
        check("daily.cld", &unsigned),
        Err(DatabaseError::InfoUnsigned)
    );
    let header_only = check_with(KEYS, VerifyPolicy::Header, "daily.cld", &unsigned);
    assert_eq!(header_only, Ok(Some(database("daily", Verified::Header))));
}

#[test]
fn a_flipped_bit_of_the_body_shows_in_the_md5() {
    let good = sample!();
    for bit in (HEADER_BYTES * 8..good.len() * 8).step_by(61) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(check("daily.cvd", &bad), Err(DatabaseError::Md5 { .. })),
            "bit {bit}"
        );
    }
}

#[test]
fn a_truncated_or_lengthened_file_shows_in_the_md5() {
    let good = sample!();
    let mut long = good.clone();
    long.push(b'\n');
    for bad in [&good[..good.len() - 1], &good[..HEADER_BYTES], &long] {
        for policy in [VerifyPolicy::Genuine, VerifyPolicy::Header] {
            assert!(matches!(
                check_with(KEYS, policy, "daily.cvd", bad),
                Err(DatabaseError::Md5 { .. })
            ));
        }
    }
    assert_eq!(
        check("daily.cvd", &good[..511]),
        Err(DatabaseError::HeaderTruncated { got: 511 })
    );
}

#[test]
fn the_md5_error_names_both_sums() {
    let mut bad = sample!(signed: false);
    *bad.last_mut().unwrap() ^= 1;
    let message = check("own.cvd", &bad).unwrap_err().to_string();
    assert!(
        message.starts_with("header field 6 (MD5) says "),
        "{message}"
    );
    assert!(
        message.contains(", the file's bytes from offset 512 give "),
        "{message}"
    );
}

#[test]
fn a_md5_that_is_none_is_refused() {
    let file = sample!(header: |h| h.replacen(":90:", ":90:X", 1), signed: false);
    assert!(matches!(
        check("own.cud", &file),
        Err(DatabaseError::HeaderField { field: 6, .. })
    ));
}

#[test]
fn a_forged_header_passes_the_outer_layer_and_fails_the_info() {
    let forged: [(u8, Edit); 4] = [
        (3, |h| h.replacen(":6:14:", ":7:14:", 1)),
        (4, |h| h.replacen(":6:14:", ":6:15:", 1)),
        (5, |h| h.replacen(":14:90:", ":14:91:", 1)),
        (9, |h| h.replacen(":1624412045", ":1624412046", 1)),
    ];
    for (field, header) in forged {
        let file = sample!(header: header);
        assert!(CvdCheck::with_keys(VerifyPolicy::Genuine, "daily.cvd", &file, KEYS).is_ok());
        let error = check("daily.cvd", &file).unwrap_err();
        assert!(
            matches!(error, DatabaseError::HeaderDiffersFromInfo { field: f, .. } if f == field),
            "field {field}: {error}"
        );
        let cud = sample!(header: header, signed: false);
        assert!(matches!(
            check("daily.cud", &cud),
            Err(DatabaseError::HeaderDiffersFromInfo { .. })
        ));
        assert!(check_with(KEYS, VerifyPolicy::Header, "daily.cvd", &file).is_ok());
    }
}

#[test]
fn fields_that_clients_do_not_compare_may_differ() {
    let file = sample!(header: |h| h.replacen(":tester:", ":somebody:", 1));
    assert!(check("daily.cvd", &file).is_ok());
    let old = sample!(unix_time_s: None);
    let database = check("daily.cvd", &old).unwrap().unwrap();
    // Field 2 stands in: the same minute.
    assert_eq!(database.build_time_s, Some(1_624_412_040));
}

#[test]
fn an_info_changed_after_signing_is_refused() {
    let lines: [Edit; 3] = [
        |info| info.replacen(":14:", ":15:", 1),
        |info| info.replacen("test.ndb:", "test.mdb:", 1),
        |info| info.replacen("DSIG:", &format!("x.ndb:0:{}\nDSIG:", "0".repeat(64)), 1),
    ];
    for signed_info in lines {
        let file = sample!(signed_info: signed_info);
        assert!(matches!(
            check("daily.cvd", &file),
            Err(DatabaseError::InfoSignature { .. })
        ));
    }
    let unsigned = sample!(signed_info: |info| info[..info.find("DSIG").unwrap()].into());
    assert_eq!(
        check("daily.cvd", &unsigned),
        Err(DatabaseError::InfoUnsigned)
    );
}

#[test]
fn members_must_be_exactly_those_listed() {
    let unlisted = sample!(info: |info| info.lines().filter(|l| !l.starts_with("test.hdb")).fold(
        String::new(), |text, line| text + line + "\n"));
    assert_eq!(
        check("daily.cvd", &unlisted),
        Err(DatabaseError::MemberUnlisted {
            name: "test.hdb".into()
        })
    );
    let missing = sample!(info: |info| info + &format!("test.cfg:0:{}\n", "0".repeat(64)));
    assert_eq!(
        check("daily.cvd", &missing),
        Err(DatabaseError::MemberMissing {
            name: "test.cfg".into()
        })
    );
    let size = sample!(info: |info| info.replacen("test.hdb:23:", "test.hdb:24:", 1));
    assert_eq!(
        check("daily.cvd", &size),
        Err(DatabaseError::MemberSize {
            name: "test.hdb".into(),
            got: 23,
            listed: 24
        })
    );
    let sum = sample!(tar: |mut tar| {
        let at = tar.len() - 512;
        tar[at] ^= 1;
        tar
    });
    assert!(matches!(
        check("daily.cvd", &sum),
        Err(DatabaseError::MemberSum { name, .. }) if name == "test.hdb"
    ));
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    let file = sample!(tar: |mut tar| {
        tar.extend(tar_seal(tar_header("test.ndb", 0)));
        tar
    });
    assert_eq!(
        check("daily.cvd", &file),
        Err(DatabaseError::MemberTwice {
            name: "test.ndb".into()
        })
    );
}

#[test]
fn one_info_is_needed_and_only_one_allowed() {
    let none = sample!(info_name: "test.inf", signed: false);
    assert_eq!(check("own.cud", &none), Err(DatabaseError::InfoMissing));
    let two = sample!(tar: |mut tar| {
        tar.extend(tar_seal(tar_header("daily.INFO", 0)));
        tar
    });
    assert!(matches!(
        check("daily.cvd", &two),
        Err(DatabaseError::InfoTwice { .. })
    ));
    for name in ["daily.info", "x.INFO"] {
        assert!(check("daily.cvd", &sample!(info_name: name)).is_ok());
    }
    assert_eq!(
        check("own.cud", &sample!(info_name: ".info", signed: false)),
        Err(DatabaseError::InfoMissing)
    );
}

#[test]
fn a_claimed_info_size_is_refused_before_memory_is_taken() {
    let file =
        sample!(tar: |_| tar_seal(tar_header("test.info", INFO_BYTES_MAX + 1)), signed: false);
    assert_eq!(
        check("own.cud", &file),
        Err(DatabaseError::InfoTooLarge {
            name: "test.info".into(),
            size: INFO_BYTES_MAX + 1
        })
    );
    let claimed =
        sample!(tar: |_| tar_seal(tar_header("test.info", INFO_BYTES_MAX)), signed: false);
    assert!(matches!(
        check("own.cud", &claimed),
        Err(DatabaseError::TarTruncated { .. })
    ));
}

#[test]
fn opened_content_is_bounded() {
    let file = sample!(signed: false);
    let mut check = CvdCheck::new(VerifyPolicy::Genuine, "own.cud", &file).unwrap();
    check
        .opened(&tar_seal(tar_header("big", super::super::MEMBER_BYTES_MAX)))
        .unwrap();
    // Hashing two real gigabytes would take a minute; as if all but one block had passed.
    check.opened_bytes = OPENED_BYTES_MAX - 512;
    assert_eq!(check.opened(&[0; 512]), Ok(()));
    assert_eq!(check.opened(&[0]), Err(DatabaseError::OpenedTooLarge));
    check.packed(&file[HEADER_BYTES..]);
    assert_eq!(check.finish(), Err(DatabaseError::OpenedTooLarge));
}

#[test]
fn who_goes_on_after_an_error_ends_with_that_error() {
    let file = sample!(signed: false);
    let mut check = CvdCheck::new(VerifyPolicy::Genuine, "own.cud", &file).unwrap();
    check.packed(&file[HEADER_BYTES..]);
    let error = check.opened(&[b'x'; 512]).unwrap_err();
    let opened = gunzip(&file[HEADER_BYTES..]).unwrap();
    assert_eq!(check.opened(&opened), Err(error.clone()));
    assert_eq!(check.finish(), Err(error));
}

#[test]
fn a_body_that_was_not_fed_is_not_believed() {
    let file = sample!();
    let check = CvdCheck::with_keys(VerifyPolicy::Genuine, "daily.cvd", &file, KEYS).unwrap();
    assert!(matches!(check.finish(), Err(DatabaseError::Md5 { .. })));
    let mut check = CvdCheck::with_keys(VerifyPolicy::Genuine, "daily.cvd", &file, KEYS).unwrap();
    check.packed(&file[HEADER_BYTES..]);
    assert_eq!(check.finish(), Err(DatabaseError::InfoMissing));
}

#[test]
fn the_header_policy_asks_for_header_and_md5_only() {
    let file = sample!(signed: false, tar: |_| vec![b'x'; 600]);
    let expected = Ok(Some(database("daily", Verified::Header)));
    assert_eq!(
        check_with(KEYS, VerifyPolicy::Header, "daily.cvd", &file),
        expected
    );
    assert!(matches!(
        check_with(KEYS, VerifyPolicy::Header, "daily.cvd", b"<html>"),
        Err(DatabaseError::HeaderTruncated { .. })
    ));
}

#[test]
fn no_policy_asks_for_nothing_but_reads_what_it_can() {
    let mut file = sample!();
    file.truncate(600);
    let expected = Ok(Some(database("daily", Verified::None)));
    assert_eq!(
        check_with(KEYS, VerifyPolicy::None, "daily.cvd", &file),
        expected
    );
    assert_eq!(
        check_with(KEYS, VerifyPolicy::None, "daily.cvd", b"<html>"),
        Ok(None)
    );
}

#[test]
fn other_paths_are_refused_by_name() {
    for path in ["daily-7.cdiff", "daily.hdb", "daily-7.cvd.sign", ""] {
        let error = CvdCheck::new(VerifyPolicy::None, path, &[]).unwrap_err();
        assert!(matches!(error, DatabaseError::FileName { .. }));
    }
}

#[test]
fn every_refusal_comes_with_advice() {
    let errors = [
        check("daily.cvd", &sample!(signed: false)).unwrap_err(),
        check("daily.cvd", b"").unwrap_err(),
        check("daily", b"").unwrap_err(),
        check("own.cud", &sample!(info_name: "x", signed: false)).unwrap_err(),
    ];
    for error in errors {
        assert!(error.advice().len() > 20, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_opened_bytes_never_panic(opened in prop::collection::vec(any::<u8>(), 0..3000)) {
        let file = sample!(signed: false);
        let mut check = CvdCheck::new(VerifyPolicy::Genuine, "own.cld", &file).unwrap();
        let _ = check.opened(&opened);
        prop_assert!(check.finish().is_err());
    }

    #[test]
    fn a_flipped_bit_of_the_tar_is_refused_or_lies_where_nobody_reads(bit in any::<prop::sample::Index>()) {
        let good = sample!(compressed: false);
        let tar = &good[HEADER_BYTES..];
        let mut bad = tar.to_vec();
        let bit = bit.index(tar.len() * 8);
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut check = CvdCheck::with_keys(VerifyPolicy::Genuine, "daily.cld", &good, KEYS).unwrap();
        let _ = check.opened(&bad);
        let accepted = check.finish().is_ok();
        // Padding and COPYING are covered by the MD5 alone, which a .cld has not; so is a tar checksum's
        // spelling.
        let unread = tar[bit / 8] == 0 || (512..1024).contains(&(bit / 8))
            || (148..156).contains(&(bit / 8 % 512));
        prop_assert!(!accepted || unread, "bit {bit}");
    }
}
