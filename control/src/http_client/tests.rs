//! Requests to servers that behave, and to such as don't.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const SOON: Duration = Duration::from_millis(300);

fn client(reach: Reach) -> HttpClient {
    HttpClient::new(&Options { reach, ca: None }).expect("nothing to read")
}

/// A server that says this on every connection, once it has heard anything.
async fn server(says: &'static str) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(says.as_bytes()).await;
                // It does not close: that is up to the client.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    format!("http://{address}/x").parse().expect("a URL")
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let uri = server("HTTP/1.1 404 No\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = client(Reach::Everywhere).get(uri, SOON, 5).await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(answer.body, "hello");
}

#[tokio::test]
async fn too_much_is_not_taken() {
    let says = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!";
    let uri = server(says).await;
    let answer = client(Reach::Everywhere).get(uri, SOON, 5).await;
    assert!(matches!(answer, Err(Error::TooLong(5))), "{answer:?}");
}

#[tokio::test]
async fn silence_is_not_borne() {
    let client = client(Reach::Everywhere);
    let answer = client.get(server("").await, SOON, 5).await;
    assert!(matches!(answer, Err(Error::Timeout(_))), "{answer:?}");
    let half = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").await;
    let answer = client.get(half, SOON, 5).await;
    assert!(matches!(answer, Err(Error::Timeout(_))), "{answer:?}");
}

#[tokio::test]
async fn redirects_are_answers() {
    let inside =
        "HTTP/1.1 302 Go\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    let answer = client(Reach::Everywhere)
        .get(server(inside).await, SOON, 5)
        .await;
    assert_eq!(answer.expect("it answers").status, StatusCode::FOUND);
}

#[tokio::test]
async fn what_is_inside_is_not_reached_by_number_or_name() {
    let uri = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = uri.port_u16().expect("it has one");
    let public = client(Reach::Public);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ] {
        let uri = format!("http://{host}:{port}/").parse().expect("a URL");
        let answer = public.get(uri, SOON, 5).await;
        assert!(
            matches!(answer, Err(Error::Refused { .. })),
            "{host}: {answer:?}"
        );
    }
    let answer = client(Reach::Everywhere).get(uri, SOON, 5).await;
    assert!(answer.is_ok(), "the server was there: {answer:?}");
}

#[tokio::test]
async fn an_address_that_swallows_everything_does_not_hide_another() {
    // A listener whose queue is full answers nobody.
    let full = tokio::net::TcpSocket::new_v4().expect("a socket");
    full.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let full = full.listen(1).expect("bound");
    let swallows = full.local_addr().expect("bound");
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(SOON, tokio::net::TcpStream::connect(swallows)).await {
        waiting.push(stream.expect("there is room in the queue"));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let answers = listener.local_addr().expect("bound");
    let roots = RootCertStore::empty();
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = Connector::new(Reach::Everywhere, Arc::new(tls));
    let dialled = connector
        .dial_any("host", [swallows, answers].into_iter())
        .await;
    assert_eq!(
        dialled
            .expect("one of them")
            .peer_addr()
            .expect("connected"),
        answers
    );
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let uri = format!("http://{address}/").parse().expect("a URL");
    let answer = client(Reach::Everywhere).get(uri, SOON, 5).await;
    let text = answer.expect_err("nobody listens").to_string();
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn certificates_are_verified() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let dir = std::env::temp_dir().join(format!("ringcast-ca-{}", std::process::id()));
    std::fs::write(&dir, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("they fit");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 1024]).await;
                let says = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let _ = stream.write_all(says).await;
            }
        }
    });
    let uri: Uri = format!("https://localhost:{port}/").parse().expect("a URL");
    let everywhere = |ca| Options {
        reach: Reach::Everywhere,
        ca,
    };
    let stranger = HttpClient::new(&everywhere(None)).expect("nothing to read");
    let answer = stranger.get(uri.clone(), SOON, 5).await;
    assert!(matches!(answer, Err(Error::Failed(_))), "{answer:?}");
    let friend = HttpClient::new(&everywhere(Some(dir.clone()))).expect("it was written");
    let answer = friend.get(uri, SOON, 5).await;
    assert_eq!(answer.expect("it is trusted").body, "ok");
    std::fs::remove_file(&dir).expect("it was there");
    assert!(HttpClient::new(&everywhere(Some(dir))).is_err());
}
