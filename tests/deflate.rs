//! Compression of WebSocket messages (RFC 7692), from the handshake to the frame, both ways.
#![cfg(feature = "deflate")]

mod support;

use flate2::{Compress, Compression, FlushCompress};
use redpoll::Config;
use redpoll::wire::deflate::{Deflater, Inflater};
use redpoll::wire::extension::Window;
use redpoll::wire::frame::{Header, Opcode};
use support::{Client, REDPOLL_V1, Rig, UPGRADE, get};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const SMALL_OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
const COMMANDS: &str = "Sec-WebSocket-Protocol: redpoll.v1\r\n";

/// A client, and the value of its answer's `Sec-WebSocket-Extensions`.
fn open(rig: &mut Rig, target: &str, fields: &str) -> (Client, Option<String>) {
    let client = rig.get(target, &format!("{UPGRADE}{fields}"));
    let answer = client.answer().expect("a handshake is answered");
    assert_eq!(answer.status, 101);
    (client, answer.field("sec-websocket-extensions").map(str::to_owned))
}

/// The frames that have arrived: whether each is compressed, its opcode, and what it says.
fn frames(client: &Client) -> Vec<(bool, Opcode, Vec<u8>)> {
    let (bytes, mut at, mut found) = (client.bytes(), 0, Vec::new());
    while at < bytes.len() {
        let (header, length) = Header::decode(&bytes[at..]).expect("a frame").expect("a whole header");
        let payload = &bytes[at + length..at + length + header.payload_bytes as usize];
        at += length + payload.len();
        let mut message = Vec::new();
        match header.rsv1 {
            true => Inflater::default().inflate(payload, 1 << 20, &mut message).expect("it can be inflated"),
            false => message.extend_from_slice(payload),
        }
        found.push((header.rsv1, header.opcode, message));
    }
    found
}

