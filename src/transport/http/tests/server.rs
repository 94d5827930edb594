//! A scripted server on loopback: each connection gets the next part of the script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server does with one connection.
pub(super) type Part = Box<dyn FnOnce(&mut dyn Stream) + Send>;

pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    thread: JoinHandle<()>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves one connection after the other until the script is at its end.
    pub(super) fn start(script: Vec<Part>) -> Self {
        Self::wrapping(script, |stream| Some(Box::new(stream)))
    }

    /// The same with something around each connection, such as TLS.
    pub(super) fn wrapping(
        script: Vec<Part>,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            for part in script {
                let (stream, _) = listener.accept().unwrap();
                let patience = Some(Duration::from_secs(5));
                stream.set_read_timeout(patience).unwrap();
                stream.set_write_timeout(patience).unwrap();
                if let Some(mut stream) = wrap(stream) {
                    requests.lock().unwrap().push(read_request(&mut *stream));
                    part(&mut *stream);
                }
            }
        });
        Self {
            address,
            thread,
            heard,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for the end of the script; the first request of each connection as text. The runtime goes
    /// on meanwhile: a client that gives up on a reply closes its connection there.
    pub(super) async fn finish(self) -> Vec<String> {
        tokio::task::spawn_blocking(move || self.thread.join().unwrap())
            .await
            .unwrap();
        Arc::into_inner(self.heard).unwrap().into_inner().unwrap()
    }
}

/// Head and body (by `content-length`) of one request; what came when the other side hung up.
pub(super) fn read_request(stream: &mut dyn Stream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let all = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = all.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return all;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return all,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Sends bytes and hangs up.
pub(super) fn answer(bytes: impl Into<Vec<u8>>) -> Part {
    let bytes = bytes.into();
    Box::new(move |stream| {
        let _ = stream.write_all(&bytes);
        let _ = stream.flush();
    })
}

/// A whole reply with this status line, these header lines and this body.
pub(super) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
