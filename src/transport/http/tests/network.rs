//! The client against a server that behaves badly.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::RealClock;
use super::server::{Part, Server, answer, read_request, reply};
use crate::fault::{Class, Effect, Fault};
use crate::secret::Secret;
use crate::transport::http::{Client, HeaderValue, HttpClient, HttpOptions, HttpRequest};

fn client(options: HttpOptions) -> Client {
    Client::new(options, RealClock::start()).unwrap()
}

fn get(server: &Server) -> HttpRequest {
    HttpRequest::new("GET", server.url("/orders?api_key=s3cret"))
}

/// Sends one request to a server that follows this script, and gives the fault that must come of it.
async fn fault_of(script: Part, options: HttpOptions) -> Fault {
    let server = Server::start(vec![script]);
    let fault = client(options).send(get(&server)).await.unwrap_err();
    server.finish().await;
    // Stories 54, 55, law D5: whatever happens, the message tells no secret and no content.
    for secret in ["s3cret", "api_key", "Erika"] {
        assert!(!fault.message.contains(secret), "{fault}");
    }
    assert!(fault.message.contains("/orders"), "{fault}");
    fault
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_reply_is_whole_with_its_headers_and_sent_what_was_asked() {
    let body = r#"{"ok":true}"#;
    let headers = "X-Total: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";
    let server = Server::start(vec![answer(reply(
        "207 Multi-Status",
        headers,
        body.as_bytes(),
    ))]);
    let mut request = HttpRequest::new("POST", server.url("/orders?page=2"))
        .header("content-type", "application/json")
        .body(r#"{"sku":"0017"}"#);
    let token = HeaderValue::Secret(Secret::new("Bearer s3cret"));
    request.headers.push(("authorization".into(), token));
    assert!(!format!("{request:?}").contains("s3cret"), "{request:?}");
    let reply = client(HttpOptions::default()).send(request).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (207, body.as_bytes()));
    assert_eq!(reply.header("x-total"), Some("7"));
    let cookies = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.count(), 2);
    let shown = format!("{reply:?}");
    assert!(!shown.contains("true") && !shown.contains("a=1"), "{shown}");
    let heard = server.finish().await.remove(0);
    assert!(
        heard.starts_with("POST /orders?page=2 HTTP/1.1\r\n"),
        "{heard}"
    );
    assert!(heard.ends_with("\r\n\r\n{\"sku\":\"0017\"}"), "{heard}");
    for line in [
        "authorization: Bearer s3cret",
        "accept-encoding: gzip",
        concat!("user-agent: crossdock/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(heard.contains(line), "{heard}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let twice: Part = Box::new(|stream| {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(whole).unwrap();
        read_request(stream);
        stream.write_all(whole).unwrap();
    });
    let server = Server::start(vec![twice]);
    let client = client(HttpOptions::default());
    for _ in 0..2 {
        assert_eq!(client.send(get(&server)).await.unwrap().body, "ok");
    }
    server.finish().await;
}

/// Law D3 and stories 14, 19: a reply that is cut is never an empty or a short one.
#[tokio::test]
async fn a_cut_reply_has_an_unknown_effect() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"name\":\r\n";
    let packed = gzip(&[b'x'; 1000]);
    let half = [
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n".as_slice(),
        &packed[..packed.len() / 2],
    ];
    let cases: [(&str, Vec<u8>); 7] = [
        ("nothing at all", Vec::new()),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        ("no body", head.into()),
        ("half a body", format!("{head}{{\"name\":\"Erika\"").into()),
        ("no last chunk", chunked.into()),
        ("half a gzip", half.concat()),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
    ];
    for (name, bytes) in cases {
        let fault = fault_of(answer(bytes), HttpOptions::default()).await;
        assert_eq!(
            (fault.class, &*fault.code, fault.effect),
            (Class::Retry, "http_cut", Effect::Unknown),
            "{name}: {fault}"
        );
    }
}

#[tokio::test]
async fn a_slow_reply_times_out_with_an_unknown_effect() {
    let slow_body: Part = Box::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
        for _ in 0..9 {
            std::thread::sleep(Duration::from_millis(60));
            let _ = stream.write_all(b"x");
        }
    });
    let no_head: Part = Box::new(|_| std::thread::sleep(Duration::from_millis(400)));
    for script in [slow_body, no_head] {
        let options = HttpOptions {
            timeout: Duration::from_millis(200),
            ..HttpOptions::default()
        };
        let fault = fault_of(script, options).await;
        assert_eq!(
            (&*fault.code, fault.effect),
            ("http_timeout", Effect::Unknown)
        );
        assert!(fault.message.contains("200ms"), "{fault}");
    }
}

