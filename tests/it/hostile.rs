//! Holds the table of hostile inputs against the real memcached.
//!
//! The table claims to say what memcached 1.6.18 answers. This asks the one that is installed.

use crate::hostile_inputs::{CASES, Expect, PROBE, PROBE_REPLY, large};
use crate::peers::Memcached;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[test]
#[ignore = "needs memcached; run tests/run"]
fn hostile_inputs_are_answered_by_memcached_as_the_table_says() {
    let memcached = Memcached::start();
    let table = CASES.iter().map(|(name, input, expect)| (*name, input.to_vec(), *expect));
    let mut wrong = Vec::new();
    for (name, input, expect) in table.chain(large()) {
        let (wanted, closes) = match expect.memcached() {
            Expect::Reply(bytes) => ([bytes, PROBE_REPLY].concat(), false),
            Expect::Close(bytes) => (bytes.to_vec(), true),
            Expect::Differs { .. } => unreachable!("no difference is nested in another"),
        };
        let got = converse(memcached.address, &input, wanted.len(), closes);
        if got != wanted {
            wrong.push(format!(
                "{name}: wanted {}, got {}",
                wanted.escape_ascii(),
                got.escape_ascii()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Sends `input` and reads as much as is wanted, or to the end of the connection; less, if no more
/// comes for a second.
fn converse(server: SocketAddr, input: &[u8], wanted_bytes: usize, closes: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("a memcached listens");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
    stream.write_all(input).expect("the input is taken");
    if !closes {
        stream.write_all(PROBE).expect("the connection is open");
    }
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    while closes || got.len() < wanted_bytes {
        match stream.read(&mut chunk) {
            Ok(0) => return got,
            Ok(count) => got.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) => {
                got.extend_from_slice(format!(" ({error})").as_bytes());
                return got;
            }
        }
    }
    got
}
