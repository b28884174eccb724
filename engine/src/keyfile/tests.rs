//! Key files, ours and OpenSSL's.

use super::*;
use std::process::Command;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.into()).unwrap()
}

#[test]
fn a_key_reads_back_and_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    let key = generate_at(&path).unwrap();
    assert_eq!(load(&path).unwrap().public(), key.public());
    assert!(generate_at(&path).is_err());
    assert_eq!(load_or_generate(&path).unwrap().public(), key.public());
}

#[test]
fn something_else_is_said_to_be_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    assert!(matches!(load(&path), Err(KeyFileError::Missing { .. })));
    durable::create(&path, b"-----BEGIN NONSENSE-----", Access::OwnerOnly).unwrap();
    assert!(matches!(load(&path), Err(KeyFileError::Malformed { .. })));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    generate_at(&path).unwrap();
    let chmod = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
    };
    for open in [0o640, 0o604, 0o620, 0o601] {
        chmod(open);
        let error = load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Open { mode, .. } if mode == open));
        assert!(load_or_generate(&path).is_err());
    }
    chmod(0o400);
    load(&path).unwrap();
}

/// Whether there is an `openssl` command; says so when there is none.
fn no_openssl(test: &str) -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    if missing {
        crate::skip::skip(test, "there is no openssl command");
    }
    missing
}

/// Runs `openssl` with these arguments and this file behind them.
fn openssl(arguments: &[&str], file: &Path) -> Vec<u8> {
    let run = Command::new("openssl").args(arguments).arg(file).output();
    let run = run.unwrap();
    assert!(run.status.success(), "{arguments:?}: {run:?}");
    run.stdout
}

/// The public key OpenSSL finds in a file: the last 32 of the 44 bytes of a SubjectPublicKeyInfo.
fn public_of(path: &Path, more: &[&str]) -> String {
    let arguments = [&["pkey", "-pubout", "-outform", "DER"], more, &["-in"]].concat();
    let bytes = openssl(&arguments, path);
    bytes[12..].iter().map(|b| format!("{b:02x}")).collect()
}

fn only_for_the_owner(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn openssl_reads_our_keys_and_we_read_openssls() {
    if no_openssl("openssl_reads_our_keys_and_we_read_openssls") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let key = generate_at(&ours).unwrap();
    assert_eq!(public_of(&ours, &[]), key.public().to_string());
    assert_eq!(find_public(&ours).unwrap(), None);

    openssl(&["genpkey", "-algorithm", "ed25519", "-out"], &theirs);
    only_for_the_owner(&theirs);
    let loaded = load(&theirs).unwrap();
    assert_eq!(public_of(&theirs, &[]), loaded.public().to_string());

    let public = folder.path().join("public");
    std::fs::write(&public, openssl(&["pkey", "-pubout", "-in"], &theirs)).unwrap();
    assert_eq!(find_public(&public).unwrap(), Some(loaded.public()));
}

#[test]
fn openssl_opens_our_locked_keys_and_we_open_what_it_locks() {
    if no_openssl("openssl_opens_our_locked_keys_and_we_open_what_it_locks") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (ours, plain) = (path("ours"), path("plain"));
    let key = generate_at(&plain).unwrap();
    create(&ours, &key, Some(&passphrase("käse & wein"))).unwrap();
    let given = ["-passin", "pass:käse & wein"];
    assert_eq!(public_of(&ours, &given), key.public().to_string());

    let pbkdf2 = ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"];
    let aes128 = ["-v2", "aes-128-cbc", "-iter", "100000"];
    for (name, how) in [
        ("scrypt", &["-scrypt"][..]),
        ("pbkdf2", &pbkdf2),
        ("aes128", &aes128),
    ] {
        let theirs = path(name);
        let plain = plain.to_str().unwrap();
        let lock = ["pkcs8", "-topk8", "-passout", "pass:x", "-in", plain];
        openssl(&[&lock, how, &["-out"]].concat(), &theirs);
        only_for_the_owner(&theirs);
        let Found::Locked(locked) = find(&theirs).unwrap() else {
            panic!("{name} is not locked")
        };
        let opened = locked.unlock(&passphrase("x")).unwrap();
        assert_eq!(opened.public(), key.public(), "{name}");
    }
    // 3DES and SHA-1 are no protection any more.
    let old = path("old");
    let plain = plain.to_str().unwrap();
    let lock = ["pkcs8", "-topk8", "-passout", "pass:x", "-in", plain];
    let weak = ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-out"];
    openssl(&[&lock[..], &weak].concat(), &old);
    only_for_the_owner(&old);
    let Found::Locked(locked) = find(&old).unwrap() else {
        panic!("not locked")
    };
    let refused = locked.unlock(&passphrase("x")).unwrap_err();
    assert!(
        matches!(refused, KeyFileError::Encryption { .. }),
        "{refused}"
    );
}

#[test]
fn the_form_with_the_public_key_is_read_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    let key = generate().unwrap();
    let pem = key.as_dalek().to_pkcs8_pem(LineEnding::LF).unwrap();
    durable::create(&path, pem.as_bytes(), Access::OwnerOnly).unwrap();
    assert_eq!(load(&path).unwrap().public(), key.public());
}

/// A locked key, and the key.
fn locked_at(path: &Path) -> SecretKey {
    let key = generate().unwrap();
    create(path, &key, Some(&passphrase("right"))).unwrap();
    key
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only_and_not_where_nobody_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let key = locked_at(&path);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(load(&path), Err(KeyFileError::Locked { .. })));
    let Found::Locked(locked) = find(&path).unwrap() else {
        panic!("not locked")
    };
    for wrong in ["Right", "right ", "x"] {
        let refused = locked.unlock(&passphrase(wrong)).unwrap_err();
        assert!(
            matches!(refused, KeyFileError::WrongPassphrase { .. }),
            "{wrong}: {refused}"
        );
    }
    let opened = locked.unlock(&passphrase("right")).unwrap();
    assert_eq!(opened.public(), key.public());
    let text = format!("{locked:?} {opened:?} {:?}", passphrase("right"));
    assert!(!text.contains("right"), "{text}");
}

