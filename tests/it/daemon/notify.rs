//! What systemd is told, on a real datagram socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::{Daemon, PATIENCE, Place};

/// systemd's end of the socket.
pub(super) struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    pub(super) fn at(place: &Place, is_abstract: bool) -> Self {
        let path = place.folder.path().join("notify");
        let (socket, name) = if is_abstract {
            let name = format!("crossdock-test-{}", path.display());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{name}"),
            )
        } else {
            (
                UnixDatagram::bind(&path).unwrap(),
                path.display().to_string(),
            )
        };
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Self { socket, name }
    }

    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("NOTIFY_SOCKET", self.name.clone()),
            ("WATCHDOG_USEC", "600000".to_owned()),
        ]
    }

    /// What comes within a time, in order.
    pub(super) fn hear(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut heard = Vec::new();
        while Instant::now() < until {
            heard.extend(self.next());
        }
        heard
    }

    fn next(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// Waits for a message with this line; the message.
    fn wait_for(&self, line: &str, daemon: &Daemon) -> String {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(message) = self.next()
                && message.lines().any(|known| known.starts_with(line))
            {
                return message;
            }
        }
        panic!("systemd never heard {line}:\n{}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_everything() {
    for is_abstract in [false, true] {
        let place = Place::new(None).await;
        let manager = Manager::at(&place, is_abstract);
        place.write(&place.config());
        let mut daemon = Daemon::start(place.folder.path(), &manager.environment());
        let ready = manager.wait_for("READY=1", &daemon);
        assert!(ready.contains("STATUS=5 connections"), "{ready}");
        let fed = manager.hear(Duration::from_secs(2));
        let fed = fed.iter().filter(|message| message.contains("WATCHDOG=1"));
        assert!(fed.count() >= 3);

        daemon.signal("HUP");
        let reloading = manager.wait_for("RELOADING=1", &daemon);
        let stamp = reloading
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(stamp.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
        manager.wait_for("READY=1", &daemon);

        place.write("version = 2\n");
        daemon.signal("HUP");
        manager.wait_for("RELOADING=1", &daemon);
        let ready = manager.wait_for("READY=1", &daemon);
        assert!(ready.contains("last reload refused"), "{ready}");

        daemon.signal("TERM");
        let stopping = manager.wait_for("STOPPING=1", &daemon);
        assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
        assert!(daemon.ended(PATIENCE).await.success());
        place.world.stop().await;
    }
}

/// Story 64: alive but idle. A system that takes the request and never answers stops one loop for ever:
/// the watchdog is not fed any more, and health says which loop it is.
/// A manager that does not read its socket: the queue is full after ten messages, and the daemon goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_does_not_listen_stops_nobody() {
    let place = Place::new(None).await;
    let manager = Manager::at(&place, false);
    let mut daemon = Daemon::start(place.folder.path(), &manager.environment());
    daemon.until("up", |_| true).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    daemon.until("answering", |_| true).await;
    daemon.signal("TERM");
    assert!(daemon.ended(PATIENCE).await.success(), "{}", daemon.log());
    place.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_loop_starves_the_watchdog() {
    let place = Place::new(None).await;
    let pit = TcpListener::bind("127.0.0.1:0").unwrap();
    let pit_url = format!("http://{}", pit.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut held: Vec<TcpStream> = Vec::new();
        for stream in pit.incoming() {
            held.extend(stream);
        }
    });
    let port = free_port();
    let config = place
        .config()
        .replacen(place.world.url("pos").unwrap(), &pit_url, 1)
        .replacen(
            "[connection.pos]\n",
            "[connection.pos]\nhttp.timeout_secs = 600\n",
            1,
        )
        .replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    place.write(&format!(
        "{config}\n[limits]\nstuck_secs = 5\ndrain_secs = 1\n"
    ));
    let manager = Manager::at(&place, false);
    let mut daemon = Daemon::start(place.folder.path(), &manager.environment());
    manager.wait_for("READY=1", &daemon);
    manager.wait_for("WATCHDOG=1", &daemon);
    assert_eq!(page(port, "/healthz").0, 200);
    let status = daemon
        .until("stuck", |status| !status["stuck"].is_null())
        .await;
    let why = status["stuck"].as_str().unwrap();
    assert!(why.contains("of pos is stuck"), "{why}");
    manager.hear(Duration::from_secs(1)); // what was on its way
    let heard = manager.hear(Duration::from_secs(2));
    assert_eq!(heard, [""; 0], "the watchdog is fed");
    let (code, body) = page(port, "/healthz");
    assert!(
        code == 503 && body.contains("of pos is stuck"),
        "{code} {body}"
    );
    let told = |status: &serde_json::Value| {
        let alerts = status["alerts"].as_array().unwrap();
        alerts.iter().any(|it| it["cause"] == "stuck:crossdock")
    };
    daemon.until("told", told).await;
    daemon.signal("TERM");
    assert!(daemon.ended(PATIENCE).await.success());
    place.world.stop().await;
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The status and body of a page of the daemon.
pub(super) fn page(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let code = reply.split(' ').nth(1).unwrap().parse().unwrap();
    let body = reply.split_once("\r\n\r\n").unwrap().1.to_owned();
    (code, body)
}
