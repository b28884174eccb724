//! What is served, and what is not.

use std::os::unix::fs::symlink;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::*;

#[tokio::test]
async fn a_file_arrives_whole_with_all_its_headers() {
    let docroot = Docroot::new();
    let content = pattern(300_000, 0);
    let mut server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("daily.cvd", &content)])),
    )
    .await;
    let reply = server
        .ask(&get(
            "/daily.cvd?version=7",
            "User-Agent: ClamAV/1.4.6\r\nAccept-Encoding: gzip\r\nConnection: close\r\n",
        ))
        .await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(reply.body == content);
    let tag = format!("\"{}\"", &blake3::hash(&content).to_hex()[..32]);
    for (name, wanted) in [
        ("content-length", "300000"),
        ("last-modified", BUILT),
        ("etag", tag.as_str()),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("cache-control", "no-cache"),
        ("connection", "close"),
    ] {
        assert_eq!(reply.header(name), Some(wanted), "{name}");
    }
    assert!(reply.header("date").is_some());
    let record = server.record().await;
    assert_eq!(record.request, "GET /daily.cvd?version=7 HTTP/1.1");
    assert_eq!((record.status, record.body_bytes), (200, 300_000));
    assert!(record.complete);
    assert_eq!(server.stats.snapshot().database.body_bytes, 300_000);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("daily.cvd", b"content")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send("GET /daily.cvd HTTP/1.0\r\n\r\n").await;
    let reply = client.reply(true).await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"content"[..])
    );
    assert_eq!(reply.header("content-length"), Some("7"));
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_shuts_its_sending_half_still_gets_its_answer() {
    let docroot = Docroot::new();
    let content = pattern(LARGE_BYTES, 0);
    let site = docroot.release(1, &[("daily.cvd", &content)]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send("GET /daily.cvd HTTP/1.0\r\n\r\n").await;
    soon(client.stream.shutdown()).await.unwrap();
    assert!(client.reply(true).await.body == content);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("daily.cvd", b"content"), ("empty.cdiff", b"")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    for (target, length) in [("/daily.cvd", "7"), ("/empty.cdiff", "0"), ("/none", "10")] {
        let request = format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(&request).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.header("content-length"), Some(length), "{target}");
    }
    client
        .send(&get("/daily.cvd", "Connection: close\r\n"))
        .await;
    assert_eq!(client.reply(true).await.body, b"content");
}

#[tokio::test]
async fn other_methods_are_told_which_are_allowed() {
    let docroot = Docroot::new();
    let server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("a", b"a")])),
    )
    .await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request = format!("{method} /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let reply = server.ask(&request).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn ranges_and_conditions_hold_on_the_wire() {
    let docroot = Docroot::new();
    let content = pattern(400_000, 3);
    let site = docroot.release(1, &[("test.cvd", &content)]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    let tag = format!("\"{}\"", &blake3::hash(&content).to_hex()[..32]);
    for (lines, status, wanted) in [
        ("Range: bytes=0-511\r\n".to_owned(), 206, &content[..512]),
        (
            "Range: bytes=-1000\r\n".to_owned(),
            206,
            &content[399_000..],
        ),
        (
            "Range: bytes=100000-\r\n".to_owned(),
            206,
            &content[100_000..],
        ),
        ("Range: bytes=0-1,5-6\r\n".to_owned(), 200, &content[..]),
        ("Range: bytes=400000-\r\n".to_owned(), 416, &[]),
        (
            format!("Range: bytes=0-9\r\nIf-Range: {tag}\r\n"),
            206,
            &content[..10],
        ),
        (
            "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n".to_owned(),
            200,
            &content[..],
        ),
        (
            format!("Range: bytes=0-511\r\nIf-Modified-Since: {BUILT}\r\n"),
            304,
            &[],
        ),
        (format!("If-None-Match: W/{tag}\r\n"), 304, &[]),
    ] {
        client.send(&get("/test.cvd", &lines)).await;
        let reply = client.reply(true).await;
        assert_eq!(reply.status, status, "{lines}");
        assert!(reply.body == wanted, "{lines}");
        assert_eq!(reply.header("etag"), Some(tag.as_str()), "{lines}");
        if status == 416 {
            assert_eq!(reply.header("content-range"), Some("bytes */400000"));
        }
    }
}

#[tokio::test]
async fn two_requests_in_one_packet_are_answered_in_order_and_logged_apart() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", b"first"), ("b.cdiff", b"second!")]);
    let mut server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    let both = get("/a.cvd", "") + &get("/b.cdiff", "Connection: close\r\n");
    client.send(&both).await;
    assert_eq!(client.reply(true).await.body, b"first");
    assert_eq!(client.reply(true).await.body, b"second!");
    assert_eq!(client.rest().await, b"");
    for (request, bytes) in [("GET /a.cvd HTTP/1.1", 5), ("GET /b.cdiff HTTP/1.1", 7)] {
        let record = server.record().await;
        assert_eq!(
            (record.request.as_str(), record.body_bytes),
            (request, bytes)
        );
    }
}