#[tokio::test]
async fn a_request_may_bring_its_own_timeout() {
    let late: Part = Box::new(|stream| {
        std::thread::sleep(Duration::from_millis(300));
        let _ = stream.write_all(&reply("200 OK", "", b"late"));
    });
    let server = Server::start(vec![late]);
    let options = HttpOptions {
        timeout: Duration::from_millis(100),
        ..HttpOptions::default()
    };
    let mut request = get(&server);
    request.timeout = Some(Duration::from_secs(5));
    assert_eq!(client(options).send(request).await.unwrap().body, "late");
    server.finish().await;
}

#[tokio::test]
async fn what_never_left_has_no_effect() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let not_tls = Server::wrapping(vec![answer("")], |mut stream| {
        let _ = stream.write_all(&reply("400 Bad Request", "", b""));
        None
    });
    let cases = [
        (format!("http://{free}/orders"), "http_connect"),
        // A label of 64 letters is refused without asking a name server.
        (
            format!("http://{}.invalid/orders", "a".repeat(64)),
            "http_dns",
        ),
        (format!("https://{}/orders", not_tls.address), "http_tls"),
    ];
    for (url, code) in cases {
        let client = with_some_authority(HttpOptions::default());
        let request = HttpRequest::new("GET", &url);
        let fault = client.send(request).await.unwrap_err();
        assert_eq!(
            (fault.class, &*fault.code, fault.effect),
            (Class::Retry, code, Effect::None),
            "{url}: {fault}"
        );
    }
    not_tls.finish().await;
}

/// TLS needs at least one authority, which a bare machine may not have.
fn with_some_authority(options: HttpOptions) -> Client {
    let certified = rcgen::generate_simple_self_signed(["unused.example".into()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certified.cert.pem()).unwrap();
    client(HttpOptions {
        ca_file: Some(file.path().to_owned()),
        ..options
    })
}

#[tokio::test]
async fn nobody_answering_is_a_connect_timeout() {
    // A listener that never accepts: its queue fills up, and then no connection is taken.
    let options = HttpOptions {
        connect_timeout: Duration::from_millis(300),
        ..HttpOptions::default()
    };
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let _filling: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)))
        .collect();
    let request = HttpRequest::new("GET", format!("http://{address}/orders"));
    let fault = client(options).send(request).await.unwrap_err();
    assert_eq!(
        (&*fault.code, fault.effect),
        ("http_connect_timeout", Effect::None)
    );
}

#[tokio::test]
async fn a_redirect_is_a_reply_and_credentials_do_not_follow_it() {
    let headers = "location: http://127.0.0.1:9/elsewhere\r\n";
    let server = Server::start(vec![answer(reply("302 Found", headers, b""))]);
    let reply = client(HttpOptions::default())
        .send(get(&server))
        .await
        .unwrap();
    assert_eq!(reply.status, 302);
    assert_eq!(
        reply.header("location"),
        Some("http://127.0.0.1:9/elsewhere")
    );
    server.finish().await;
}

#[tokio::test]
async fn gzip_is_unpacked() {
    let text = r#"{"name":"Erika"}"#.repeat(1000);
    let headers = "content-encoding: gzip\r\n";
    let packed = gzip(text.as_bytes());
    assert!(packed.len() < 1000);
    let server = Server::start(vec![answer(reply("200 OK", headers, &packed))]);
    let reply = client(HttpOptions::default())
        .send(get(&server))
        .await
        .unwrap();
    assert_eq!(reply.body, text);
    assert_eq!(reply.header("content-encoding"), None);
    server.finish().await;
}

fn cap_of_a_mebibyte() -> HttpOptions {
    HttpOptions {
        max_body_bytes: 1 << 20,
        ..HttpOptions::default()
    }
}

/// 8 kB that unpack to 8 MB.
#[tokio::test]
async fn a_gzip_bomb_is_too_large() {
    let bomb = gzip(&vec![0; 8 << 20]);
    assert!(bomb.len() < 32 * 1024);
    let script = answer(reply("200 OK", "content-encoding: gzip\r\n", &bomb));
    let fault = fault_of(script, cap_of_a_mebibyte()).await;
    assert_eq!(
        (fault.class, &*fault.code),
        (Class::Reject, "body_too_large")
    );
    assert_eq!(fault.effect, Effect::Unknown);
}

