//! Apache and nginx in front of a docroot, configured as the README says, and the real freshclam
//! behind them. The docroot is laid out by hand here: the servers' part is what is tested.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use support::freshclam::{Freshclam, Mode};
use support::http::get;
use support::relay::Relay;
use support::servers::{APACHE_SNIPPET, Kind, NGINX_SNIPPET, WebServer};

/// Build times of test-5.cvd and test-6.cvd, from their headers.
const BUILT_5: u64 = 1_624_411_902;
const BUILT_6: u64 = 1_624_412_045;

/// Lays a release out as SPEC §8 says: the tree, `current`, a link per top-level name.
fn install(docroot: &Path, release: u32, files: &[(&str, Vec<u8>, u64)]) {
    let tree = docroot.join(format!(".tidecast/r{release}"));
    fs::create_dir_all(&tree).unwrap();
    for (name, bytes, modified_s) in files {
        fs::write(tree.join(name), bytes).unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(*modified_s);
        File::options()
            .write(true)
            .open(tree.join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let link = docroot.join(name);
        if link.symlink_metadata().is_err() {
            symlink(format!(".tidecast/current/{name}"), link).unwrap();
        }
    }
    let next = docroot.join(".tidecast/current.tmp");
    symlink(format!("r{release}"), &next).unwrap();
    fs::rename(next, docroot.join(".tidecast/current")).unwrap();
}

fn a_docroot() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let docroot = folder.path().join("docroot");
    fs::create_dir(&docroot).unwrap();
    (folder, docroot)
}

fn serves_the_live_release_and_nothing_else(test: &str, kind: Kind) {
    let (_folder, docroot) = a_docroot();
    let old: Vec<u8> = (0..=255).cycle().take(2_000).collect();
    install(&docroot, 1, &[("test.cvd", old.clone(), BUILT_5)]);
    fs::create_dir(docroot.join("folder")).unwrap();
    fs::write(docroot.join("local_logo.png"), b"logo").unwrap();
    let Some(server) = WebServer::start(test, kind, &docroot) else {
        return;
    };
    let port = server.port();

    let whole = get(port, "/test.cvd", &["Accept-Encoding: gzip, deflate"]);
    assert_eq!((whole.status, &whole.body), (200, &old));
    assert_eq!(whole.header("content-length"), Some("2000"));
    assert_eq!(whole.header("content-encoding"), None);
    let modified = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(BUILT_5));
    assert_eq!(whole.header("last-modified"), Some(modified.as_str()));
    let part = get(port, "/test.cvd?version=5", &["Range: bytes=0-511"]);
    assert_eq!((part.status, part.body.as_slice()), (206, &old[..512]));
    let condition = format!("If-Modified-Since: {modified}");
    assert_eq!(get(port, "/test.cvd", &[&condition]).status, 304);
    assert_eq!(get(port, "/local_logo.png", &[]).body, b"logo");

    let hidden = [
        "/.tidecast/current/test.cvd",
        "/.tidecast/r1/test.cvd",
        "/%2etidecast/current/test.cvd",
        "//.tidecast/",
        "/.tidecast",
        "/folder/",
        "/folder",
        "/",
        "/absent.cvd",
        "/test.cvd/below",
    ];
    for target in hidden {
        let status = get(port, target, &[]).status;
        // A folder without its slash may be redirected to itself; the answer there is 404.
        assert!(
            status == 404 || (target == "/folder" && status == 301),
            "{kind:?} answered {status} for {target}"
        );
    }

    install(&docroot, 2, &[("test.cvd", b"new".to_vec(), BUILT_6)]);
    assert_eq!(get(port, "/test.cvd", &[]).body, b"new");
}

#[test]
fn nginx_serves_the_live_release_and_nothing_else() {
    serves_the_live_release_and_nothing_else(
        "nginx_serves_the_live_release_and_nothing_else",
        Kind::Nginx,
    );
}

#[test]
fn apache_serves_the_live_release_and_nothing_else() {
    serves_the_live_release_and_nothing_else(
        "apache_serves_the_live_release_and_nothing_else",
        Kind::Apache,
    );
}

/// First fetch, up to date, update by a cdiff across a switch: what freshclam asks and what it gets
/// is the same as from any well-kept mirror.
fn freshclam_is_content_with(test: &str, kind: Kind) {
    let Some(data) = support::genuine(test) else {
        return;
    };
    let Some(client) = Freshclam::new(test) else {
        return;
    };
    let file = |name: &str| fs::read(data.join(name)).unwrap();
    let (_folder, docroot) = a_docroot();
    install(&docroot, 1, &[("test.cvd", file("test-5.cvd"), BUILT_5)]);
    let Some(server) = WebServer::start(test, kind, &docroot) else {
        return;
    };
    let relay = Relay::to(server.port());
    let update = || {
        let outcome = client.run(Mode::DatabaseMirror, &[relay.port()], Some("test"));
        assert_eq!(outcome.code, Some(0), "{}", outcome.output);
        relay.take_short()
    };

    let first = ["/test.cvd R -> 206/512", "/test.cvd -> 200/9818"];
    assert_eq!(update(), first);
    assert_eq!(client.versions()["test.cvd"], 5);
    assert_eq!(update(), ["/test.cvd R I -> 304/0"]);

    let cdiff = file("test-6.cdiff");
    let files = [
        ("test.cvd", file("test-6.cvd"), BUILT_6),
        ("test-6.cdiff", cdiff, BUILT_6 + 60),
    ];
    install(&docroot, 2, &files);
    let second = ["/test.cvd R I -> 206/512", "/test-6.cdiff -> 200/973"];
    assert_eq!(update(), second);
    assert_eq!(client.versions()["test.cld"], 6);
    assert_eq!(update(), ["/test.cvd R I -> 304/0"]);
}

#[test]
fn the_readme_shows_the_settings_that_are_tested_here() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    for snippet in [NGINX_SNIPPET, APACHE_SNIPPET] {
        assert!(readme.contains(snippet), "README.md lacks\n{snippet}");
    }
}

#[test]
fn freshclam_is_content_with_nginx() {
    freshclam_is_content_with("freshclam_is_content_with_nginx", Kind::Nginx);
}

#[test]
fn freshclam_is_content_with_apache() {
    freshclam_is_content_with("freshclam_is_content_with_apache", Kind::Apache);
}
