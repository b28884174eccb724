//! Databases in a tree.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use md5::{Digest, Md5};
use sha2::Sha256;
use tidecast_proto::{
    database::DatabaseError,
    id::ReleaseNumber,
    manifest::{Database, ManifestError},
};

use super::*;
use crate::genuine::GzipError;
use crate::publish::{CDIFF_BYTES, DatabaseChange, DatabaseFault};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar member as old tar writes it, which is what sigtool does.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// An unsigned container of one member: a `.cud`, or a `.cvd` under a name no stock client verifies.
fn container(version: u32, name: &str, content: &[u8], pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let header = |md5: &str| {
        format!("ClamAV-VDB:22 Jun 2021 21-34 -0400:{version}:1:90:{md5}:X:me:1624412045")
    };
    let mut info = header("X") + "\n";
    info += &format!(
        "{name}.ndb:{}:{}\n",
        content.len(),
        hex(&Sha256::digest(content))
    );
    let tar = [
        member("COPYING", b"free"),
        member(&format!("{name}.info"), info.as_bytes()),
        member(&format!("{name}.ndb"), content),
        vec![0; 1024],
    ]
    .concat();
    let body = pack(&tar);
    let mut file = header(&hex(&Md5::digest(&body))).into_bytes();
    file.resize(512, b' ');
    file.extend_from_slice(&body);
    file
}

fn cvd(version: u32) -> Vec<u8> {
    container(version, "own", &noise(3, 900_000), gzip)
}

/// A cdiff nobody signed, leading to `version`.
fn cdiff(version: u32, script: &[u8]) -> Vec<u8> {
    let mut bytes = format!("ClamAV-Diff:{version}:{}:", script.len()).into_bytes();
    bytes.extend(gzip(script));
    bytes.extend(b":");
    bytes.extend([b'A'; 342]);
    bytes
}

fn genuine() -> Feed {
    let mut feed = Feed::new();
    feed.verify = VerifyPolicy::Genuine;
    feed
}

