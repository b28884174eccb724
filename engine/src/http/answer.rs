//! From one request to one response, with the files in between. SPEC §9.3.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::access_log::AccessRecord;
use super::body::ResponseBody;
use super::conditions::{EntityTag, Validators};
use super::connection::{SharedLedger, lock};
use super::health::{HealthHandle, StatusSource};
use super::ledger::unix_now_s;
use super::open::{OpenError, open_local, open_released};
use super::path::{self, RequestPath, SafeName};
use super::respond::{
    Decision, Facts, JSON, RETRY_BUSY_S, RETRY_UNAVAILABLE_S, TEXT, decide, head, own_text,
    retry_after,
};
use super::site::{Site, SiteFile, SiteHandle, Timestamp};
use super::stats::{FileKind, HttpStats};

/// A file changed so recently may change again within the same mtime, so its tag is weak.
const RACY_MTIME_S: u64 = 2;

/// What the address `/` stands for, if the release has it.
const INDEX: &str = "index.html";

/// Everything requests are answered from; shared by all connections.
pub(super) struct Answers {
    pub(super) site: SiteHandle,
    pub(super) health: HealthHandle,
    pub(super) status: Option<Arc<dyn StatusSource>>,
    pub(super) stats: Arc<HttpStats>,
}

/// Whether a connection is served or only told to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Serve,
    Busy,
}

impl Answers {
    /// Answers one request and announces the response in the connection's ledger.
    pub(super) async fn answer<B>(
        &self,
        mode: Mode,
        ledger: &SharedLedger,
        remote: IpAddr,
        request: Request<B>,
    ) -> Response<ResponseBody> {
        lock(ledger).begin();
        let (request, _) = request.into_parts();
        let mut record = AccessRecord {
            remote,
            received_s: unix_now_s(),
            request: format!("{} {} {:?}", request.method, request.uri, request.version),
            status: 0,
            body_bytes: 0,
            complete: false,
            referer: request.headers.get(REFERER).cloned(),
            user_agent: request.headers.get(USER_AGENT).cloned(),
            kind: FileKind::of(request.uri.path()),
        };
        let mut response = match mode {
            Mode::Serve => {
                let asked = Asked {
                    method: &request.method,
                    headers: &request.headers,
                    remote,
                };
                self.respond(asked, request.uri.path()).await
            }
            Mode::Busy => retry_after(
                text(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"),
                RETRY_BUSY_S,
            ),
        };
        if request.method == Method::HEAD {
            // The headers keep the length a GET would have had.
            *response.body_mut() = ResponseBody::empty();
        }
        record.status = response.status().as_u16();
        lock(ledger).expect(record, response.body().length());
        response
    }

    async fn respond(&self, asked: Asked<'_>, target: &str) -> Response<ResponseBody> {
        if asked.method != Method::GET && asked.method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        let Some(path) = path::decode(target) else {
            return not_found();
        };
        // From here to the last byte this request sees one release.
        let site = self.site.pin();
        let name = match &path {
            RequestPath::Root => INDEX,
            RequestPath::Name(name) => name.as_str(),
        };
        if let Some(site) = &site {
            if name == "timestamp"
                && let Some(timestamp) = &site.timestamp
            {
                return asked.timestamp(timestamp);
            }
            // A release's own `healthz` or `status.json` comes before ours: every signed file is
            // served as it was signed.
            if let Some(file) = site.files.get(name) {
                return self.released(&asked, site, name, file).await;
            }
        }
        match (name, &self.status) {
            ("healthz", _) => return self.healthz(),
            // It names folders, keys and people: nothing for the clients of a public port.
            ("status.json", Some(status)) if asked.remote.is_loopback() => {
                return own_json(&status.status());
            }
            _ => {}
        }
        match (site, path) {
            (None, _) => retry_after(
                text(StatusCode::SERVICE_UNAVAILABLE, "no release yet\n"),
                RETRY_UNAVAILABLE_S,
            ),
            (Some(site), RequestPath::Name(name)) if name.is_local() => {
                self.local(&asked, &site, name).await
            }
            (Some(_), _) => not_found(),
        }
    }

    fn healthz(&self) -> Response<ResponseBody> {
        let health = self.health.current();
        if health.is_ok() {
            return text(StatusCode::OK, health.text());
        }
        retry_after(
            text(StatusCode::SERVICE_UNAVAILABLE, health.text()),
            RETRY_UNAVAILABLE_S,
        )
    }

    async fn released(
        &self,
        asked: &Asked<'_>,
        site: &Site,
        name: &str,
        file: &SiteFile,
    ) -> Response<ResponseBody> {
        let validators = Validators {
            etag: EntityTag::of_hash(&file.hash),
            last_modified_s: file.last_modified_s,
        };
        let facts = Facts::new(name, file.size, validators);
        let decision = decide(asked.method, asked.headers, &facts);
        let Some(stretch) = decision.stretch(facts.size) else {
            return with_body(decision, &facts, ResponseBody::empty());
        };
        let (tree, size, is_head) = (Arc::clone(&site.tree), file.size, asked.is_head());
        let path = name.to_owned();
        let body = blocking(name, move || {
            let file = open_released(&tree, &path, size)?;
            // Opened for HEAD too, so that a checker learns of a damaged file.
            start(file, if is_head { (0, 0) } else { stretch }, &path)
        });
        match body.await {
            Ok(body) => with_body(decision, &facts, body),
            Err(error) => {
                self.stats.count_unserved();
                let source = std::error::Error::source(&error);
                tracing::error!(release = site.release, %error, source, "released file not served");
                unavailable()
            }
        }
    }

    async fn local(
        &self,
        asked: &Asked<'_>,
        site: &Site,
        name: SafeName,
    ) -> Response<ResponseBody> {
        let docroot = Arc::clone(&site.docroot);
        let path = name.as_str().to_owned();
        let (method, headers) = (asked.method.clone(), asked.headers.clone());
        let answer = blocking(name.as_str(), move || {
            let (file, metadata) = open_local(&docroot, &path)?;
            let modified_s = u64::try_from(metadata.mtime()).unwrap_or(0);
            let validators = Validators {
                etag: local_etag(&metadata, modified_s),
                last_modified_s: modified_s,
            };
            let facts = Facts::new(&path, metadata.size(), validators);
            let decision = decide(&method, &headers, &facts);
            let body = match decision.stretch(facts.size) {
                Some(stretch) if method != Method::HEAD => start(file, stretch, &path)?,
                _ => ResponseBody::empty(),
            };
            Ok((decision, facts, body))
        });
        match answer.await {
            Ok((decision, facts, body)) => with_body(decision, &facts, body),
            Err(OpenError::Absent { .. }) => not_found(),
            Err(error) => {
                let source = std::error::Error::source(&error);
                tracing::warn!(%error, source, "local file not served");
                unavailable()
            }
        }
    }
}

struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    remote: IpAddr,
}

