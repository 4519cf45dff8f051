//! `lfbm watch --webhook`, with a receiver that fails as receivers do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::watch::Place;
use crate::{command, serve};

const SECRET: &str = "a secret of the receiver's own";

/// What a request said.
#[derive(Clone, Debug, Default)]
struct Received {
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter().filter(|(key, _)| key == name);
        let (_, value) = headers.next().unwrap_or_else(|| panic!("{name}: {self:?}"));
        value
    }

    /// Whether the sender knows the secret.
    fn is_signed(&self) -> bool {
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{id}.{time}.{}", self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature") == expected
    }
}

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    Take,
    Refuse,
    Redirect,
    Close,
    Stall,
}

/// A receiver on loopback.
struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<Received>>>,
    all: Arc<Mutex<usize>>,
}

impl Receiver {
    /// Reacts to the nth request, from 0.
    fn start(react: impl Fn(usize) -> Reaction + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, all) = (
            Arc::<Mutex<Vec<_>>>::default(),
            Arc::<Mutex<usize>>::default(),
        );
        let receiver = Self {
            url: format!("http://{address}/hook"),
            taken: Arc::clone(&taken),
            all: Arc::clone(&all),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(received) = read(stream.as_ref().unwrap()) else {
                    continue;
                };
                let number = {
                    let mut all = all.lock().unwrap();
                    *all += 1;
                    *all - 1
                };
                let mut stream = stream.unwrap();
                let reply = match react(number) {
                    Reaction::Take => {
                        taken.lock().unwrap().push(received);
                        "204 No Content\r\n"
                    }
                    Reaction::Refuse => "503 Service Unavailable\r\nRetry-After: 0\r\n",
                    Reaction::Redirect => "307 Temporary Redirect\r\nLocation: /elsewhere\r\n",
                    Reaction::Close => continue,
                    Reaction::Stall => {
                        thread::spawn(move || {
                            thread::sleep(Duration::from_secs(30));
                            drop(stream);
                        });
                        continue;
                    }
                };
                let head = "Content-Length: 0\r\nConnection: close\r\n";
                // The watcher may have been killed.
                let _ = write!(stream, "HTTP/1.1 {reply}{head}\r\n");
            }
        });
        receiver
    }

    fn taken(&self) -> Vec<Received> {
        self.taken.lock().unwrap().clone()
    }

    fn requests(&self) -> usize {
        *self.all.lock().unwrap()
    }
}

/// A request; `None` if the sender is gone.
fn read(stream: &TcpStream) -> Option<Received> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    if !line.ends_with('\n') {
        return None;
    }
    assert_eq!(line, "POST /hook HTTP/1.1\r\n");
    let mut received = Received::default();
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        if !line.ends_with('\n') {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        let header = (name.to_lowercase(), value.to_owned());
        received.headers.push(header);
    }
    let length = received.header("content-length").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    received.body = String::from_utf8(body).unwrap();
    Some(received)
}

