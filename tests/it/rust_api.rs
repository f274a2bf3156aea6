//! What Rust programs use: what the scenarios, which every language runs, have no words for.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use replication::{
    AckLevel, ApplyPolicy, Batch, Entry, Error, EventKind, Quorum, Receiver, ReceiverBuilder, Rights, Secret, Sender,
    Status, Token,
};

use crate::common::until;

const PATIENCE: Duration = Duration::from_secs(20);

fn sender() -> (Sender, String) {
    let sender = Sender::builder().build().unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    (sender, format!("127.0.0.1:{port}"))
}

fn reader(address: &str) -> ReceiverBuilder {
    Receiver::builder().reader_id("reader-1").writer_addr(address).reconnect_interval(Duration::from_millis(20))
}

/// The messages of the events of this kind, through a channel.
fn hear(builder: ReceiverBuilder, kind: EventKind) -> (ReceiverBuilder, mpsc::Receiver<(Status, String)>) {
    let (tell, told) = mpsc::channel();
    let builder = builder.event_handler(move |event| {
        if event.kind == kind {
            let _ = tell.send((event.status, event.message.clone()));
        }
    });
    (builder, told)
}

#[test]
fn a_handler_that_panics_has_not_applied_the_entry() {
    let (sender, address) = sender();
    let (builder, failures) = hear(reader(&address), EventKind::ApplyFailed);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (remember, mut panics) = (Arc::clone(&taken), 1);
    let receiver = builder
        .handler(move |entry: &Entry<'_>| {
            if entry.sequence() == 2 && panics > 0 {
                panics -= 1;
                panic!("no table {}", 7);
            }
            remember.lock().unwrap().push(entry.sequence());
            Ok(())
        })
        .build()
        .unwrap();
    receiver.start().unwrap();
    sender.replicate_batch(&["a", "b", "c"]).unwrap();
    receiver.wait_sequence(3, PATIENCE).unwrap();
    assert_eq!(*taken.lock().unwrap(), [1, 2, 3]);
    let (status, message) = failures.recv_timeout(PATIENCE).unwrap();
    assert_eq!(status, Status::ApplyFailed);
    assert!(message.contains("the handler panicked: no table 7"), "{message}");
}

#[test]
fn panics_of_other_handlers_have_no_effect() {
    let (sender, address) = sender();
    let receiver = reader(&address)
        .event_handler(|_| panic!("an event"))
        .log_handler(replication::LogLevel::Debug, |_, _, _| panic!("a record"))
        .handler(|_: &Entry<'_>| Ok(()))
        .build()
        .unwrap();
    receiver.start().unwrap();
    let token = sender.replicate_token("a").unwrap();
    sender.on_acked(&token, AckLevel::Applied, 1, PATIENCE, |_| panic!("an acknowledgement")).unwrap();
    let (tell, told) = mpsc::channel();
    sender.on_acked(&token, AckLevel::Applied, 1, PATIENCE, move |acked| tell.send(acked).unwrap()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(1));
    sender.stop().unwrap();
}

#[test]
fn the_error_of_a_handler_is_told_with_its_status_and_its_text() {
    let (sender, address) = sender();
    let (builder, failures) = hear(reader(&address), EventKind::ApplyFailed);
    let receiver = builder
        .apply_policy(ApplyPolicy::Skip(0))
        .handler(|entry: &Entry<'_>| match entry.sequence() {
            1 => Err("no such table".into()),
            2 => Err(Error::new(Status::DiskFull, "the table has no room").into()),
            3 => Err(Error::new(Status::Ok, "all is well").into()),
            _ => Ok(()),
        })
        .build()
        .unwrap();
    receiver.start().unwrap();
    sender.replicate_batch(&["a", "b", "c", "d"]).unwrap();
    receiver.wait_sequence(4, PATIENCE).unwrap();
    for text in ["no such table", "the table has no room", "all is well"] {
        let (_, message) = failures.recv_timeout(PATIENCE).unwrap();
        assert!(message.contains(text), "{message}");
    }
}

