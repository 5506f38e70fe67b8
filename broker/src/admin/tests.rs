//! The admin listener over a real socket on the loopback interface.

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

struct Told(Mutex<(Health, Readiness)>);

impl Probe for Told {
    fn health(&self) -> Health {
        self.0.lock().0.clone()
    }

    fn readiness(&self) -> Readiness {
        self.0.lock().1.clone()
    }
}

/// Status, headers and body.
async fn fetched(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_recovering_then_serving_then_poisoned_broker_says_so() {
    let recovering = Readiness::Recovering { step: "wal", done: 3, total: 10, unit: "bytes" };
    let probe = Arc::new(Told(Mutex::new((Health::Alive, recovering))));
    let metrics = Metrics::new();
    let admin = Admin::bind("127.0.0.1:0").await.expect("binds");
    let address = admin.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let told: Arc<dyn Probe> = probe.clone();
    let server = tokio::spawn(admin.serve(told, metrics.clone(), async {
        let _ = stopped.await;
    }));

    assert_eq!(fetched(address, "/healthz").await.0, 200);
    let (status, _, body) = fetched(address, "/readyz").await;
    assert_eq!(status, 503);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({"state": "recovering", "step": "wal", "done": 3, "total": 10, "unit": "bytes"})
    );

    probe.0.lock().1 = Readiness::Serving;
    assert_eq!(fetched(address, "/readyz").await.0, 200);

    metrics.wal.bytes.set(42);
    let (status, head, body) = fetched(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.contains("tidegate_wal_bytes 42\n") && body.ends_with("# EOF\n"), "{body}");

    probe.0.lock().0 = Health::Failed { why: "WAL 7 is poisoned: sync failed".to_owned() };
    let (status, _, body) = fetched(address, "/healthz").await;
    assert_eq!((status, body.as_str()), (503, "WAL 7 is poisoned: sync failed\n"));
    assert_eq!(fetched(address, "/other").await.0, 404);

    stop.send(()).expect("the server listens");
    server.await.expect("no panic").expect("stops without an error");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_of_bind() {
    let first = Admin::bind("127.0.0.1:0").await.expect("binds");
    let error = Admin::bind(&first.address().to_string()).await.expect_err("in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