/// A key under the passphrase `right` that opens in microseconds.
fn locked_cheaply(key: &SecretKey) -> SecretDocument {
    use pkcs8::pkcs5::pbes2::Parameters;
    let plain = key.as_dalek().to_pkcs8_der().unwrap();
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(2, &[0; 8], [0; 16]).unwrap();
    let encrypted = parameters.encrypt("right", plain.as_bytes()).unwrap();
    let info = EncryptedPrivateKeyInfoOwned {
        encryption_algorithm: parameters.into(),
        encrypted_data: pkcs8::der::asn1::OctetString::new(encrypted).unwrap(),
    };
    SecretDocument::try_from(info).unwrap()
}

#[test]
fn a_damaged_locked_key_is_refused_whichever_bit_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let key = generate().unwrap();
    let document = locked_cheaply(&key);
    let mut opened = 0;
    for at in 0..document.as_bytes().len() {
        let mut bytes = document.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        let Ok(damaged) = SecretDocument::try_from(bytes) else {
            continue;
        };
        let damaged = damaged
            .to_pem(EncryptedPrivateKeyInfoOwned::PEM_LABEL, LineEnding::LF)
            .unwrap();
        std::fs::write(&path, damaged.as_bytes()).unwrap();
        if let Ok(Found::Locked(locked)) = find(&path)
            && let Ok(other) = locked.unlock(&passphrase("right"))
        {
            // CBC vouches for nothing: a bit of the seed can change unnoticed. It is another key then, which no
            // root names.
            assert_ne!(other.public(), key.public(), "byte {at}");
            opened += 1;
        }
    }
    assert!(opened <= 32, "{opened} damaged files were opened");
}

#[test]
fn a_key_file_cannot_ask_for_more_than_seconds_and_256_mib() {
    use pkcs8::pkcs5::pbes2::{
        EncryptionScheme, Kdf, Parameters, Pbkdf2Params, Salt, ScryptParams,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let scrypt = |n, r, p| {
        Kdf::Scrypt(ScryptParams {
            salt: Salt::new([0; 8]).unwrap(),
            cost_parameter: n,
            block_size: r,
            parallelization: p,
            key_length: None,
        })
    };
    let pbkdf2 = |rounds| Kdf::Pbkdf2(Pbkdf2Params::hmac_sha256(rounds, &[0; 8]).unwrap());
    for (kdf, fair) in [
        (scrypt(1 << 17, 8, 1), true),
        (scrypt(1 << 18, 8, 1), false),
        (scrypt(1 << 14, 8, 65), false),
        (scrypt(u64::MAX, u16::MAX, u16::MAX), false),
        (scrypt(1 << 5, 8, u16::MAX), false),
        (scrypt(0, 8, 1), false),
        (pbkdf2(10_000_000), true),
        (pbkdf2(10_000_001), false),
    ] {
        let parameters = Parameters {
            kdf: kdf.clone(),
            encryption: EncryptionScheme::Aes256Cbc { iv: [0; 16] },
        };
        let info = EncryptedPrivateKeyInfoOwned {
            encryption_algorithm: parameters.into(),
            encrypted_data: pkcs8::der::asn1::OctetString::new([0; 64]).unwrap(),
        };
        let document = SecretDocument::try_from(info).unwrap();
        let pem = document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF);
        std::fs::write(&path, pem.unwrap().as_bytes()).unwrap();
        only_for_the_owner(&path);
        assert_eq!(find(&path).is_ok(), fair, "{kdf:?}");
    }
}

#[test]
fn scrypt_parameters_that_make_no_sense_do_not_panic() {
    use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, Salt, ScryptParams};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    for (n, r, p) in [(3, 8, 1), (1, 8, 1), (16, 0, 1), (16, 8, 0), (2, 1, 1)] {
        let parameters = Parameters {
            kdf: Kdf::Scrypt(ScryptParams {
                salt: Salt::new([0; 8]).unwrap(),
                cost_parameter: n,
                block_size: r,
                parallelization: p,
                key_length: Some(7),
            }),
            encryption: EncryptionScheme::Aes256Cbc { iv: [0; 16] },
        };
        let info = EncryptedPrivateKeyInfoOwned {
            encryption_algorithm: parameters.into(),
            encrypted_data: pkcs8::der::asn1::OctetString::new([0; 64]).unwrap(),
        };
        let document = SecretDocument::try_from(info).unwrap();
        let pem = document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF);
        std::fs::write(&path, pem.unwrap().as_bytes()).unwrap();
        only_for_the_owner(&path);
        if let Ok(Found::Locked(locked)) = find(&path) {
            assert!(locked.unlock(&passphrase("x")).is_err(), "{n} {r} {p}");
        }
    }
}

#[test]
fn a_passphrase_is_the_first_line_of_a_file_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passphrase");
    let read = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        only_for_the_owner(&path);
        Passphrase::read(&path)
    };
    assert_eq!(read(b"a b \r\nmore").unwrap(), passphrase("a b "));
    for bad in [&b""[..], b"\nx", b"\xff", &[b'x'; PASSPHRASE_BYTES + 1]] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    std::fs::write(&path, "x").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Passphrase::read(&path),
        Err(KeyFileError::Open { .. })
    ));
}
