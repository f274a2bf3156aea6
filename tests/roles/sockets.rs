//! Hosts that lack descriptors, or move about.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use replication::host::EventKind;
use replication::sender::Sender;
use replication::sender::config::SenderConfig;

use crate::common::{Events, PATIENCE, receiver, receiver_config, sender, until};
use crate::parent::{Arguments, orders, say};

/// What a descriptor is, if it is open.
fn open_as(fd: i32) -> Option<String> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok().map(|path| path.display().to_string())
}

pub fn without_stdio(arguments: &Arguments) {
    let path = Path::new(arguments.text("dir")).join("socket");
    // Duplicates are above the standard streams.
    let keep = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
    let kept = [keep(std::io::stdin().as_fd()), keep(std::io::stdout().as_fd())];
    let (dir, tell) = (path.with_file_name("panic"), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let _ = std::fs::write(&dir, panic.to_string());
        tell(panic);
    }));
    for fd in 0..3 {
        nix::unistd::close(fd).unwrap();
    }
    let print = || println!("a line that some library prints");
    let (sender, address, _) = sender(SenderConfig::default());
    print();
    sender.listen(&format!("unix:{}", path.display())).unwrap();
    let by_name = address.replace("127.0.0.1", "localhost");
    let receivers = [by_name, format!("unix:{}", path.display())]
        .map(|address| receiver(receiver_config(&address.replace('/', "-"), &address)));
    until("two readers", || sender.reader_count() == 2);
    // One that the host gives away, which has the number 0: the library moves it. While a name is resolved, the C library
    // has files open.
    let mut pair = None;
    until("a socket with the number 0", || {
        pair = Some(UnixStream::pair().unwrap()).filter(|(given, _)| given.as_raw_fd() == 0);
        pair.is_some()
    });
    let (given, theirs) = pair.unwrap();
    let theirs = (keep(theirs.as_fd()), drop(theirs)).0;
    sender.accept_connection(OwnedFd::from(given), None).unwrap();
    for _ in 0..100 {
        print();
        sender.replicate(0, b"x").unwrap();
    }
    let applied = receivers.each_ref().map(|(receiver, applied, _)| {
        receiver.wait_sequence(100, PATIENCE).unwrap();
        applied.entries().len()
    });
    for fd in 0..3 {
        until("no descriptor of the library's below 3", || open_as(fd).is_none());
    }
    drop(theirs);
    nix::unistd::dup2_stdin(&kept[0]).unwrap();
    nix::unistd::dup2_stdout(&kept[1]).unwrap();
    say(&format!("done {} {} {}", sender.current_sequence(), applied[0], applied[1]));
}

pub fn few_descriptors() {
    let (sender, address, events) = sender(SenderConfig::default());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 80, hard).unwrap();
    say(&format!("at {address}"));
    for order in orders() {
        if order == "look" {
            let event = events.wait(EventKind::DescriptorsLow);
            // One of them finds itself refused; the others that there is room for are in.
            until("a full house", || events.count(EventKind::Connected) >= 30);
            let files: Vec<_> = (0..10).map_while(|_| std::fs::File::open("/proc/self/exe").ok()).collect();
            say(&format!("opened {}", files.len()));
            say(&format!("told {}", event.message));
        } else {
            until("the honest reader", || {
                events.all().iter().any(|event| event.kind == EventKind::Connected && event.reader_id == "honest")
            });
            sender.replicate(0, b"x").unwrap();
        }
    }
}

pub fn moving(arguments: &Arguments) {
    let dir = Path::new(arguments.text("dir"));
    std::env::set_current_dir(dir).unwrap();
    let events = Events::default();
    let sender = Sender::new(SenderConfig::default(), Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    sender.listen("unix:socket").unwrap();
    let (receiver, applied, _) = receiver(receiver_config("r", "unix:socket"));
    sender.replicate(0, b"one").unwrap();
    receiver.wait_sequence(1, PATIENCE).unwrap();
    say(&format!("applied {}", applied.last()));
    std::env::set_current_dir("/").unwrap();
    // Dialled anew.
    sender.remove_reader("r").unwrap();
    sender.replicate(0, b"two").unwrap();
    receiver.wait_sequence(2, PATIENCE).unwrap();
    say(&format!("applied {}", applied.last()));
    drop(receiver);
    sender.stop().unwrap();
    assert_eq!(events.count(EventKind::ListenIncomplete), 0);
    say(&format!("left {}", std::fs::read_dir(dir).unwrap().count()));
}