/// 200 MB without an announced length: refused after little more than the cap was sent.
#[tokio::test]
async fn a_body_of_200_mb_is_refused_early() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&sent);
    let flood: Part = Box::new(move |stream| {
        let piece = vec![b'x'; 64 * 1024];
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while counts.load(Ordering::Relaxed) < 200 << 20 && stream.write_all(&piece).is_ok() {
            counts.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    let fault = fault_of(flood, cap_of_a_mebibyte()).await;
    assert_eq!(&*fault.code, "body_too_large");
    let sent = sent.load(Ordering::Relaxed);
    assert!(
        sent < 20 << 20,
        "the rest waits in socket buffers: {sent} bytes sent"
    );
}

#[tokio::test]
async fn an_announced_length_above_the_cap_is_refused_at_once() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n";
    let fault = fault_of(answer(announced), cap_of_a_mebibyte()).await;
    assert_eq!(&*fault.code, "body_too_large");
    // Exactly the cap is not above it.
    let whole = reply("200 OK", "", &vec![b'x'; 1 << 20]);
    let server = Server::start(vec![answer(whole)]);
    let reply = client(cap_of_a_mebibyte())
        .send(get(&server))
        .await
        .unwrap();
    assert_eq!(reply.body.len(), 1 << 20);
    server.finish().await;
}

#[tokio::test]
async fn the_proxy_is_used_and_its_password_is_not_shown() {
    let proxy = Server::start(vec![
        answer(reply("200 OK", "", b"through the proxy")),
        answer("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
    ]);
    let options = HttpOptions {
        proxy: Some(Secret::new(format!(
            "http://bob:pa55word@{}",
            proxy.address
        ))),
        ..HttpOptions::default()
    };
    assert!(!format!("{options:?}").contains("pa55word"));
    let client = with_some_authority(options);
    assert!(!format!("{client:?}").contains("pa55word"), "{client:?}");
    let plain = HttpRequest::new("GET", "http://shop.invalid/orders");
    assert_eq!(client.send(plain).await.unwrap().body, "through the proxy");
    // A tunnel that the proxy refuses: nothing reached the shop.
    let tunnelled = HttpRequest::new("POST", "https://shop.invalid/orders");
    let fault = client.send(tunnelled).await.unwrap_err();
    assert_eq!(
        (&*fault.code, fault.effect),
        ("http_connect", Effect::None),
        "{fault}"
    );
    assert!(!fault.message.contains("pa55word"), "{fault}");
    let heard = proxy.finish().await;
    assert!(
        heard[0].starts_with("GET http://shop.invalid/orders HTTP/1.1"),
        "{}",
        heard[0]
    );
    assert!(
        heard[0].contains("proxy-authorization: Basic"),
        "{}",
        heard[0]
    );
    assert!(
        heard[1].starts_with("CONNECT shop.invalid:443 HTTP/1.1"),
        "{}",
        heard[1]
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_matter_of_configuration() {
    let secret = |text: &str| HeaderValue::Secret(Secret::new(text));
    let mut line_break = HttpRequest::new("GET", "http://127.0.0.1:9/a");
    line_break
        .headers
        .push(("x-token".into(), secret("s3cret\r\nx-evil: 1")));
    let cases = [
        HttpRequest::new("GET", "127.0.0.1:9/a?key=s3cret"),
        HttpRequest::new("GET", "ftp://127.0.0.1/a?key=s3cret"),
        HttpRequest::new("GET", "http://"),
        HttpRequest::new("GE T", "http://127.0.0.1:9/a"),
        HttpRequest::new("GET", "http://127.0.0.1:9/a").header("x y", "1"),
        line_break,
    ];
    let client = client(HttpOptions::default());
    for request in cases {
        let fault = client.send(request.clone()).await.unwrap_err();
        assert_eq!(fault.class, Class::Config, "{request:?} {fault}");
        assert!(!fault.message.contains("s3cret"), "{fault}");
    }
}

#[test]
fn options_are_checked_before_anything_is_sent() {
    let no_certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(no_certificate.path(), "hello").unwrap();
    let missing = no_certificate.path().with_extension("missing");
    let cases = [
        (None, Some(missing), "No such file"),
        (
            None,
            Some(no_certificate.path().to_owned()),
            "BEGIN CERTIFICATE",
        ),
        (Some("proxy.example:3128"), None, "http://host:port"),
        (
            Some("socks5://bob:pa55word@proxy.example"),
            None,
            "socks5://proxy.example",
        ),
    ];
    for (proxy, ca_file, expect) in cases {
        let options = HttpOptions {
            proxy: proxy.map(Secret::new),
            ca_file,
            ..HttpOptions::default()
        };
        let clock = Arc::new(super::VirtualClock::default());
        let fault = Client::new(options, clock).unwrap_err();
        assert_eq!((fault.class, &*fault.code), (Class::Config, "http_setup"));
        assert!(fault.message.contains(expect), "{fault}");
        assert!(!fault.message.contains("pa55word"), "{fault}");
    }
}