/// Each entry's token goes on right after it, also in the middle of a batch.
#[test]
fn the_token_of_every_entry_is_the_place_after_it() {
    let (sender, address) = sender();
    let payloads: Vec<_> = (1..=6_u8).map(|byte| [byte; 10]).collect();
    sender.replicate_batch(&payloads).unwrap();
    let tokens = Arc::new(Mutex::new(Vec::<Option<Token>>::new()));
    let remember = Arc::clone(&tokens);
    let batches = move |batch: &Batch<'_>| {
        remember.lock().unwrap().extend(batch.iter().map(Entry::token));
        Ok(())
    };
    let receiver = reader(&address).batch_handler(4, batches).build().unwrap();
    receiver.start().unwrap();
    receiver.wait_sequence(6, PATIENCE).unwrap();
    let tokens = tokens.lock().unwrap().clone();
    assert_eq!(tokens[5], Some(sender.token().unwrap()));
    assert_eq!(tokens[5], Some(receiver.token().unwrap()));
    drop(receiver);

    for (at, token) in tokens.into_iter().enumerate() {
        let (tell, told) = mpsc::channel();
        let receiver = reader(&address)
            .token(token.unwrap())
            .handler(move |entry: &Entry<'_>| {
                tell.send((entry.sequence(), entry.payload().to_vec(), entry.token()))?;
                Ok(())
            })
            .build()
            .unwrap();
        receiver.start().unwrap();
        receiver.wait_sequence(6, PATIENCE).unwrap();
        drop(receiver);
        let got: Vec<_> = told.iter().map(|(sequence, payload, _)| (sequence, payload[0])).collect();
        assert_eq!(got, (at as u64 + 2..=6).map(|sequence| (sequence, sequence as u8)).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_failing_batch_has_applied_does_not_come_again() {
    let (sender, address) = sender();
    sender.replicate_batch(&["a", "b", "c", "d", "e"]).unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let remember = Arc::clone(&calls);
    let mut failures = 2;
    let receiver = reader(&address)
        .batch_handler(100, move |batch: &Batch<'_>| {
            remember.lock().unwrap().push((batch[0].sequence(), batch.len()));
            if failures == 0 {
                return Ok(());
            }
            failures -= 1;
            batch.applied(2);
            if failures == 0 {
                panic!("in the middle");
            }
            Err("in the middle".into())
        })
        .build()
        .unwrap();
    receiver.start().unwrap();
    receiver.wait_sequence(5, PATIENCE).unwrap();
    assert_eq!(*calls.lock().unwrap(), [(1, 5), (3, 3), (5, 1)]);
}

/// No handler begins after that, and another thread ends the receiver.
#[test]
fn a_receiver_may_be_dropped_in_its_own_handler() {
    let (sender, address) = sender();
    let place = Arc::new(Mutex::new(None::<Receiver>));
    let calls = Arc::new(AtomicU32::new(0));
    let (own, count) = (Arc::clone(&place), Arc::clone(&calls));
    let receiver = reader(&address)
        .handler(move |_: &Entry<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            let receiver = own.lock().unwrap().take().unwrap();
            assert_eq!(receiver.stop().unwrap_err().status(), Status::WrongThread);
            assert_eq!(receiver.wait_sequence(9, PATIENCE).unwrap_err().status(), Status::WrongThread);
            drop(receiver);
            Ok(())
        })
        .build()
        .unwrap();
    receiver.start().unwrap();
    *place.lock().unwrap() = Some(receiver);
    sender.replicate_batch(&["a", "b", "c"]).unwrap();
    until("the receiver has ended", || Arc::strong_count(&calls) == 1);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    until("the sender has seen it go", || sender.reader_count() == 0);
}