/// A frame of a client, masked with zeros.
fn frame(fin: bool, rsv1: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { fin, rsv1, opcode, masking_key: Some([0; 4]), payload_bytes: payload.len() as u64 }.encode(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(Deflater::new(0).deflate(payload, Window::Bits15, &mut out), "it becomes smaller");
    out
}

/// What the server closes with, after what was sent.
fn close_code(rig: &mut Rig, fields: &str, sent: &[u8]) -> u16 {
    let (client, _) = open(rig, "/echo", fields);
    rig.send(&client, sent);
    match frames(&client).pop() {
        Some((_, Opcode::Close, payload)) => u16::from_be_bytes([payload[0], payload[1]]),
        other => panic!("not a close but {other:?}"),
    }
}

fn text(length: usize) -> String {
    "to be compressed, ".repeat(length / 18 + 1)[..length].to_owned()
}

#[test]
fn an_offer_is_taken_unless_the_server_does_not_compress() {
    let mut rig = Rig::default();
    let always = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(open(&mut rig, "/channel/a", OFFER).1.as_deref(), Some(always));
    let small = open(&mut rig, "/channel/a", SMALL_OFFER).1;
    assert_eq!(small, Some(format!("{always}; server_max_window_bits=9")));
    assert_eq!(open(&mut rig, "/channel/a", "").1, None);
    assert_eq!(open(&mut rig, "/channel/a", "Sec-WebSocket-Extensions: foo; bar=1\r\n").1, None);
    let bad = rig.get("/channel/a", &format!("{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate; =\r\n"));
    assert_eq!(bad.answer().map(|answer| answer.status), Some(400));
    let mut plain = Rig::new(Config { deflate: false, ..Config::default() });
    assert_eq!(open(&mut plain, "/channel/a", OFFER).1, None);
}

#[test]
fn a_publication_is_compressed_once_for_each_window_however_many_subscribe() {
    let mut rig = Rig::default();
    let mut clients = Vec::new();
    for fields in ["", OFFER, SMALL_OFFER] {
        clients.extend((0..50).map(|_| (open(&mut rig, "/channel/a", fields).0, !fields.is_empty())));
    }
    let message = text(2_000);
    rig.publish("a", &message);
    rig.turn();
    for (client, compresses) in &clients {
        let writes = client.line().writes;
        assert_eq!(frames(client), [(*compresses, Opcode::Text, message.clone().into_bytes())]);
        assert_eq!(writes, 2, "the answer, then the message");
    }
    assert_eq!(rig.engine.metrics().encodings, 2, "the plain frame is how the message is held");
}

#[test]
fn envelopes_and_several_messages_at_once_are_compressed_too() {
    let mut rig = Rig::default();
    let (client, _) = open(&mut rig, "/channel/a", &format!("{COMMANDS}{OFFER}"));
    frames(&client);
    rig.publish_all("a", &[text(300), text(10), text(3_000)]);
    rig.turn();
    let found = frames(&client);
    let compressed: Vec<bool> = found.iter().map(|(compressed, ..)| *compressed).collect();
    assert_eq!(compressed, [true, false, true], "a short one is sent as it is");
    let last: serde_json::Value = serde_json::from_slice(&found[2].2).expect("an envelope");
    assert_eq!((last["channel"].as_str(), last["data"].as_str()), (Some("a"), Some(text(3_000).as_str())));
}

#[test]
fn a_client_that_came_without_gets_the_same_messages_plain() {
    let mut rig = Rig::default();
    let (speaker, _) = open(&mut rig, "/channel/a", OFFER);
    let plain = rig.websocket("/channel/a?form=json", None);
    let commands = rig.websocket("/channel/a", REDPOLL_V1);
    commands.frames();
    let message = text(5_000);
    rig.send(&speaker, frame(true, true, Opcode::Text, &deflated(message.as_bytes())));
    rig.turn();
    assert_eq!(frames(&speaker), [(true, Opcode::Text, message.clone().into_bytes())]);
    for client in [plain, commands] {
        assert_eq!(client.frames()[0].json()["data"], message);
    }
}

#[test]
fn a_compressed_message_may_come_in_fragments_with_a_ping_between_them() {
    let mut rig = Rig::default();
    let (client, _) = open(&mut rig, "/echo", OFFER);
    let message = text(1_000);
    let payload = deflated(message.as_bytes());
    let (first, rest) = payload.split_at(7);
    let sent = [
        frame(false, true, Opcode::Binary, first),
        frame(false, false, Opcode::Continuation, b""),
        frame(true, false, Opcode::Ping, b"still there?"),
        frame(true, false, Opcode::Continuation, rest),
        frame(true, false, Opcode::Text, b"and plain"),
    ]
    .concat();
    for byte in sent {
        rig.send(&client, [byte]);
    }
    assert_eq!(
        frames(&client),
        [
            (false, Opcode::Pong, b"still there?".to_vec()),
            (true, Opcode::Binary, message.into_bytes()),
            (false, Opcode::Text, b"and plain".to_vec())
        ]
    );
}

#[test]
fn what_compression_does_not_allow_is_answered_with_the_code_that_fits() {
    let mut rig = Rig::default();
    let hello = deflated(text(300).as_bytes());
    let bomb = deflated(&vec![b'x'; (64 << 10) + 1]);
    let not_utf8 = deflated(&[0xff; 300]);
    for (what, offer, sent, code) in [
        ("RSV1 without an extension", "", frame(true, true, Opcode::Text, &hello), 1002),
        ("RSV1 on a ping", OFFER, frame(true, true, Opcode::Ping, b""), 1002),
        (
            "RSV1 on a continuation",
            OFFER,
            [frame(false, true, Opcode::Text, b""), frame(true, true, Opcode::Continuation, &hello)].concat(),
            1002,
        ),
        ("one byte too many", OFFER, frame(true, true, Opcode::Binary, &bomb), 1009),
        ("no DEFLATE", OFFER, frame(true, true, Opcode::Binary, &[0xff; 9]), 1007),
        ("text that is not UTF-8", OFFER, frame(true, true, Opcode::Text, &not_utf8), 1007),
    ] {
        assert_eq!(close_code(&mut rig, offer, &sent), code, "{what}");
    }
    assert_eq!(rig.engine.metrics().violations, 6);
}

#[test]
fn the_largest_message_may_come_compressed_also_where_that_makes_it_larger() {
    let mut rig = Rig::new(Config { message_bytes_max: 60_000, ..Config::default() });
    let (client, _) = open(&mut rig, "/echo", OFFER);
    let message: Vec<u8> = (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    // Stored blocks (RFC 1951 §3.2.4) of 512 bytes.
    let mut payload = Vec::new();
    for block in message.chunks(512) {
        payload.push(0);
        payload.extend((block.len() as u16).to_le_bytes());
        payload.extend((!(block.len() as u16)).to_le_bytes());
        payload.extend(block);
    }
    payload.push(0);
    rig.send(&client, frame(true, true, Opcode::Binary, &payload));
    rig.settle();
    assert!(frames(&client).iter().any(|(_, opcode, echoed)| *opcode == Opcode::Binary && *echoed == message));
}

#[test]
fn the_largest_message_may_be_flushed_after_every_byte() {
    let mut rig = Rig::new(Config { message_bytes_max: 20_000, ..Config::default() });
    let (client, _) = open(&mut rig, "/echo", OFFER);
    let message: Vec<u8> = (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut compress = Compress::new(Compression::default(), false);
    for (at, byte) in message.iter().enumerate() {
        let mut flushed = Vec::with_capacity(100);
        compress.compress_vec(&[*byte], &mut flushed, FlushCompress::Sync).expect("it is compressed");
        let (first, last) = (at == 0, at + 1 == message.len());
        if last {
            flushed.truncate(flushed.len() - 4);
        }
        rig.send(&client, frame(last, first, if first { Opcode::Binary } else { Opcode::Continuation }, &flushed));
    }
    rig.settle();
    assert!(frames(&client).iter().any(|(_, opcode, echoed)| *opcode == Opcode::Binary && *echoed == message));
}

#[test]
fn what_comes_compressed_after_a_close_is_discarded() {
    let mut rig = Rig::default();
    let (client, _) = open(&mut rig, "/channel/a", OFFER);
    rig.engine.drain(rig.now);
    rig.send(&client, frame(true, true, Opcode::Text, &deflated(text(300).as_bytes())));
    assert!(!client.is_closed(), "the peer's Close is still waited for");
    rig.send(&client, frame(true, false, Opcode::Close, &[0x03, 0xe9]));
    rig.settle();
    assert!(client.is_closed());
    assert_eq!(frames(&client).len(), 1, "the server's Close");
}

#[test]
fn a_handshake_of_an_upgraded_connection_reads_its_extensions_from_all_fields() {
    let mut rig = Rig::default();
    let client = rig.connect();
    let fields = format!("{UPGRADE}Sec-WebSocket-Extensions: foo\r\n{SMALL_OFFER}{OFFER}");
    rig.send(&client, get("/echo", &fields));
    let answer = client.answer().expect("a handshake is answered");
    assert!(answer.field("sec-websocket-extensions").is_some_and(|value| value.ends_with("server_max_window_bits=9")));
}