fn flags(place: &Place, receiver: &Receiver) -> Vec<String> {
    let secret = place.file("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    [
        "--webhook",
        &receiver.url,
        "--webhook-secret-file",
        secret.to_str().unwrap(),
        "--webhook-timeout-s",
        "1",
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn every_line_is_delivered_signed_and_in_order_though_receiver_and_watcher_fail() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    let receiver = Receiver::start(|number| match number % 7 {
        1 => Reaction::Refuse,
        3 => Reaction::Close,
        4 => Reaction::Redirect,
        _ if number == 12 => Reaction::Stall,
        _ => Reaction::Take,
    });
    let flags = flags(&place, &receiver);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    for round in 0..4 {
        for index in 0..3 {
            place.put(&format!("{round}-{index}.png"));
        }
        let before = receiver.requests();
        let watcher = place.watch(command(&server), &flags);
        place.until("something is sent", || receiver.requests() > before + 1);
        watcher.kill();
    }
    let watcher = place.watch(command(&server), &flags);
    let ids = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    let sent = || {
        let received = receiver.taken();
        let id = |received: &Received| received.header("idempotency-key").to_owned();
        received.iter().map(id).collect::<Vec<_>>()
    };
    let written = || {
        let lines = place.lines();
        let id = |line: &serde_json::Value| line["id"].as_str().unwrap().to_owned();
        lines.iter().map(id).collect::<Vec<_>>()
    };
    place.until_lines(12);
    place.until("all is delivered", || ids(&sent()) == ids(&written()));
    assert_eq!(watcher.terminate().code(), Some(0));
    let text = fs::read_to_string(&place.out).unwrap();
    for received in receiver.taken() {
        assert!(received.is_signed(), "{received:?}");
        assert_eq!(
            received.header("webhook-id"),
            received.header("idempotency-key")
        );
        assert_eq!(received.header("content-type"), "application/json");
        assert!(text.lines().any(|line| line == received.body));
    }
    // Some may be sent again; the first time, they come in order.
    let mut first = Vec::new();
    for id in sent() {
        if !first.contains(&id) {
            first.push(id);
        }
    }
    assert_eq!(first, written());
    assert!(place.errors().contains("redirects are not followed"));
    assert!(!place.errors().contains("/hook"), "the URL is shown");
}

#[test]
fn a_restart_sends_what_was_not_delivered() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    let receiver = Receiver::start(|_| Reaction::Take);
    let flags = flags(&place, &receiver);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    place.put("a.png");
    let watcher = place.watch(command(&server), &flags);
    let record = place.file("scores.jsonl.delivered");
    place.until("the delivery is recorded", || record.exists());
    watcher.kill();
    // Without the webhook, lines wait.
    let watcher = place.watch(command(&server), &[]);
    place.put("b.png");
    place.until_lines(2);
    watcher.kill();
    let watcher = place.watch(command(&server), &flags);
    place.until("the second is delivered", || receiver.taken().len() >= 2);
    assert_eq!(watcher.terminate().code(), Some(0));
    let bodies: Vec<_> = receiver
        .taken()
        .iter()
        .map(|taken| taken.body.clone())
        .collect();
    let text = fs::read_to_string(&place.out).unwrap();
    assert_eq!(bodies, text.lines().collect::<Vec<_>>());
}

#[test]
fn no_more_images_are_read_than_may_wait_for_the_receiver() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    let is_open = Arc::new(Mutex::new(false));
    let gate = Arc::clone(&is_open);
    let receiver = Receiver::start(move |_| match *gate.lock().unwrap() {
        true => Reaction::Take,
        false => Reaction::Refuse,
    });
    for index in 0..20 {
        place.put(&format!("{index}.png"));
    }
    let mut flags = flags(&place, &receiver);
    let few = ["--webhook-backlog", "3", "--concurrency", "1"];
    flags.extend(few.map(str::to_owned));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let watcher = place.watch(command(&server), &flags);
    place.until("it waits", || {
        place.errors().contains("--webhook-backlog is 3")
    });
    let requests = receiver.requests();
    place.until("it tries again", || receiver.requests() > requests + 1);
    // One image was under way.
    let written = place.lines().len();
    assert!((3..=4).contains(&written), "{written} lines");
    *is_open.lock().unwrap() = true;
    place.until("all is delivered", || receiver.taken().len() == 20);
    assert_eq!(place.lines().len(), 20);
    assert_eq!(watcher.terminate().code(), Some(0));
}

#[test]
fn a_webhook_needs_a_url_and_a_secret() {
    let (server, _scratch) = serve(&[]);
    for (url, secret, code, reason) in [
        ("http://127.0.0.1:1/", None, 2, "--webhook-secret-file"),
        ("http://127.0.0.1:1/", Some("short"), 1, "at least 16 bytes"),
        (
            "ftp://127.0.0.1/",
            Some(SECRET),
            1,
            "expected http:// or https://",
        ),
    ] {
        let place = Place::new();
        let file = place.file("secret");
        fs::write(&file, secret.unwrap_or_default()).unwrap();
        let mut watch = command(&server);
        watch
            .arg("watch")
            .arg(&place.folder)
            .arg("--out")
            .arg(&place.out);
        watch.args(["--webhook", url]);
        if secret.is_some() {
            watch.arg("--webhook-secret-file").arg(&file);
        }
        let output = watch.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}