#[test]
fn a_sender_may_be_dropped_in_its_own_handler() {
    let place = Arc::new(Mutex::new(None::<Sender>));
    let (own, (tell, told)) = (Arc::clone(&place), mpsc::channel());
    let sender = Sender::builder()
        .event_handler(move |_| {
            let sender = own.lock().unwrap().take().unwrap();
            let refused =
                |result: replication::Result<()>| assert_eq!(result.unwrap_err().status(), Status::WrongThread);
            refused(sender.stop());
            refused(sender.wait_durable(1, PATIENCE));
            refused(sender.wait_acked(1, AckLevel::Received, 1, PATIENCE).map(drop));
            drop(sender);
            tell.send(()).unwrap();
        })
        .build()
        .unwrap();
    sender.start().unwrap();
    let mut hold = place.lock().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"this is no handshake").unwrap(); // which is an event
    sender.accept_connection(ours).unwrap();
    *hold = Some(sender);
    drop(hold);
    told.recv_timeout(PATIENCE).unwrap();
    until("the sender has ended", || Arc::strong_count(&place) == 1);
}

#[test]
fn a_wait_says_who_is_missing() {
    let sender = Sender::builder().group("east", ["east-*"]).build().unwrap();
    sender.start().unwrap();
    let token = sender.replicate_token("a").unwrap();
    let wait = |quorum: Quorum| sender.wait_token(&token, AckLevel::Durable, quorum, Duration::from_millis(1));
    let error = wait(Quorum::group("east", 2).and_any(3)).unwrap_err();
    assert_eq!(error.status(), Status::Timeout);
    assert!(error.message().contains("0 of 2 readers in group \"east\", 0 of 3 readers"), "{error}");
    assert_eq!(error.taken(), None);
    let error = wait(Quorum::any(1).and_group("west", 1)).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert!(error.message().contains("no group \"west\""), "{error}");
    assert_eq!(sender.acked(&token, AckLevel::Received, 0).unwrap(), 0);
    assert_eq!(sender.replicate_batch::<&str>(&[]).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn options_that_do_not_fit_are_refused_by_name() {
    let sender = |change: fn(replication::SenderBuilder) -> replication::SenderBuilder, name: &str| {
        let error = change(Sender::builder()).build().unwrap_err();
        assert!(error.status() == Status::InvalidArgument && error.message().contains(name), "{name}: {error}");
    };
    sender(|it| it.buffer_size(0), "buffer_size");
    sender(|it| it.buffer_bytes(1), "buffer_bytes");
    sender(|it| it.write_timeout(Duration::ZERO), "write_timeout");
    sender(|it| it.max_readers(0), "max_readers");
    sender(|it| it.max_handshakes(0), "max_handshakes is 0");
    sender(|it| it.max_handshakes_per_address(65_537), "max_handshakes_per_address");
    sender(|it| it.max_handshakes_per_network(0), "max_handshakes_per_network");
    sender(|it| it.max_connection_rate_per_address(5).tls_crl("list.pem"), "tls_crl");
    sender(|it| it.io_threads(257), "io_threads");
    sender(|it| it.max_pending_acks(0), "max_pending_acks");
    sender(|it| it.unix_socket_mode(0o1777), "unix_socket_mode");
    sender(|it| it.min_heartbeat(Duration::ZERO), "min_heartbeat");
    sender(|it| it.group("east", [""; 0]), "east");
    sender(|it| it.group("east", ["a"]).group("east", ["b"]), "east");
    sender(|it| it.wal_dir("anywhere").wal_segment_bytes(1), "segment_bytes");
    sender(|it| it.tls_client_ca("authority.pem"), "tls_client_ca");
    let error = Sender::builder().tls("/nowhere/chain.pem", "/nowhere/key.pem").build().unwrap_err();
    assert!(error.status() == Status::Io && error.message().contains("/nowhere/chain.pem"), "{error}");

    let receiver = |change: fn(ReceiverBuilder) -> ReceiverBuilder, name: &str| {
        let error = change(reader("127.0.0.1:1").handler(|_: &Entry<'_>| Ok(()))).build().unwrap_err();
        assert!(error.message().contains(name), "{name}: {error}");
    };
    receiver(|it| it.reader_id(""), "reader_id");
    receiver(|it| it.writer_addr(""), "writer_addr");
    receiver(|it| it.writer_addr("nowhere"), "nowhere");
    receiver(|it| it.batch_handler(0, |_: &Batch<'_>| Ok(())), "max_entries");
    receiver(|it| it.max_epoch_jump(0), "max_epoch_jump");
    receiver(|it| it.max_entry_bytes(0), "max_entry_bytes");
    receiver(|it| it.ack_interval(Duration::ZERO), "ack_interval");
    receiver(|it| it.tls_server_name("writer.example"), "tls_server_name");
}

#[test]
fn a_token_with_a_lower_epoch_is_refused() {
    let (sender, _) = sender();
    sender.replicate("a").unwrap();
    let token = sender.token().unwrap();
    let error = Sender::builder().token(token, 0).build().unwrap_err();
    assert_eq!(error.to_string(), "INVALID_ARGUMENT: epoch 0 is below the token's, 1");
    let damaged: Vec<_> = token.to_bytes().iter().map(|byte| byte ^ 1).collect();
    assert_eq!(Token::from_bytes(&damaged).unwrap_err().status(), Status::Damaged);
}

#[test]
fn the_hosts_own_log_and_dialling_go_before_the_handler() {
    let (sender, address) = sender();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let steps = Arc::clone(&steps);
        move || steps.lock().unwrap().push(what)
    };
    let (dialled, logged, applied) = (note("dial"), note("log"), note("apply"));
    let mut dials = 0;
    let receiver = reader(&address)
        .connect_handler(move |address| {
            dials += 1;
            if dials == 1 {
                panic!("no route");
            }
            dialled();
            Ok(std::net::TcpStream::connect(address)?.into())
        })
        .local_wal(move |entry: &Entry<'_>| {
            assert_eq!(entry.token(), None);
            logged();
            Ok(())
        })
        .handler(move |_: &Entry<'_>| {
            applied();
            Ok(())
        })
        .build()
        .unwrap();
    receiver.start().unwrap();
    let sequence = sender.replicate("a").unwrap();
    receiver.wait_sequence(sequence, PATIENCE).unwrap();
    assert_eq!(*steps.lock().unwrap(), ["dial", "log", "apply"]);
    assert_eq!(receiver.stats().unwrap()["running"], true);
    receiver.stop().unwrap();
    assert_eq!(receiver.start().unwrap_err().status(), Status::Closed);
}

/// `Duration::MAX` stands for ever, wherever a time can be given.
#[test]
fn times_without_an_end_are_taken() {
    use replication::{FullPolicy, GatePolicy, SyncPolicy, WriteGate};
    let ever = Duration::MAX;
    let almost = ever - Duration::from_nanos(1);
    let scratch = tempfile::tempdir().unwrap();
    let gate = WriteGate {
        min_readers: 1,
        max_lag_entries: 0,
        max_lag: ever,
        level: AckLevel::Applied,
        policy: GatePolicy::Slow(ever),
    };
    let sync = SyncPolicy::Group { interval: ever, bytes: 1 << 20 };
    let sender = Sender::builder()
        .full_policy(FullPolicy::Wait(ever))
        .write_timeout(ever)
        .handshake_timeout(ever)
        .heartbeat_interval(Duration::from_secs(1))
        .peer_timeout(ever)
        .stop_timeout(ever)
        .write_gate(gate)
        .wal_dir(scratch.path().join("log"))
        .wal_sync(sync)
        .wal_retain(ever)
        .wal_timeout(ever)
        .slot_expiry(almost)
        .build()
        .unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    let receiver = reader(&format!("127.0.0.1:{port}"))
        .reconnect_interval(ever)
        .ack_interval(ever)
        .connect_timeout(ever)
        .peer_timeout(ever)
        .wal_dir(scratch.path().join("reader"))
        .wal_sync(sync)
        .wal_retain(ever)
        .handler(|_: &Entry<'_>| Ok(()))
        .build()
        .unwrap();
    receiver.start().unwrap();
    let sequence = sender.replicate("a").unwrap();
    assert_eq!(sender.wait_acked(sequence, AckLevel::Durable, 1, ever), Ok(1));
    assert_eq!(sender.wait_acked(sequence, AckLevel::Applied, 1, ever), Ok(1));
    sender.wait_durable(sequence, ever).unwrap();
    receiver.wait_sequence(sequence, ever).unwrap();
    receiver.stop().unwrap();
    sender.stop().unwrap();
}

#[test]
fn a_host_decides_about_readers_with_a_closure() {
    let (asked, requests) = std::sync::mpsc::channel();
    let sender =
        Sender::builder().authorize_handler(move |request| asked.send(request.clone()).unwrap()).build().unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    let follow = |id: &str| {
        let receiver = Receiver::builder()
            .reader_id(id)
            .writer_addr(format!("127.0.0.1:{port}"))
            .handler(|_: &Entry<'_>| Ok(()))
            .build()
            .unwrap();
        receiver.start().unwrap();
        receiver
    };
    let sequence = sender.replicate("entry").unwrap();
    let receiver = follow("r");
    let request = requests.recv().unwrap();
    assert_eq!((request.reader_id.as_str(), request.sequence), ("r", 0));
    sender.authorize(request.ticket, Rights::READ).unwrap();
    receiver.wait_sequence(sequence, PATIENCE).unwrap();
    let _other = follow("other");
    sender.refuse(requests.recv().unwrap().ticket, "unknown").unwrap();
    assert_eq!(sender.refuse(request.ticket, "gone").unwrap_err().status(), Status::NotFound);
    assert_eq!(sender.set_access_rules("read").unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(sender.reload_access_file().unwrap_err().status(), Status::InvalidState);
    let rules = |rules: &str| Sender::builder().access_rules(rules).build().map(drop).map_err(|error| error.status());
    assert_eq!((rules("* * * * read"), rules("* * * * reads")), (Ok(()), Err(Status::InvalidArgument)));
    let writer = Receiver::builder().writer_identity("nobody").reader_id("r").handler(|_: &Entry<'_>| Ok(())).build();
    assert_eq!(writer.unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn a_secret_is_made_once_and_given_to_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let random = [7; 32];
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .unwrap()
        .write_all(&random)
        .unwrap();
    let [from_bytes, from_file] =
        [Secret::from_bytes("cluster", "readers", random), Secret::from_file("cluster", "readers", &file, false)];
    let phrase = Secret::from_passphrase("cluster", "people", "correct horse").unwrap();
    std::fs::write(&file, "correct horse\n").unwrap();
    let phrase_file = Secret::from_passphrase_file("cluster", "people", &file, false).unwrap();
    let short = Secret::from_bytes("cluster", "readers", [7; 31]).unwrap_err();
    assert!(short.status() == Status::InvalidArgument && !format!("{from_bytes:?}").contains("7, 7"), "{short}");

    let sender = Sender::builder()
        .secret(&from_bytes.unwrap())
        .secret(&phrase)
        .plain_secrets_allowed(true)
        .access_rules("* * secret:{id} * read")
        .build()
        .unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    let follow = |id: &str, secret: &Secret| {
        let receiver = Receiver::builder()
            .reader_id(id)
            .writer_addr(format!("127.0.0.1:{port}"))
            .secret(secret)
            .plain_secrets_allowed(true)
            .reconnect_interval(Duration::from_millis(100))
            .handler(|_: &Entry<'_>| Ok(()))
            .build()
            .unwrap();
        receiver.start().unwrap();
        receiver
    };
    let sequence = sender.replicate("entry").unwrap();
    let [readers, people] = [follow("readers", &from_file.unwrap()), follow("people", &phrase_file)];
    for receiver in [&readers, &people] {
        receiver.wait_sequence(sequence, PATIENCE).unwrap();
    }
    let new = Secret::from_bytes("cluster", "readers", [8; 32]).unwrap();
    sender.add_secret(&new).unwrap();
    readers.set_secret(Some(&new)).unwrap();
    sender.remove_secret("readers").unwrap();
    readers.wait_sequence(sender.replicate("entry").unwrap(), PATIENCE).unwrap();
    readers.set_secret(None).unwrap();
    assert_eq!(sender.remove_secret("nobody").unwrap_err().status(), Status::NotFound);
    let twice = Sender::builder().secret(&new).secret(&new).secret(&new).build().map(drop);
    assert_eq!(twice.unwrap_err().status(), Status::InvalidState);
}