impl Asked<'_> {
    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    fn timestamp(&self, timestamp: &Timestamp) -> Response<ResponseBody> {
        let validators = Validators {
            etag: EntityTag::of_hash(blake3::hash(&timestamp.bytes).as_bytes()),
            last_modified_s: timestamp.last_modified_s,
        };
        let bytes = &timestamp.bytes;
        let facts = Facts::new("timestamp", bytes.len() as u64, validators);
        let decision = decide(self.method, self.headers, &facts);
        let body = match decision.stretch(facts.size).map(in_memory) {
            Some(Some((first, end))) => ResponseBody::bytes(bytes.slice(first..end)),
            _ => ResponseBody::empty(),
        };
        with_body(decision, &facts, body)
    }
}

/// A stretch of bytes in memory as slice bounds.
fn in_memory((offset, length): (u64, u64)) -> Option<(usize, usize)> {
    let first = usize::try_from(offset).ok()?;
    Some((first, first + usize::try_from(length).ok()?))
}

fn local_etag(metadata: &std::fs::Metadata, modified_s: u64) -> EntityTag {
    EntityTag {
        weak: unix_now_s() < modified_s.saturating_add(RACY_MTIME_S),
        opaque: format!(
            "{:x}.{:09}-{:x}",
            modified_s,
            metadata.mtime_nsec(),
            metadata.size()
        ),
    }
}

fn start(file: std::fs::File, stretch: (u64, u64), name: &str) -> Result<ResponseBody, OpenError> {
    ResponseBody::start(file, stretch.0, stretch.1).map_err(|source| OpenError::Disk {
        name: name.to_owned(),
        source,
    })
}

/// Runs disk work on the blocking pool.
async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(OpenError::Disk {
                name: name.to_owned(),
                source: std::io::Error::other(error),
            })
        })
}

fn with_body(decision: Decision, facts: &Facts, body: ResponseBody) -> Response<ResponseBody> {
    head(decision, facts).map(|()| body)
}

fn not_found() -> Response<ResponseBody> {
    text(StatusCode::NOT_FOUND, "not found\n")
}

fn unavailable() -> Response<ResponseBody> {
    retry_after(
        text(StatusCode::SERVICE_UNAVAILABLE, "file is being mended\n"),
        RETRY_UNAVAILABLE_S,
    )
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<ResponseBody> {
    let text: String = text.into();
    own_text(status, text.len(), TEXT).map(|()| ResponseBody::bytes(text))
}

fn own_json(value: &serde_json::Value) -> Response<ResponseBody> {
    let json = format!("{value}\n");
    own_text(StatusCode::OK, json.len(), JSON).map(|()| ResponseBody::bytes(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_status_is_for_this_machine_alone_and_health_for_everybody() {
        let answers = Answers {
            site: SiteHandle::default(),
            health: HealthHandle::default(),
            status: Some(Arc::new(|| serde_json::json!({ "release": 7 }))),
            stats: Arc::default(),
        };
        let (method, headers) = (Method::GET, HeaderMap::new());
        let ask = async |remote: &str, target: &str| {
            let asked = Asked {
                method: &method,
                headers: &headers,
                remote: remote.parse().unwrap(),
            };
            answers.respond(asked, target).await
        };
        for here in ["127.0.0.1", "::1"] {
            assert_eq!(ask(here, "/status.json").await.status(), 200, "{here}");
        }
        for elsewhere in ["192.0.2.1", "2001:db8::1", "10.0.0.1"] {
            let (hidden, unknown) = (
                ask(elsewhere, "/status.json").await,
                ask(elsewhere, "/no.json").await,
            );
            assert_eq!(hidden.status(), unknown.status(), "{elsewhere}");
            assert_ne!(hidden.status(), 200);
            let health = ask(elsewhere, "/healthz").await;
            assert_eq!(health.headers().get("retry-after").unwrap(), "60");
        }
    }
}
