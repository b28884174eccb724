//! A name server that knows one name.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Answers every question for TXT with one string. Its thread ends with the test process.
#[derive(Debug)]
pub(crate) struct NameServer {
    address: Ipv4Addr,
    text: Arc<Mutex<String>>,
}

impl NameServer {
    /// `None` when port 53 may not be taken, and no other can be told to resolvers that know
    /// addresses only. The address is loopback's and this process's own.
    pub(crate) fn start(text: &str) -> Option<Self> {
        let [_, high, low, _] = (std::process::id() << 8).to_be_bytes();
        let address = Ipv4Addr::new(127, high.max(1), low, 53);
        let socket = UdpSocket::bind((address, 53)).ok()?;
        let text = Arc::new(Mutex::new(text.to_owned()));
        let shared = Arc::clone(&text);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                let text = shared.lock().unwrap().clone();
                if let Some(answer) = answer(&question[..length], &text) {
                    // Who does not wait for it asks again.
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Some(Self { address, text })
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Changes what is answered from now on.
    pub(crate) fn say(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap());
    }
}

/// The answer to a query (RFC 1035, section 4): its header and question back, then one record.
fn answer(query: &[u8], text: &str) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const TXT: [u8; 2] = [0, 16];
    let name = query.get(HEADER..)?;
    let name_end = HEADER + name.iter().position(|byte| *byte == 0)? + 1;
    let question_end = name_end + 4;
    let is_txt = query.get(name_end..name_end + 2)? == TXT;
    let mut answer = query.get(..2)?.to_vec();
    // A response, authoritative, no error; one question, one answer or none.
    answer.extend([0x84, 0x00, 0, 1, 0, u8::from(is_txt), 0, 0, 0, 0]);
    answer.extend(query.get(HEADER..question_end)?);
    if is_txt {
        let length = u8::try_from(text.len()).unwrap();
        // The name of the question, TXT, IN, 60 s.
        answer.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
        answer.extend(text.as_bytes());
    }
    Some(answer)
}
