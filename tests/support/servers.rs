//! Real web servers in front of a docroot, configured as the README tells operators to.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::{Running, answers, free_port};

/// What the README shows for nginx.
pub(crate) const NGINX_SNIPPET: &str = include_str!("nginx.conf.snippet");
/// What the README shows for Apache.
pub(crate) const APACHE_SNIPPET: &str = include_str!("apache.conf.snippet");

/// Tries at a port: between choosing and opening it another process may take it.
const PORT_TRIES: usize = 3;
/// `nobody`, whom Apache's workers run as when root starts it: it refuses to serve as root.
const NOBODY: u32 = 65_534;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Apache,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Nginx, Self::Apache];

    fn program_and_package(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx", "nginx-light"),
            Self::Apache => ("apache2", "apache2-bin"),
        }
    }
}

/// A server on a port of its own with its files in a temporary folder; ended on drop.
#[derive(Debug)]
pub(crate) struct WebServer {
    port: u16,
    // Before the folder, so that it ends before its files go.
    _running: Running,
    _folder: TempDir,
}

impl WebServer {
    /// Serves `docroot`; `None`, after [`super::skip`], when the server is not installed.
    ///
    /// The docroot's parent is made enterable for everyone: workers are not root.
    pub(crate) fn start(test: &str, kind: Kind, docroot: &Path) -> Option<Self> {
        Self::start_with(test, kind, docroot, str::to_owned)
    }

    /// The same with other lines in place of those of the README.
    pub(crate) fn start_with(
        test: &str,
        kind: Kind,
        docroot: &Path,
        edit: fn(&str) -> String,
    ) -> Option<Self> {
        let (program, package) = kind.program_and_package();
        let program = super::program(test, program, package)?;
        for folder in docroot.parent().into_iter().chain([docroot]) {
            std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        for _ in 0..PORT_TRIES {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut running = launch(kind, &program, folder.path(), docroot, port, edit);
            if answers(port) && running.ended().is_none() {
                return Some(Self {
                    port,
                    _running: running,
                    _folder: folder,
                });
            }
            let log = std::fs::read_to_string(folder.path().join("error.log"));
            eprintln!("{kind:?} did not start on port {port}: {log:?}");
        }
        panic!("{kind:?} did not start");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn launch(
    kind: Kind,
    program: &Path,
    folder: &Path,
    docroot: &Path,
    port: u16,
    edit: fn(&str) -> String,
) -> Running {
    let config = folder.join("server.conf");
    let placed = |snippet: &str| {
        let docroot = docroot.display().to_string();
        edit(snippet).replace("/srv/mirror", &docroot)
    };
    let mut command = Command::new(program);
    match kind {
        Kind::Nginx => {
            let listen = format!("listen 127.0.0.1:{port};");
            let server = placed(NGINX_SNIPPET).replace("listen 80;", &listen);
            std::fs::write(&config, nginx_configuration(folder, &server)).unwrap();
            // The early log too, or it complains about the system's.
            command.arg("-e").arg(folder.join("error.log"));
            command.arg("-c").arg(&config).arg("-p").arg(folder);
        }
        Kind::Apache => {
            let host = format!("<VirtualHost 127.0.0.1:{port}>");
            let server = placed(APACHE_SNIPPET).replace("<VirtualHost *:80>", &host);
            std::fs::write(&config, apache_configuration(folder, port, &server)).unwrap();
            command.args(["-D", "FOREGROUND", "-f"]).arg(&config);
        }
    }
    Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn nginx_configuration(folder: &Path, server: &str) -> String {
    let at = folder.display();
    // Only root may name a user; its workers then stay root, for the folder is private.
    let user = if is_root(folder) { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {at}/nginx.pid;
error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {at}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
{server}
}}
"
    )
}

fn apache_configuration(folder: &Path, port: u16, server: &str) -> String {
    let at = folder.display();
    let modules = apache_modules();
    let modules = modules.display();
    // autoindex and dir are loaded because Debian's Apache loads them: the snippet must cope.
    let load: String = [
        "mpm_event",
        "authz_core",
        "alias",
        "mime",
        "dir",
        "autoindex",
    ]
    .iter()
    .map(|module| format!("LoadModule {module}_module {modules}/mod_{module}.so\n"))
    .collect();
    let user = if is_root(folder) {
        format!("User #{NOBODY}\nGroup #{NOBODY}\n")
    } else {
        String::new()
    };
    format!(
        "ServerRoot {at}
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile {at}/apache.pid
DefaultRuntimeDir {at}
ErrorLog {at}/error.log
{load}{user}TypesConfig /dev/null
<Directory />
    Require all denied
</Directory>
{server}"
    )
}

fn apache_modules() -> PathBuf {
    let places = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"];
    let found = places.iter().map(Path::new).find(|place| place.is_dir());
    found.unwrap_or(Path::new(places[0])).to_owned()
}

/// Whether this process runs as root: the owner of a folder it has just made says so.
fn is_root(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().unwrap().uid() == 0
}
