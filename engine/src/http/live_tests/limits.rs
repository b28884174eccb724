//! Timeouts, caps, refusals and the way down.

use super::*;

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_dropped() {
    let limits = HttpLimits {
        header_timeout: SOON,
        ..HttpLimits::default()
    };
    let server = start(limits, None).await;
    let mut client = server.client().await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.rest().await, b"");
    let mut silent = server.client().await;
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_asks_nothing_more_is_let_go() {
    let limits = HttpLimits {
        header_timeout: PATIENCE * 2,
        idle_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let server = start(limits, Some(docroot.release(1, &[("a", b"a")]))).await;
    let mut client = server.client().await;
    client.send(&get("/a", "")).await;
    assert_eq!(client.reply(true).await.body, b"a");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped_and_one_that_left_is_logged() {
    let limits = HttpLimits {
        write_stall_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let mut server = start(limits, Some(site)).await;
    let mut stalled = server.client().await;
    stalled.send(&get("/a.cvd", "")).await;
    let record = server.record().await;
    assert!(!record.complete);
    assert!(record.body_bytes > 0 && record.body_bytes < LARGE_BYTES as u64);

    let mut leaving = server.client().await;
    leaving.send(&get("/a.cvd", "")).await;
    leaving.head().await;
    leaving.read_at_least(100_000).await;
    let received = leaving.read.len() as u64;
    drop(leaving);
    let record = server.record().await;
    assert_eq!((record.status, record.complete), (200, false));
    assert!(record.body_bytes >= received && record.body_bytes < LARGE_BYTES as u64);
    assert_eq!(server.stats.snapshot().database.cut_short, 2);
}

#[tokio::test]
async fn past_a_cap_clients_are_told_503_until_a_place_is_free() {
    let docroot = Docroot::new();
    let patient = HttpLimits {
        header_timeout: PATIENCE * 2,
        idle_timeout: PATIENCE * 2,
        ..HttpLimits::default()
    };
    let by_address = HttpLimits {
        connections_per_address_max: 1,
        count_loopback: true,
        ..patient
    };
    let in_all = HttpLimits {
        connections_max: 1,
        ..patient
    };
    for limits in [by_address, in_all] {
        let site = docroot.release(1, &[("a", b"a")]);
        let server = start(limits, Some(site)).await;
        let mut holder = server.client().await;
        holder.send(&get("/a", "")).await;
        assert_eq!(holder.reply(true).await.status, 200);
        let mut refused = server.client().await;
        refused.send(&get("/a", "")).await;
        let reply = refused.reply(true).await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some("5"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(refused.rest().await, b"");
        holder.send(&get("/a", "Connection: close\r\n")).await;
        assert_eq!(holder.reply(true).await.status, 200);
        assert_eq!(holder.rest().await, b"");
        // The place is given back a moment after the client sees the end.
        soon(async { while server.fetch("/a").await.status != 200 {} }).await;
        assert!(server.stats.snapshot().connections_refused >= 1);
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_logged_without_a_request_line() {
    let mut server = start(HttpLimits::default(), None).await;
    let mut client = server.client().await;
    client.send("\u{1}nonsense\r\n\r\n").await;
    assert_eq!(client.reply(true).await.status, 400);
    let record = server.record().await;
    assert_eq!((record.request.as_str(), record.status), ("", 400));

    let mut client = server.client().await;
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    client.send(&get("/", &long)).await;
    assert_eq!(client.reply(true).await.status, 431);
    assert_eq!(server.record().await.status, 431);
}

#[tokio::test]
async fn a_shutdown_lets_downloads_end_and_closes_idle_connections() {
    let docroot = Docroot::new();
    let content = pattern(LARGE_BYTES, 0);
    let site = docroot.release(1, &[("a.cvd", &content), ("b", b"b")]);
    let server = start(HttpLimits::default(), Some(site)).await;
    let mut idle = server.client().await;
    idle.send(&get("/b", "")).await;
    assert_eq!(idle.reply(true).await.status, 200);
    let mut busy = server.client().await;
    busy.send(&get("/a.cvd", "")).await;
    busy.head().await;
    server.stop.send(()).unwrap();
    assert_eq!(idle.rest().await, b"");
    assert!(soon(TcpStream::connect(server.address)).await.is_err());
    assert!(busy.rest().await == content);
    let summary = soon(server.ended).await.unwrap();
    assert_eq!(summary, ServeSummary { connections_cut: 0 });
}

#[tokio::test]
async fn a_shutdown_waits_for_no_one_past_the_drain_timeout() {
    let limits = HttpLimits {
        drain_timeout: SOON,
        ..HttpLimits::default()
    };
    let docroot = Docroot::new();
    let site = docroot.release(1, &[("a.cvd", &pattern(LARGE_BYTES, 0))]);
    let server = start(limits, Some(site)).await;
    let mut busy = server.client().await;
    busy.send(&get("/a.cvd", "")).await;
    busy.head().await;
    server.stop.send(()).unwrap();
    let summary = soon(server.ended).await.unwrap();
    assert_eq!(summary, ServeSummary { connections_cut: 1 });
    assert!(busy.rest().await.len() < LARGE_BYTES);
}