#[tokio::test]
async fn what_is_hidden_or_absent_is_404_and_never_403() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("sub/a.cvd", b"a"), ("b", b"b")]);
    std::fs::write(docroot.path().join(".htpasswd"), b"secret").unwrap();
    std::fs::write(docroot.path().join("foreign"), b"not in the release").unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;
    for target in [
        "/",
        "/sub",
        "/sub/",
        "/none.cvd",
        "/foreign",
        "/b/",
        "/b/c",
        "/timestamp",
        "/.htpasswd",
        "/%2ehtpasswd",
        "/.tidecast/r1/b",
        "/../b",
        "/sub/../b",
        "/%2e%2e/b",
        "/sub/%2e%2e/b",
        "/sub%2fa.cvd",
        "/b%00",
        "/sub%5ca.cvd",
        "/local_none",
        "/local_/../b",
    ] {
        let reply = server.fetch(target).await;
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{target}");
    }
    assert_eq!(server.fetch("//sub/a.cvd").await.status, 200);
}

#[tokio::test]
async fn the_root_is_the_releases_index_if_it_has_one() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("index.html", b"<p>hello")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let reply = server.fetch("/").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"<p>hello"[..])
    );
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[tokio::test]
async fn operators_files_are_served_with_their_own_times() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a", b"a")]);
    let logo = docroot.path().join("local_logo.png");
    std::fs::write(&logo, b"png").unwrap();
    let modified = UNIX_EPOCH + Duration::from_secs(BUILT_S);
    File::options()
        .write(true)
        .open(&logo)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    std::fs::create_dir_all(docroot.path().join("local_dir/.git")).unwrap();
    std::fs::write(docroot.path().join("local_dir/a.txt"), b"fresh").unwrap();
    std::fs::write(docroot.path().join("local_dir/.git/config"), b"x").unwrap();
    symlink("/etc/passwd", docroot.path().join("local_passwd")).unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;

    let reply = server.fetch("/local_logo.png").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"png"[..]));
    assert_eq!(reply.header("last-modified"), Some(BUILT));
    assert_eq!(reply.header("content-type"), Some("image/png"));
    let tag = reply.header("etag").unwrap();
    let lines = format!("Connection: close\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(
        server.ask(&get("/local_logo.png", &lines)).await.status,
        304
    );
    let lines = "Connection: close\r\nRange: bytes=1-\r\n";
    assert_eq!(server.ask(&get("/local_logo.png", lines)).await.body, b"ng");

    let reply = server.fetch("/local_dir/a.txt").await;
    assert_eq!(reply.body, b"fresh");
    for target in ["/local_dir", "/local_dir/.git/config", "/local_passwd"] {
        assert_eq!(server.fetch(target).await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn a_download_ends_with_the_release_it_began_with() {
    let docroot = Docroot::new();
    let (old, new) = (pattern(LARGE_BYTES, 0), pattern(LARGE_BYTES, 100));
    let site = docroot.release(1, &[("daily.cvd", &old)]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send(&get("/daily.cvd", "")).await;
    let head = client.head().await;
    client.read_at_least(1000).await;

    server
        .site
        .publish(docroot.release(2, &[("daily.cvd", &new)]));
    std::fs::remove_dir_all(docroot.path().join(".tidecast/r1")).unwrap();
    let during = server.fetch("/daily.cvd").await;
    assert!(
        during.body == new,
        "a request after the switch sees the new release"
    );

    client.read_at_least(LARGE_BYTES).await;
    assert!(
        client.read == old,
        "the download under way stays in the old one"
    );
    assert!(head.contains(&blake3::hash(&old).to_hex()[..32]));
    client.read.clear();
    client
        .send(&get("/daily.cvd", "Range: bytes=0-511\r\n"))
        .await;
    assert!(client.reply(true).await.body == new[..512]);
}

#[tokio::test]
async fn a_released_file_that_is_not_as_signed_is_503_and_counted() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", b"12345"), ("b.cvd", b"12345")]);
    let tree = docroot.path().join(".tidecast/r1");
    std::fs::write(tree.join("a.cvd"), b"1234").unwrap();
    std::fs::remove_file(tree.join("b.cvd")).unwrap();
    let server = start(HttpLimits::default(), Some(site)).await;
    for request in [
        get("/a.cvd", ""),
        get("/a.cvd", "Range: bytes=0-1\r\n"),
        "HEAD /a.cvd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        get("/b.cvd", ""),
    ] {
        let reply = server.ask(&request).await;
        assert_eq!(reply.status, 503, "{request}");
        assert_eq!(reply.header("retry-after"), Some("60"));
    }
    assert_eq!(server.stats.snapshot().files_unserved, 4);
}

#[tokio::test]
async fn a_file_cut_during_a_download_ends_it_short_and_is_logged_so() {
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let mut server = start(HttpLimits::default(), Some(site)).await;
    let mut client = server.client().await;
    client.send(&get("/a.cvd", "")).await;
    client.head().await;
    let file = docroot.path().join(".tidecast/r1/a.cvd");
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let received = client.rest().await.len() as u64;
    let record = server.record().await;
    assert!(received < LARGE_BYTES as u64);
    assert!(!record.complete);
    assert_eq!((record.status, record.body_bytes), (200, received));
}

#[tokio::test]
async fn before_the_first_release_everything_is_503() {
    let docroot = Docroot::new();
    let server = start(HttpLimits::default(), None).await;
    for target in ["/daily.cvd", "/", "/timestamp", "/local_logo.png"] {
        let reply = server.fetch(target).await;
        assert_eq!(reply.status, 503, "{target}");
        assert_eq!(reply.header("retry-after"), Some("60"), "{target}");
    }
    server
        .site
        .publish(docroot.release(1, &[("daily.cvd", b"x")]));
    assert_eq!(server.fetch("/daily.cvd").await.status, 200);
    server.site.withdraw();
    assert_eq!(server.fetch("/daily.cvd").await.status, 503);
}

#[tokio::test]
async fn health_status_and_timestamp_answer_unless_the_release_has_such_a_file() {
    let docroot = Docroot::new();
    let server = start(HttpLimits::default(), None).await;
    let reply = server.fetch("/healthz").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (503, &b"no release yet\n"[..])
    );
    server.health.set(Health::Serving { release: 7 });
    let reply = server.fetch("/healthz").await;
    assert_eq!(
        (reply.status, reply.body.as_slice()),
        (200, &b"ok release 7\n"[..])
    );
    server.health.set(Health::Stale {
        release: 7,
        since_s: BUILT_S,
    });
    assert_eq!(server.fetch("/healthz").await.status, 503);
    let reply = server.fetch("/status.json").await;
    assert_eq!(reply.body, b"{\"release\":7}\n");
    assert_eq!(reply.header("content-type"), Some("application/json"));

    let mut site = docroot.release(8, &[("healthz", b"signed")]);
    site.timestamp = Some(Timestamp {
        bytes: Bytes::from_static(b"784111777\nhead"),
        last_modified_s: BUILT_S,
    });
    server.site.publish(site);
    assert_eq!(server.fetch("/healthz").await.body, b"signed");
    let reply = server.fetch("/timestamp").await;
    assert_eq!(reply.body, b"784111777\nhead");
    assert_eq!(reply.header("last-modified"), Some(BUILT));
    let lines = "Connection: close\r\nRange: bytes=10-\r\n";
    assert_eq!(server.ask(&get("/timestamp", lines)).await.body, b"head");
}

#[tokio::test]
async fn mirror_checks_are_logged_but_not_counted() {
    let docroot = Docroot::new();
    let mut server = start(
        HttpLimits::default(),
        Some(docroot.release(1, &[("a.cvd", b"a")])),
    )
    .await;
    let lines = "User-Agent: ClamAV-MirrorCheck/1.0\r\nConnection: close\r\n";
    assert_eq!(server.ask(&get("/a.cvd", lines)).await.status, 200);
    assert!(server.record().await.is_mirror_check());
    let counted = server.stats.snapshot();
    assert_eq!(counted.mirror_checks, 1);
    assert_eq!(counted.database, KindSnapshot::default());
}

#[tokio::test]
async fn requests_end_up_as_lines_in_a_file() {
    let docroot = Docroot::new();
    let path = docroot.path().join("access.log");
    let log = Arc::new(FileAccessLog::open(&path).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = SiteHandle::default();
    handle.publish(docroot.release(1, &[("test.cvd", &pattern(9952, 0))]));
    let options = HttpOptions {
        access_log: Some(Arc::clone(&log) as Arc<dyn AccessLog>),
        ..HttpOptions::default()
    };
    let serving = tokio::spawn(serve(listener, handle, options, std::future::pending()));
    let mut client = Client {
        stream: soon(TcpStream::connect(address)).await.unwrap(),
        read: Vec::new(),
    };
    let lines = "Range: bytes=0-511\r\nUser-Agent: ClamAV/1.4.6\r\nConnection: close\r\n";
    client.send(&get("/test.cvd", lines)).await;
    assert_eq!(client.reply(true).await.status, 206);
    assert_eq!(client.rest().await, b"");
    log.flush();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("127.0.0.1 - - ["), "{text}");
    let end = " +0000] \"GET /test.cvd HTTP/1.1\" 206 512 \"-\" \"ClamAV/1.4.6\"\n";
    assert!(text.ends_with(end), "{text}");
    serving.abort();
}
