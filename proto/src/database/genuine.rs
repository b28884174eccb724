//! The real keys against real files, and against the same files tampered with.
//!
//! `TIDECAST_TESTDATA` names a folder that holds `test-1.cvd` to `test-6.cvd` and `test-2.cdiff` to
//! `test-6.cdiff`, as found in `unit_tests/input/freshclam_testfiles` of ClamAV's source, and
//! optionally `bytecode.cvd` from `unit_tests/input/bytecode_sigs`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use std::path::PathBuf;
use std::{env, eprintln, fs};

use super::samples::gunzip;
use super::{
    Cdiff, CvdCheck, Database, DatabaseError, DatabaseVersion, HEADER_BYTES, OtherScript,
    ScriptCheck, Verified, VerifyPolicy, is_plain_body,
};

/// The folder, or `None` after saying loudly that `test` did not run.
fn testdata(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("TIDECAST_TESTDATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "SKIPPED {test}: set TIDECAST_TESTDATA to a folder with ClamAV's test-1.cvd to test-6.cvd and \
             test-2.cdiff to test-6.cdiff"
        );
    }
    folder
}

fn read(folder: &std::path::Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(path: &str, file: &[u8]) -> Result<Option<Database>, DatabaseError> {
    let (header, body) = file.split_at(HEADER_BYTES);
    let mut check = CvdCheck::new(VerifyPolicy::Genuine, path, header)?;
    check.packed(body);
    let opened = if is_plain_body(body) {
        Some(body.to_vec())
    } else {
        gunzip(body)
    };
    let _ = check.opened(&opened.unwrap_or_default());
    check.finish()
}

/// The file with the first `from` in its header replaced by `to` of the same length.
fn edited(file: &[u8], from: &str, to: &str) -> Vec<u8> {
    let header = core::str::from_utf8(&file[..HEADER_BYTES]).unwrap();
    assert!(header.contains(from), "{header}");
    let mut edited = header.replacen(from, to, 1).into_bytes();
    edited.extend(&file[HEADER_BYTES..]);
    edited
}

#[test]
fn genuine_containers_verify() {
    let Some(folder) = testdata("genuine_containers_verify") else {
        return;
    };
    // Build times and counts as the headers of the files state them.
    for (version, build_time_s, signatures) in [
        (1, 1_624_388_302, 0),
        (2, 1_624_395_301, 0),
        (3, 1_624_408_809, 11),
        (4, 1_624_411_776, 12),
        (5, 1_624_411_902, 13),
        (6, 1_624_412_045, 14),
    ] {
        let database = Database {
            name: "test".into(),
            version: DatabaseVersion(version),
            build_time_s: Some(build_time_s),
            signatures,
            verified: Verified::Genuine,
            own_name: Some("test".into()),
        };
        let file = read(&folder, &format!("test-{version}.cvd"));
        assert_eq!(
            check("test.cvd", &file),
            Ok(Some(database)),
            "test-{version}.cvd"
        );
    }
}

#[test]
fn the_official_bytecode_database_verifies() {
    let test = "the_official_bytecode_database_verifies";
    let Some(folder) = testdata(test) else { return };
    let Ok(file) = fs::read(folder.join("bytecode.cvd")) else {
        eprintln!("SKIPPED {test}: TIDECAST_TESTDATA holds no bytecode.cvd");
        return;
    };
    let database = check("bytecode.cvd", &file).unwrap().unwrap();
    assert_eq!(database.verified, Verified::Genuine);
    assert_eq!(database.version, DatabaseVersion(19));
    assert_eq!(database.build_time_s, Some(1_273_845_430));
    assert_eq!(database.signatures, 3);
}

#[test]
fn genuine_containers_verify_under_another_databases_name_as_clients_have_it() {
    let Some(folder) =
        testdata("genuine_containers_verify_under_another_databases_name_as_clients_have_it")
    else {
        return;
    };
    for (path, version) in [("daily.cvd", 6), ("main.cvd", 5)] {
        let file = read(&folder, &format!("test-{version}.cvd"));
        let database = check(path, &file).unwrap().unwrap();
        assert_eq!(database.version, DatabaseVersion(version));
        assert_eq!(database.verified, Verified::Genuine);
        assert_eq!(database.own_name.as_deref(), Some("test"));
    }
}

#[test]
fn tampered_containers_are_refused() {
    let Some(folder) = testdata("tampered_containers_are_refused") else {
        return;
    };
    let good = read(&folder, "test-6.cvd");
    for bit in (HEADER_BYTES * 8..good.len() * 8).step_by(997) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(check("test.cvd", &bad), Err(DatabaseError::Md5 { .. })),
            "bit {bit}"
        );
    }
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(
        check("test.cvd", &long),
        Err(DatabaseError::Md5 { .. })
    ));
    let short = &good[..good.len() - 1];
    assert!(matches!(
        check("test.cvd", short),
        Err(DatabaseError::Md5 { .. })
    ));
    let dsig = edited(&good, ":Dou6", ":Eou6");
    assert!(matches!(
        check("test.cvd", &dsig),
        Err(DatabaseError::OuterSignature(_))
    ));
    let unsigned = edited(&good, ":Dou6", ":=ou6");
    assert!(matches!(
        check("test.cvd", &unsigned),
        Err(DatabaseError::OuterSignature(_))
    ));
    let md5 = edited(&good, ":3e249e", ":4e249e");
    assert!(matches!(
        check("test.cvd", &md5),
        Err(DatabaseError::OuterSignature(_))
    ));
}

