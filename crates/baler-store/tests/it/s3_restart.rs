//! A server that goes away: one that answered before is waited for, one that never did is told of soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use baler_store::s3::{S3Options, S3Store, StaticCredentials};
use baler_store::{Clock, Store, StoreError, SystemClock, SystemIds};
use baler_testkit::S3Server;
use baler_testkit::fixtures::{key, write_id};
use baler_testkit::s3::S3Options as ServerOptions;
use bytes::Bytes;
use tokio::net::TcpSocket;

fn store_at(endpoint: &str) -> Arc<S3Store> {
    let options = S3Options { endpoint: Some(endpoint.to_owned()), ..S3Options::new("s3", "bucket", "us-east-1") };
    let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
    Arc::new(S3Store::new(options, credentials, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap())
}

/// Waits until nobody listens at the port, and keeps it from everybody else: other tests take free ports, too.
async fn refusing(port: u16) -> TcpSocket {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        if socket.bind(([127, 0, 0, 1], port).into()).is_ok() {
            return socket;
        }
        SystemClock.sleep(Duration::from_millis(10)).await;
    }
}

/// Twelve seconds are more than all tries for an unknown server take, and less than is waited for a known one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_started_anew_is_waited_for() {
    let server = S3Server::start(ServerOptions::default()).await.unwrap();
    let store = store_at(&server.endpoint);
    store.put(&key("before"), Bytes::from_static(b"x")).await.unwrap();
    let port = server.addr.port();
    drop(server);
    let away = refusing(port).await;
    let calls = (0..4).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = format!("k{n}");
            store.put_if_absent(&key(&name), Bytes::from_static(b"y"), &write_id(&name)).await
        })
    });
    let mut calls: Vec<_> = calls.collect();
    let began = Instant::now();
    SystemClock.sleep(Duration::from_secs(12)).await;
    if let Some(call) = calls.iter_mut().find(|call| call.is_finished()) {
        panic!("a call ended within {:?}: {:?}", began.elapsed(), call.await.unwrap());
    }
    drop(away);
    let server = S3Server::start(ServerOptions { port, ..ServerOptions::default() }).await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    assert_eq!(server.keys("bucket", ""), ["k0", "k1", "k2", "k3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens_is_told_within_seconds() {
    let server = S3Server::start(ServerOptions::default()).await.unwrap();
    let (endpoint, port) = (server.endpoint.clone(), server.addr.port());
    drop(server);
    let _away = refusing(port).await;
    let began = Instant::now();
    let error = store_at(&endpoint).head(&key("k")).await.expect_err("nobody listens");
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert!(matches!(error, StoreError::Exhausted { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("cannot connect to {endpoint}")), "{text}");
    assert!(text.contains("refused"), "{text}");
}