fn fault(feed: &Feed, at: &str) -> DatabaseFault {
    let outcome = feed.publish();
    assert_eq!(feed.store().newest(), None);
    match outcome {
        Err(PublishError::Database { path, source }) if path.as_str() == at => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn containers_are_opened_and_checked_and_noted_in_the_manifest() {
    let feed = genuine();
    feed.write("own.cvd", &cvd(7));
    feed.write(
        "x/plain.cud",
        &container(3, "plain", b"sig\n", <[u8]>::to_vec),
    );
    feed.write("own-7.cdiff", &cdiff(7, b"OPEN own.ndb\nADD x\nCLOSE\n"));
    feed.write("empty-8.cdiff", b"");
    let report = feed.publish().unwrap();
    let manifest = feed.manifest(1);
    let database = |path| manifest.file(path).unwrap().database.clone();
    let own = Database {
        name: "own".to_owned(),
        version: 7,
        build_time_s: 1_624_412_045,
    };
    assert_eq!(database("own.cvd"), Some(own));
    assert_eq!(database("x/plain.cud"), None);
    assert_eq!(database("own-7.cdiff"), None);
    let change = report
        .changes
        .iter()
        .find(|c| c.path.as_str() == "own.cvd")
        .unwrap();
    let expected = DatabaseChange {
        name: "own".to_owned(),
        old: None,
        new: Some(7),
    };
    assert_eq!(change.database, Some(expected));
    assert_eq!(feed.content(1, "own.cvd"), cvd(7));
    // What is remembered of it survives a publish that does not read it.
    feed.write("other", b"x");
    assert_eq!(feed.publish().unwrap().read_bytes, 1);
    assert_eq!(feed.manifest(2).file("own.cvd"), manifest.file("own.cvd"));
}

#[test]
fn a_bad_database_is_named_with_what_is_wrong() {
    let feed = genuine();
    let good = cvd(7);
    let publish = |bytes: &[u8]| {
        feed.write("d/own.cvd", bytes);
        fault(&feed, "d/own.cvd")
    };
    assert!(matches!(
        publish(b"<html>"),
        DatabaseFault::Rule(DatabaseError::HeaderTruncated { got: 6 })
    ));
    let mut flipped = good.clone();
    flipped[600_000] ^= 1;
    publish(&flipped);
    assert_eq!(
        publish(&good[..good.len() - 1]),
        DatabaseFault::Gzip(GzipError::Truncated)
    );
    assert_eq!(
        publish(&[&good, b"rubbish, long enough".as_slice()].concat()),
        DatabaseFault::Gzip(GzipError::Damaged)
    );
    let mut other_md5 = good.clone();
    let at = good.windows(4).position(|four| four == b":90:").unwrap() + 4;
    other_md5[at] = if other_md5[at] == b'0' { b'1' } else { b'0' };
    assert!(matches!(
        publish(&other_md5),
        DatabaseFault::Rule(DatabaseError::Md5 { .. })
    ));
    feed.remove("d/own.cvd");

    // Stock names need the genuine signatures.
    feed.write("daily.cvd", &container(7, "daily", b"sig\n", gzip));
    let error = fault(&feed, "daily.cvd");
    assert!(
        matches!(error, DatabaseFault::Rule(DatabaseError::OuterSignature(_))),
        "{error}"
    );
}

#[test]
fn a_bad_cdiff_is_named_with_what_is_wrong() {
    let feed = genuine();
    let publish = |bytes: &[u8]| {
        feed.write("own-7.cdiff", bytes);
        fault(&feed, "own-7.cdiff")
    };
    let script = b"OPEN own.ndb\nADD x\nCLOSE\n";
    assert!(matches!(
        publish(&cdiff(8, script)),
        DatabaseFault::Rule(DatabaseError::CdiffVersion { .. })
    ));
    assert!(matches!(
        publish(&cdiff(7, b"EXEC rm\n")),
        DatabaseFault::Rule(DatabaseError::Script { .. })
    ));
    assert_eq!(
        publish(&vec![b'x'; CDIFF_BYTES + 1]),
        DatabaseFault::CdiffLong
    );
}

#[test]
fn a_gzip_bomb_is_stopped() {
    let feed = genuine();
    let mut file = container(7, "own", b"sig\n", gzip);
    file.truncate(512);
    // 3 GB of zeros in 3 MB, made of one member many times over.
    let member = gzip(&vec![0; 16 << 20]);
    for _ in 0..192 {
        file.extend_from_slice(&member);
    }
    feed.write("own.cvd", &file);
    let error = fault(&feed, "own.cvd");
    assert!(matches!(error, DatabaseFault::Rule(_)), "{error}");
}

#[test]
fn the_policy_says_how_much_is_checked() {
    let mut feed = Feed::new();
    feed.verify = VerifyPolicy::Header;
    // Signed by nobody and no tar inside, but header and MD5 agree.
    feed.write(
        "daily.cvd",
        &container(7, "daily", b"sig\n", |_| b"anything".to_vec()),
    );
    feed.publish().unwrap();
    assert_eq!(
        feed.manifest(1).files[0].database.as_ref().unwrap().version,
        7
    );
    // A stricter policy does not believe what the looser one remembered.
    feed.verify = VerifyPolicy::Genuine;
    assert!(matches!(feed.publish(), Err(PublishError::Database { .. })));
    feed.verify = VerifyPolicy::None;
    feed.write("daily.cvd", b"no database at all");
    feed.publish().unwrap();
    assert_eq!(feed.manifest(2).files[0].database, None);
}

#[test]
fn a_database_goes_back_only_under_the_flag() {
    let mut feed = genuine();
    feed.write("own.cvd", &cvd(7));
    feed.publish().unwrap();
    let refused = |feed: &Feed, at: &str| match feed.publish() {
        Err(PublishError::Successor(ManifestError::DatabaseRollback {
            path,
            had: 7,
            got: 6,
        })) => {
            assert_eq!(path.as_str(), at);
        }
        other => panic!("{other:?}"),
    };
    feed.write("own.cvd", &cvd(6));
    refused(&feed, "own.cvd");
    // Nor as another kind of container.
    feed.remove("own.cvd");
    feed.flags.allow_shrink = true;
    feed.write("own.cld", &container(6, "own", b"sig\n", gzip));
    refused(&feed, "own.cld");
    feed.flags.allow_database_rollback = true;
    assert_eq!(feed.publish().unwrap().release, ReleaseNumber(2));
}

#[test]
fn one_database_in_two_containers_is_refused() {
    let feed = genuine();
    feed.write("own.cvd", &cvd(7));
    feed.write("own.cld", &container(6, "own", b"sig\n", gzip));
    let outcome = feed.publish();
    let Err(PublishError::DatabaseTwice { first, second }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((first.as_str(), second.as_str()), ("own.cld", "own.cvd"));
    feed.remove("own.cld");
    feed.write("staging/own.cvd", &cvd(8));
    feed.publish().unwrap();
}

#[test]
fn a_sign_file_that_lost_its_bytes_is_warned_of() {
    let feed = genuine();
    feed.write("own.cvd", &cvd(7));
    feed.write("own-7.cvd.sign", b"s");
    feed.write("a/x.hdb", b"1");
    feed.write("a/x.hdb.sign", b"s");
    assert_eq!(feed.publish().unwrap().warnings, Vec::<String>::new());
    feed.write("own.cvd", &cvd(8));
    feed.write("a/x.hdb", b"2");
    feed.write("y.hdb.sign", b"s");
    assert_eq!(
        feed.publish().unwrap().warnings,
        [
            "a/x.hdb.sign: a/x.hdb changed and this did not",
            "own-7.cvd.sign: own.cvd has version 8 now",
            "y.hdb.sign: there is no y.hdb it could sign",
        ]
    );
}
