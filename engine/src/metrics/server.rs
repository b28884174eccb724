//! Where the numbers are read: a small HTTP server that knows one name.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Metrics;

/// What the answer is, for those who scrape.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections served at once; further ones wait. A few scrapers ask every few seconds.
const CONNECTIONS_MAX: usize = 16;

/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, its one answer included: whoever reads slower makes room for the next.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an accept that failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Longest head of a request, in bytes; the least that hyper can be limited to.
const HEADER_BYTES_MAX: usize = 8192;

/// Answers `GET /metrics` on `listener` until `shutdown` is ready. Dropping the future closes every connection.
pub async fn serve(listener: TcpListener, metrics: Metrics, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = metrics.clone();
                    connections.spawn(async move {
                        let _place = place;
                        let answered = answer(stream, metrics);
                        // Whoever takes too long has the connection closed.
                        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, answered).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for the metrics; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            // Those that ended; the others are bounded by their places.
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown => {}
    }
}

async fn answer(stream: TcpStream, metrics: Metrics) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a scrape ended early");
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    let said = |status, text: String, kind| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    };
    let plain = |status: StatusCode| said(status, format!("{status}\n"), "text/plain");
    match (path, method) {
        ("/metrics", &Method::GET) => said(StatusCode::OK, metrics.text(), CONTENT_TYPE),
        ("/metrics", _) => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            let get = HeaderValue::from_static("GET");
            response.headers_mut().insert(header::ALLOW, get);
            response
        }
        _ => plain(StatusCode::NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(address: std::net::SocketAddr, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn one_name_is_known_and_one_method_and_nobody_is_kept_out_by_those_who_say_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new(|_| {});
        let serving = serve(listener, metrics, std::future::pending());
        let asking = async {
            // All but one place.
            let mut silent = Vec::new();
            for _ in 1..CONNECTIONS_MAX {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let found = ask(address, &get("/metrics")).await.unwrap();
            assert!(found.starts_with("HTTP/1.1 200 "), "{found}");
            assert!(found.contains(CONTENT_TYPE), "{found}");
            let version = env!("CARGO_PKG_VERSION");
            let line = format!("tidecast_build_info{{version=\"{version}\"}} 1\n# EOF\n");
            assert!(found.ends_with(&line), "{found}");
            for path in ["/", "/metrics/", "/status.json"] {
                let absent = ask(address, &get(path)).await.unwrap();
                assert!(absent.starts_with("HTTP/1.1 404 "), "{absent}");
            }
            let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
            let refused = ask(address, post).await.unwrap();
            assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");
            assert!(refused.contains("allow: GET"), "{refused}");
            drop(silent);
        };
        tokio::select! {
            () = serving => unreachable!("it was not told to end"),
            () = asking => {}
        }
    }
}
