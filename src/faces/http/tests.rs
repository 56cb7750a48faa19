//! The face on sockets and pipes of its own: bounds, and who waits for whom.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use axum::routing::get;

use super::super::tests::{START, shared};
use super::*;
use crate::config::{Config, Role, Token, TokenDigest};
use crate::notify::links::{Link, Purpose};
use crate::notify::tests::rule;
use crate::time::{BelievedClock, Span};

/// Far longer than anything takes here that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for an answer to come that should not.
const A_WHILE: Duration = Duration::from_millis(200);

const KEPT: Patience = Patience { asking: PATIENCE, farewell: PATIENCE };

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Asks, and reads up to the end of the head.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    stream.write_all(request(path).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test is a client")]
async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A face that serves on two addresses until the sender is dropped.
async fn start(face: &Face) -> (Vec<SocketAddr>, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        tokio::spawn(face.clone().serve(listener, stopped.clone()));
    }
    (addresses, stop)
}

#[tokio::test]
async fn the_room_for_connections_is_one_for_all_addresses() {
    let (shared, _) = shared(&Config::default());
    let face = Face { room: Room::new(1), ..Face::new(shared) };
    let (addresses, _stop) = start(&face).await;
    let mut first = connect(addresses[0]).await;
    assert!(ask(&mut first, "/readyz").await.starts_with("HTTP/1.1 503"));
    let mut second = connect(addresses[1]).await;
    let mut answer = Box::pin(ask(&mut second, "/readyz"));
    assert!(tokio::time::timeout(A_WHILE, &mut answer).await.is_err(), "there is no room");
    drop(first);
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("there is room now");
    assert!(answer.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn nobody_waits_for_the_engine_but_who_asks_it() {
    let config = Config { rules: vec![rule("r")], ..Config::default() };
    let (shared, _) = shared(&config);
    let (addresses, _stop) = start(&Face::new(shared.clone())).await;
    // Somebody holds the engine, as a tick with many series does.
    let (hold, held) = mpsc::channel::<()>();
    let (holding, holds) = tokio::sync::oneshot::channel();
    let holder = std::thread::spawn(move || {
        shared.engine.view(|_| {
            holding.send(()).unwrap();
            held.recv_timeout(PATIENCE).is_ok()
        })
    });
    holds.await.unwrap();
    let mut waiting = JoinSet::new();
    let paths =
        ["/", "/chart.svg?rule=r", "/chart.svg?series=a*", "/api/v1/rules", "/api/v1/alerts"];
    let further = ["/check/r", "/metrics", "/api/v1/measure?series=a&from=-1h"];
    for path in paths.into_iter().chain(further) {
        let address = addresses[0];
        waiting.spawn(async move { ask(&mut connect(address).await, path).await });
    }
    let among = tokio::time::timeout(A_WHILE, waiting.join_next()).await;
    assert!(among.is_err(), "they wait: {among:?}");
    let other = ask(&mut connect(addresses[0]).await, "/readyz").await;
    assert!(other.starts_with("HTTP/1.1 503"));
    hold.send(()).expect("it is still held");
    assert!(holder.join().unwrap(), "nobody waited for the end of patience");
    while let Some(head) = waiting.join_next().await {
        assert!(head.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up() {
    let (mut client, server) = tokio::io::duplex(16);
    let large = Router::new().route("/", get(async || "x".repeat(1 << 20)));
    let (_stop, stopped) = watch::channel(false);
    let short = Duration::from_millis(20);
    let attended = attend(
        server,
        Guest::default(),
        large,
        Patience { asking: short, farewell: short },
        stopped,
    );
    let request = request("/");
    let (sent, ended) = tokio::join!(
        client.write_all(request.as_bytes()),
        tokio::time::timeout(PATIENCE, attended)
    );
    sent.unwrap();
    ended.expect("it is cut off");
}

#[tokio::test]
async fn a_connection_that_is_kept_is_ended_after_its_time() {
    let (mut client, server) = tokio::io::duplex(4096);
    let (_stop, stopped) = watch::channel(false);
    let router = Router::new().route("/", get(async || StatusCode::NO_CONTENT));
    let short = Patience { asking: Duration::from_millis(100), ..KEPT };
    tokio::spawn(attend(server, Guest::default(), router, short, stopped));
    assert!(ask(&mut client, "/").await.starts_with("HTTP/1.1 204"));
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    assert_eq!(read.expect("it is ended").unwrap(), 0);
}

const TOKENS: [(Role, &str); 3] = [
    (Role::Read, "read-0123456789ab"),
    (Role::Operate, "operate-0123456789ab"),
    (Role::Admin, "admin-0123456789ab"),
];

/// A face that asks for tokens.
fn guarded() -> (Shared, Face) {
    let (shared, _) = shared(&Config::default());
    let token =
        |(role, text): (Role, &str)| Token { role, digest: TokenDigest::of(text.as_bytes()) };
    shared.tokens.admit_only(Some(&TOKENS.map(token)));
    (shared.clone(), Face::new(shared))
}

/// The head of the answer to a request of these lines.
async fn head(address: SocketAddr, line: &str, headers: &str) -> String {
    let mut stream = connect(address).await;
    let request =
        format!("{line} HTTP/1.1\r\nHost: tallyd.example\r\n{headers}Content-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn every_call_is_for_its_role_and_for_no_other() {
    let (shared, face) = guarded();
    let (addresses, _stop) = start(&face).await;
    let session = |text: &str| shared.tokens.session(text.as_bytes(), shared.now()).unwrap();
    for call in routes::CALLS {
        // One of the calls ends a session.
        let sent =
            TOKENS.map(|(role, text)| (Some(role), format!("Authorization: Bearer {text}\r\n")));
        let kept = TOKENS.map(|(role, text)| {
            (Some(role), format!("Cookie: a=b; tallyd-session={}\r\n", session(text)))
        });
        let mut visitors = Vec::from(sent);
        visitors.extend(kept);
        visitors.push((None, String::new()));
        visitors.push((None, "Authorization: Bearer read-0123456789aB\r\n".to_owned()));
        visitors.push((None, format!("Authorization: Basic {}\r\n", TOKENS[2].1)));
        visitors.push((None, format!("Cookie: tallyd-session={}\r\n", TOKENS[2].1)));
        let path = call.path.replace("{rule}", "r").replace("{incident}", "i").replace("{id}", "7");
        assert!(!path.contains('{'), "{path}");
        for (role, headers) in &visitors {
            let line = format!("{} {path}", call.verb.word());
            let head = head(addresses[0], &line, headers).await;
            let status = &head[9..12];
            let turned = match (call.role, role) {
                (None, _) => None,
                (Some(_), None) => Some("401"),
                (Some(needed), Some(role)) => (*role < needed).then_some("403"),
            };
            match turned {
                Some(turned) => {
                    assert_eq!(status, turned, "{line} {headers}: {head}");
                    assert!(
                        head.contains("\r\nwww-authenticate: Bearer realm=\"tallyd\""),
                        "{head}"
                    );
                }
                None => assert!(!["401", "403"].contains(&status), "{line} {headers}: {head}"),
            }
        }
    }
    // Each is on the table once, and there are some for everybody.
    let mut known: Vec<_> =
        routes::CALLS.iter().map(|call| (call.path, call.verb.word())).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), routes::CALLS.len());
    for role in [None, Some(Role::Read), Some(Role::Operate), Some(Role::Admin)] {
        assert!(routes::CALLS.iter().any(|call| call.role == role), "{role:?}");
    }
}

#[tokio::test]
async fn every_call_takes_what_it_is_said_to_take() {
    let (shared, _) = shared(&Config::default());
    let (addresses, _stop) = start(&Face::new(shared)).await;
    // A call that knows what it may be asked with names all of it where it is asked with anything else.
    let expected = async |line: &str, body: &str| -> Option<Vec<String>> {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = connect(addresses[0]).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        // Some are no text.
        let answer = String::from_utf8_lossy(&answer);
        let (_, known) = answer.split_once("unknown field `nonsense`, expected ")?;
        let known = known.split(" at line").next().unwrap();
        let mut known: Vec<_> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        known.sort();
        Some(known)
    };
    let names = |asks: &[asks::Ask]| {
        let mut names: Vec<_> = asks.iter().map(|ask| ask.name.to_owned()).collect();
        names.sort();
        names
    };
    let mut held = 0;
    for call in routes::CALLS {
        let path = call.path.replace("{rule}", "r").replace("{incident}", "i").replace("{id}", "7");
        let line = format!("{} {path}", call.verb.word());
        if let Some(known) = expected(&format!("{line}?nonsense=1"), "").await {
            assert_eq!(names(call.asks), known, "the query of {line}");
            held += 1;
        }
        if let routes::Takes::Json(asks) = call.takes {
            let known = expected(&line, "{\"nonsense\":1}").await;
            assert_eq!(Some(names(asks)), known, "the body of {line}");
            held += 1;
        }
    }
    assert!(held >= 14, "{held}");
}

#[tokio::test]
async fn whoever_looks_at_a_page_is_asked_for_a_token_there() {
    let (shared, face) = guarded();
    let (addresses, _stop) = start(&face).await;
    let answer = async |request: &str| {
        let mut stream = connect(addresses[0]).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let browser = "Host: tallyd.example\r\nAccept: text/html,*/*\r\nConnection: close\r\n";
    let asked = answer(&format!("GET /ack/i1?x=%3Cb%3E HTTP/1.1\r\n{browser}\r\n")).await;
    assert!(asked.starts_with("HTTP/1.1 401 "), "{asked}");
    assert!(asked.contains("name=\"next\" value=\"/ack/i1?x=%3Cb%3E\""), "{asked}");
    let login = async |token: &str, more: &str| {
        let form = format!("token={token}&next=%2Fack%2Fi1");
        answer(&format!(
            "POST /login HTTP/1.1\r\n{browser}{more}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ))
        .await
    };
    let wrong = login("what", "").await;
    assert!(wrong.starts_with("HTTP/1.1 401 ") && !wrong.contains("set-cookie"), "{wrong}");
    let foreign =
        login(TOKENS[0].1, "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n").await;
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    let known = login(TOKENS[0].1, "Sec-Fetch-Site: same-origin\r\n").await;
    assert!(
        known.starts_with("HTTP/1.1 303 ") && known.contains("\r\nlocation: /ack/i1\r\n"),
        "{known}"
    );
    let cookie =
        known.split_once("set-cookie: ").expect("a session").1.split_once("\r\n").unwrap().0;
    assert!(cookie.ends_with("; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax"), "{cookie}");
    let session = cookie.split_once(';').unwrap().0;
    let page = answer(&format!("GET / HTTP/1.1\r\n{browser}Cookie: {session}\r\n\r\n")).await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("action=\"/logout\""), "{page}");
    let left =
        answer(&format!("POST /logout HTTP/1.1\r\n{browser}Cookie: {session}\r\n\r\n")).await;
    assert!(left.contains("\r\nset-cookie: tallyd-session=; Path=/; Max-Age=0;"), "{left}");
    let copied = answer(&format!("GET / HTTP/1.1\r\n{browser}Cookie: {session}\r\n\r\n")).await;
    assert!(copied.starts_with("HTTP/1.1 401 "), "it is over for whoever has it: {copied}");
    shared.tokens.set_public_tls(true);
    let behind_a_proxy = login(TOKENS[0].1, "Sec-Fetch-Site: same-origin\r\n").await;
    assert!(behind_a_proxy.contains("; SameSite=Lax; Secure\r\n"), "{behind_a_proxy}");
    assert!(shared.tokens.refused.load(Relaxed) >= 1);
}

#[tokio::test]
async fn every_answer_says_that_it_is_for_our_own_pages() {
    let (shared, _) = shared(&Config::default());
    let (addresses, _stop) = start(&Face::new(shared)).await;
    for path in ["/", "/metrics", "/healthz", "/nowhere", "/chart.svg", "/api/v1/measure"] {
        let head = ask(&mut connect(addresses[0]).await, path).await;
        assert!(head.contains("cross-origin-resource-policy: same-origin\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_link_does_not_expire_by_a_clock_that_leaps_for_a_while() {
    let (shared, clocks) = shared(&Config::default());
    let clock = Arc::new(BelievedClock::new(Arc::clone(&clocks)));
    let shared = Shared { clock, ..shared };
    let until = START + Span::from_secs(3600);
    let link = Link { purpose: Purpose::Acknowledge, incident: "i1-1", contact: "oncall", until };
    let path = shared.links.url("", &link);
    let (addresses, _stop) = start(&Face::new(shared)).await;
    let two_days = 2 * 24 * 3_600_000;
    // It is good, and what it is about is not known; then it has expired.
    for (beyond, minute, expect) in [
        (0, 0, "404"),
        (two_days, 0, "404"),
        (0, 1, "404"),
        (two_days, 2, "404"),
        (two_days, 17, "410"),
    ] {
        let passed = Span::from_secs(minute * 60);
        clocks.wall.store((START + passed).as_millis() + beyond, Relaxed);
        clocks.monotonic.store(passed.as_millis(), Relaxed);
        let head = ask(&mut connect(addresses[0]).await, &path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expect}")), "{beyond} {minute}: {head}");
    }
}

/// A path of that call with this in its place, and these things asked, as a client would write them.
fn target(call: &routes::Call, part: &str, asked: &[(proptest::sample::Index, String)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost/").unwrap();
    let parts = call.path.split('/').skip(1);
    let parts = parts.map(|its| if its.starts_with('{') { part } else { its });
    url.path_segments_mut().unwrap().clear().extend(parts);
    let names: Vec<_> = call.asks.iter().map(|ask| ask.name).chain(["nonsense"]).collect();
    let pairs = asked.iter().map(|(name, value)| (*name.get(&names), value));
    url.query_pairs_mut().extend_pairs(pairs);
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_asked_there_is_an_answer_and_a_form_for_problems(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        part in "\\PC{0,12}",
        asked in proptest::collection::vec((
            proptest::prelude::any::<proptest::sample::Index>(),
            proptest::prop_oneof![
                "\\PC{0,12}",
                "-?[0-9]{1,20}(ms|s|m|h|d|w)?",
                "(rate|sum|p99.9|last|age|previous|1w|Europe/Berlin|percent|light|open|a[{*]|[a-z]{1,3}\\{x=~\"[(]?\"\\})",
            ],
        ), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (shared, _) = shared(&Config { rules: vec![rule("r")], ..Config::default() });
        let gets: Vec<_> = routes::CALLS.iter().filter(|call| call.verb == routes::Verb::Get).collect();
        let call = at.get(&gets);
        let target = target(call, &part, &asked);
        let request = Request::builder().uri(&target).body(Body::empty()).unwrap();
        let (status, body) = runtime.block_on(async {
            let mut request = request;
            request.extensions_mut().insert(Carrier::Clear);
            request.extensions_mut().insert(Reading::default());
            let response = TowerToHyperService::new(router(shared)).call(request).await.unwrap();
            let status = response.status().as_u16();
            (status, to_bytes(response.into_body(), 1 << 24).await.unwrap())
        });
        let text = String::from_utf8_lossy(&body);
        let may_fail = ["/readyz", "/healthz", "/api/v1/backup"].contains(&call.path) || call.path.starts_with("/check");
        proptest::prop_assert!(status < 500 || may_fail, "{target}: {status} {text}");
        if status >= 400 && !may_fail && !call.is_page {
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(&problem["status"], "error", "{}", target);
        }
    }
}
