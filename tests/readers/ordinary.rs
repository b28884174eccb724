//! How mirrors were updated before: file by file, in a folder of plain files. And a server that forgets conditions.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::feed::{self, ALWAYS, BIG, SAME, SOMETIMES};
use crate::support::http::split_head;

/// Puts release `number` where there is nothing yet.
pub(crate) fn lay_out(docroot: &Path, number: u64) {
    for folder in ["folder", "third"] {
        fs::create_dir_all(docroot.join(folder)).unwrap();
    }
    for (name, bytes) in feed::files(number) {
        fs::write(docroot.join(name), bytes).unwrap();
    }
    fs::write(docroot.join("timestamp"), "1\n").unwrap();
}

/// One file after the other: most by a rename, as rsync does; one in place; one deleted and made again; two a link that
/// leads nowhere for a while. The operator's note gets lost on the way.
pub(crate) fn update(docroot: &Path, number: u64) {
    for (at, name) in ALWAYS.iter().enumerate() {
        let path = docroot.join(name);
        let bytes = feed::content(number, name);
        match at {
            0 => {
                fs::remove_file(&path).unwrap();
                std::thread::sleep(Duration::from_millis(1));
                fs::write(&path, &bytes).unwrap();
            }
            1 => {
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
                fs::write(&path, &bytes).unwrap();
            }
            4 => {
                fs::remove_file(&path).unwrap();
                symlink("nowhere", &path).unwrap();
                std::thread::sleep(Duration::from_millis(2));
                fs::remove_file(&path).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            _ => {
                let next = docroot.join(".next");
                fs::write(&next, &bytes).unwrap();
                fs::rename(&next, &path).unwrap();
            }
        }
    }
    let odd = docroot.join(SOMETIMES[0]);
    let _ = fs::remove_file(&odd);
    symlink("nowhere", &odd).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    fs::remove_file(&odd).unwrap();
    fs::write(docroot.join(SAME), feed::content(number, SAME)).unwrap();
    fs::write(docroot.join("local_note"), format!("{number}\n")).unwrap();
}

/// Gives every range of another release than the one before, whatever the condition; returns its port. Its threads end
/// with the test process.
pub(crate) fn serve_without_conditions() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut number = 0;
        for client in listener.incoming().flatten() {
            number += 1;
            let _ = answer_once(client, &feed::content(number, BIG));
        }
    });
    port
}

fn answer_once(mut client: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while split_head(&request).is_none() {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let range = request.split_once("Range: bytes=").unwrap().1;
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to: usize = to
        .split("\r\n")
        .next()
        .unwrap()
        .parse()
        .unwrap_or(bytes.len() - 1);
    let part = &bytes[from..=to];
    write!(
        client,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nETag: \"x\"\r\nConnection: close\r\n\r\n",
        part.len()
    )?;
    client.write_all(part)
}