#[test]
fn a_forged_version_passes_the_outer_signature_and_fails_the_info() {
    let Some(folder) = testdata("a_forged_version_passes_the_outer_signature_and_fails_the_info")
    else {
        return;
    };
    let forged = edited(&read(&folder, "test-6.cvd"), ":6:14:", ":7:14:");
    assert!(CvdCheck::new(VerifyPolicy::Genuine, "test.cvd", &forged).is_ok());
    assert_eq!(
        check("test.cvd", &forged),
        Err(DatabaseError::HeaderDiffersFromInfo {
            field: 3,
            name: "version",
            header: "7".into(),
            info: "6".into()
        })
    );
    let header = CvdCheck::new(VerifyPolicy::Header, "test.cvd", &forged);
    assert_eq!(
        header.unwrap().header().unwrap().version,
        DatabaseVersion(7)
    );
}

#[test]
fn a_flipped_member_byte_in_a_cld_is_refused() {
    let Some(folder) = testdata("a_flipped_member_byte_in_a_cld_is_refused") else {
        return;
    };
    let cvd = read(&folder, "test-6.cvd");
    // What a client makes of it: the opened tar behind a header without sums.
    let header = core::str::from_utf8(&cvd[..HEADER_BYTES])
        .unwrap()
        .trim_end();
    let mut fields: Vec<&str> = header.split(':').collect();
    fields[5] = "X";
    fields[6] = "X";
    let header: String = fields.join(":");
    let mut cld = format!("{header:<512}").into_bytes();
    cld.extend(gunzip(&cvd[HEADER_BYTES..]).unwrap());
    assert_eq!(
        check("test.cld", &cld).unwrap().unwrap().verified,
        Verified::Genuine
    );

    let at = cld.windows(8).position(|w| w == b"test.cfg").unwrap();
    let member = cld.windows(8).rposition(|w| w == b"test.cfg").unwrap();
    assert!(at < member, "listed first, then there");
    let mut bad = cld.clone();
    bad[member + 512] ^= 1;
    assert!(matches!(
        check("test.cld", &bad),
        Err(DatabaseError::MemberSum { name, .. }) if name == "test.cfg"
    ));
    let mut forged = cld;
    forged[at + 9] ^= 1;
    assert!(matches!(
        check("test.cld", &forged),
        Err(DatabaseError::InfoSignature { .. })
    ));
}

#[test]
fn genuine_cdiffs_verify_and_their_scripts_read() {
    let Some(folder) = testdata("genuine_cdiffs_verify_and_their_scripts_read") else {
        return;
    };
    for version in 2..=6 {
        let name = format!("test-{version}.cdiff");
        let file = read(&folder, &name);
        let cdiff = Cdiff::check(VerifyPolicy::Genuine, &name, &file).unwrap();
        assert_eq!(cdiff.version, DatabaseVersion(version));
        assert_eq!(cdiff.verified, Verified::Genuine);
        let content = cdiff.content.unwrap();
        let mut script = ScriptCheck::new();
        script.opened(&gunzip(content.packed).unwrap()).unwrap();
        let script = script.finish().unwrap();
        assert_eq!(script.bytes, content.script_bytes, "{name}");
        assert!(script.commands >= 4, "{name}");
        assert_eq!(script.is_for("test", DatabaseVersion(version)), Ok(()));
        assert_eq!(
            script.is_for("daily", DatabaseVersion(version)),
            Err(OtherScript::OtherDatabase("test".into()))
        );
    }
}

#[test]
fn tampered_cdiffs_are_refused() {
    let Some(folder) = testdata("tampered_cdiffs_are_refused") else {
        return;
    };
    let good = read(&folder, "test-3.cdiff");
    let check =
        |bytes: &[u8]| Cdiff::check(VerifyPolicy::Genuine, "test-3.cdiff", bytes).map(|_| ());
    assert_eq!(check(&good), Ok(()));
    for bit in (0..good.len() * 8).step_by(211) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&bad).is_err(), "bit {bit}");
    }
    let mut long = good.clone();
    long.push(b'a');
    // One more most significant digit of value zero spells the same number; any other one does not.
    assert_eq!(check(&long), Ok(()));
    *long.last_mut().unwrap() = b'b';
    assert!(matches!(
        check(&long),
        Err(DatabaseError::CdiffSignature(_))
    ));

    let mut version = good.clone();
    let at = b"ClamAV-Diff:".len();
    assert_eq!(version[at], b'3');
    version[at] = b'4';
    assert!(matches!(
        check(&version),
        Err(DatabaseError::CdiffVersion { .. })
    ));
    assert!(matches!(
        Cdiff::check(VerifyPolicy::Genuine, "test-4.cdiff", &version),
        Err(DatabaseError::CdiffSignature(_))
    ));
}
