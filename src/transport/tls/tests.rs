use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::transport::stream::StreamKind;
use crate::transport::test_files::TlsFiles;
use crate::transport::{Address, IdentityFiles, Stream, TlsClient, TlsServer};

const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for what is ready to show.
const MOMENT: Duration = Duration::from_millis(50);

fn path(file: &CStr) -> &Path {
    Path::new(file.to_str().unwrap())
}

/// Both ends of a connection, before its handshake.
fn connection(test: &str) -> (Stream, Stream) {
    let files = TlsFiles::new(test);
    let identity = IdentityFiles {
        certificate_chain_file: path(&files.chain),
        private_key_file: path(&files.key),
        insecure_permissions_allowed: false,
    };
    let server = TlsServer::from_files(identity, None).unwrap();
    let client = TlsClient::from_files(path(&files.authority), Some("writer.example"), None).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = |socket| Stream::from_unix(socket, "peer").unwrap();
    let client = client.connect(stream(theirs), &Address::parse("unix:/writer").unwrap()).unwrap();
    (server.accept(stream(ours)).unwrap(), client)
}

/// Runs a test on both ends of a connection.
fn run<F: Future<Output = ()>>(test: &str, work: impl FnOnce(Stream, Stream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (server, client) = connection(test);
        let (served, connected) = tokio::join!(server.handshake(), client.handshake());
        served.and(connected).unwrap();
        timeout(PATIENCE, work(server, client)).await.unwrap();
    });
}

/// Sends until nothing more is taken; how much was.
fn fill(stream: &Stream) -> usize {
    let mut taken = 0;
    loop {
        match stream.try_send(&[IoSlice::new(&[1; 1000]), IoSlice::new(&[2; 9000])]) {
            Ok(sent) => taken += sent,
            Err(error) if is_blocked(&error) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Receives so many bytes, or up to the end.
async fn receive(stream: &Stream, length: usize) -> BytesMut {
    let mut received = BytesMut::new();
    while received.len() < length {
        stream.readable().await.unwrap();
        match stream.try_receive(&mut (&mut received).limit(length)) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => assert!(is_blocked(&error), "{error}"),
        }
    }
    received
}

/// Waits for bytes that never come.
async fn wait_in_vain(stream: &Stream) {
    loop {
        stream.readable().await.unwrap();
        assert!(is_blocked(&stream.try_receive(&mut Vec::new()).unwrap_err()));
    }
}

#[test]
fn p5_what_waits_for_the_socket_is_bounded() {
    run("bounded", async |server, _client| {
        let taken = fill(&server);
        let waiting = taken as u64 - server.flushed().min(taken as u64);
        assert!(taken > 10_000 && waiting <= PENDING_BYTES as u64, "{waiting} bytes of {taken} wait");
        assert!(is_blocked(&server.try_flush().unwrap_err()));
        assert_eq!(fill(&server), 0);
    });
}

#[test]
fn what_was_taken_goes_out_while_somebody_waits_for_more() {
    run("goes_out", async |server, client| {
        let taken = fill(&server);
        tokio::select! {
            () = wait_in_vain(&server) => {}
            received = receive(&client, taken) => assert_eq!(received.len(), taken),
        }
        server.try_flush().unwrap();
        assert!(server.flushed() > taken as u64);
    });
}

#[test]
fn what_is_decrypted_is_readable_without_the_socket() {
    run("decrypted", async |server, client| {
        assert_eq!(server.try_send(&[IoSlice::new(&[7; 5000])]).unwrap(), 5000);
        let mut received = Vec::new();
        while received.len() < 5000 {
            timeout(PATIENCE, client.readable()).await.unwrap().unwrap();
            let before = received.len();
            match client.try_receive(&mut (&mut received).limit(999)) {
                Ok(length) => assert!(length <= 999 && received.len() == before + length),
                Err(error) => assert!(is_blocked(&error), "{error}"),
            }
        }
        assert_eq!(received, [7; 5000]);
        let nothing = client.try_receive(&mut received);
        assert!(is_blocked(&nothing.unwrap_err()));
        assert!(timeout(MOMENT, client.readable()).await.is_err(), "readable, but nothing is there");
    });
}

#[test]
fn an_end_comes_after_all_that_was_taken() {
    run("end", async |server, client| {
        let taken = fill(&server);
        server.finish();
        assert_eq!(server.try_send(&[IoSlice::new(b"more")]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        // The other direction is still open.
        assert_eq!(client.try_send(&[IoSlice::new(b"ack")]).unwrap(), 3);
        assert_eq!(receive(&server, 3).await, "ack");
        tokio::select! {
            () = wait_in_vain(&server) => {}
            received = receive(&client, usize::MAX) => assert_eq!(received.len(), taken),
        }
        // The peer, too, may end as it likes now.
        drop(client);
        server.readable().await.unwrap();
        assert_eq!(server.try_receive(&mut Vec::new()).unwrap(), 0);
    });
}

#[test]
fn a_dropped_connection_is_closed_and_a_cut_one_is_truncated() {
    run("dropped", async |server, client| {
        drop(server);
        client.readable().await.unwrap();
        assert_eq!(client.try_receive(&mut Vec::new()).unwrap(), 0);
    });
    run("truncated", async |server, client| {
        server.try_send(&[IoSlice::new(b"last")]).unwrap();
        let StreamKind::Tls(tls) = &server.kind else { panic!("no TLS") };
        tls.socket().finish();
        assert_eq!(receive(&client, 4).await, "last");
        client.readable().await.unwrap();
        let error = client.try_receive(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "TLS with peer failed: truncated, the peer sent no close_notify");
    });
}

#[test]
fn p8_a_forged_record_ends_the_connection_with_an_alert() {
    run("forged", async |server, client| {
        let StreamKind::Tls(tls) = &server.kind else { panic!("no TLS") };
        let forged = [&[23, 3, 3, 0, 32][..], &[9; 32]].concat();
        tls.socket().try_send(&[IoSlice::new(&forged)]).unwrap();
        client.readable().await.unwrap();
        for _ in 0..2 {
            let error = client.try_receive(&mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), "TLS with peer failed: cannot decrypt peer's message");
            assert!(client.try_send(&[IoSlice::new(b"more")]).is_err());
        }
        server.readable().await.unwrap();
        let error = server.try_receive(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    });
}
