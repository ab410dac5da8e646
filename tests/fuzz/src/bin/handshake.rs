//! The opening handshake from both sides, and what follows it on the server's: the request opens a WebSocket, or the
//! answer is accepted, where the model says so; and an open WebSocket echoes, answers and closes as the frames say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redpoll::Config;
use redpoll::wire::frame::{Opcode, encode_masked};
use redpoll::wire::handshake::{ANSWER_BYTES_MAX, check_answer, client_request, encode_key};
use redpoll_fuzz::extensions::assert_fits;
use redpoll_fuzz::frames::{self, Rules, Said};
use redpoll_fuzz::handshakes::{self, Head, Opening, PATH, Verdict};
use redpoll_fuzz::inflate::{self, End};
use redpoll_fuzz::input::Input;
use redpoll_fuzz::server::serve;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROTOCOLS: [&str; 2] = ["redpoll.v1", "chat"];
const HEAD_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    match input.flags & 3 {
        0 => open(&input),
        1 => accept(&input),
        2 => meet(&input),
        _ => {}
    }
});

fn config(input: &Input) -> Config {
    Config {
        head_bytes_max: HEAD_BYTES_MAX,
        message_bytes_max: MESSAGE_BYTES_MAX,
        deflate: input.flags & 4 == 0,
        deflate_from_bytes: 0,
        ..Config::default()
    }
}

/// A client sends the bytes to a server.
fn open(input: &Input) {
    let verdict = handshakes::request(input.bytes, HEAD_BYTES_MAX, config(input).deflate);
    let answer = serve(input.bytes, &[input.bytes.len()], config(input));
    let opened = answer.starts_with(b"HTTP/1.1 101");
    match verdict {
        Verdict::Opens(opening) => {
            assert!(opened, "{:?} instead of 101", String::from_utf8_lossy(&answer));
            check_open(input.bytes, &answer, &opening);
        }
        Verdict::Refused => assert!(!opened, "opened without the opening handshake"),
        Verdict::Unsure => {}
    }
    // Who waits to be asked for the content is asked, unless it is already there.
    if !input.bytes.to_ascii_lowercase().windows(6).any(|word| word == b"expect") {
        let in_pieces = serve(input.bytes, &input.ends(), config(input));
        assert_eq!(outline(&answer), outline(&in_pieces), "it makes a difference how the bytes arrive");
    }
}

/// What a server says, but of HTTP answers only the class of the status: what is wrong first, a byte or the length,
/// depends on what is there to be looked at.
fn outline(answer: &[u8]) -> Vec<String> {
    let opened = answer.starts_with(b"HTTP/1.1 101");
    let lines = answer.split(|byte| *byte == b'\n').filter(|line| opened || line.starts_with(b"HTTP/1.1 "));
    let shown = if opened { usize::MAX } else { "HTTP/1.1 4".len() };
    lines.map(|line| line[..line.len().min(shown)].escape_ascii().to_string()).collect()
}

/// The server's answer to a request that opens a WebSocket, and what it says after that.
fn check_open(request: &[u8], answer: &[u8], opening: &Opening) {
    let head = Head::parse(answer).expect("an answer");
    assert_eq!(head.only("sec-websocket-accept"), Some(opening.accept.as_str()));
    assert_eq!(head.values("sec-websocket-protocol").eq(["redpoll.v1"]), opening.commands);
    match (head.only("sec-websocket-extensions"), &opening.deflate) {
        (Some(answer), Some(agreement)) => assert_fits(answer, agreement),
        (answer, agreement) => assert_eq!((answer, agreement), (None, &None)),
    }
    let deflate = opening.deflate.is_some();
    let message_bytes_max = message_bytes_max(opening.commands);
    let rules = Rules { masked: true, deflate, message_bytes_max };
    let expected = answers_to(frames::story(&request[opening.head_bytes..], &rules).said, opening.commands);
    let rules = Rules { masked: false, deflate, message_bytes_max: usize::MAX };
    let story = frames::story(&answer[head.bytes..], &rules);
    assert!(story.complete, "the server's frames are whole");
    let window_bits = opening.deflate.map_or(0, |agreement| agreement.window_bits);
    let mut said = Vec::from_iter(story.said.into_iter().map(|(_, what)| inflated(what, window_bits)));
    if opening.commands {
        said.retain(|what| !matches!(what, Said::Message { .. }));
    }
    assert_eq!(said, expected);
}

/// What an echo says to all that; the answers to commands are left out.
fn answers_to(said: Vec<(usize, Said)>, commands: bool) -> Vec<Said> {
    let mut answers = Vec::new();
    for (_, what) in said {
        let answer = match what {
            Said::Message { text, deflated: true, data } => unpack(text, &data, message_bytes_max(commands)),
            Said::Ping(payload) => Said::Pong(payload),
            Said::Pong(_) => continue,
            Said::Close(close) => Said::Close(close.map(|(code, _)| (code, String::new()))),
            what => what,
        };
        let ends = matches!(answer, Said::Close(_) | Said::Violation(_));
        match answer {
            Said::Message { .. } if commands => {}
            Said::Violation(code) => answers.push(Said::Close(Some((code, String::new())))),
            answer => answers.push(answer),
        }
        if ends {
            break;
        }
    }
    answers
}

/// The limit is that of a payload: a command has it as JSON, each byte in up to six, and names besides.
fn message_bytes_max(commands: bool) -> usize {
    if commands { 6 * MESSAGE_BYTES_MAX + 4096 } else { MESSAGE_BYTES_MAX }
}

/// A compressed message of the client.
fn unpack(text: bool, payload: &[u8], message_bytes_max: usize) -> Said {
    let unpacked = inflate::inflate(payload, message_bytes_max);
    match unpacked.end {
        End::TooMuch => Said::Violation(1009),
        End::Complete if !text || std::str::from_utf8(&unpacked.data).is_ok() => {
            Said::Message { text, deflated: false, data: unpacked.data }
        }
        _ => Said::Violation(1007),
    }
}

/// What the server says, without compression, and without the words in which it closes.
fn inflated(what: Said, window_bits: u8) -> Said {
    match what {
        Said::Message { text, deflated: true, data } => {
            let unpacked = inflate::inflate(&data, MESSAGE_BYTES_MAX);
            assert_eq!(unpacked.end, End::Complete);
            assert!(unpacked.distance_max <= 1 << window_bits, "the window is kept to");
            Said::Message { text, deflated: false, data: unpacked.data }
        }
        Said::Close(Some((code, _))) => Said::Close(Some((code, String::new()))),
        what => what,
    }
}

/// A server sends the bytes to a client.
fn accept(input: &Input) {
    let checked = check_answer(input.bytes, KEY, &PROTOCOLS);
    let found = checked.clone().map(|accepted| accepted.map(|found| (found.head_bytes, found.protocol)));
    match handshakes::answer(input.bytes, KEY, &PROTOCOLS) {
        _ if input.bytes.len() > ANSWER_BYTES_MAX => {}
        Verdict::Opens(expected) => assert_eq!(found, Ok(Some((expected.head_bytes, expected.protocol)))),
        Verdict::Refused => assert!(found.is_err(), "{found:?} instead of a refusal"),
        Verdict::Unsure => {
            if let Ok(Some((head_bytes, protocol))) = found {
                let accepted = handshakes::answer(&repaired(&input.bytes[..head_bytes]), KEY, &PROTOCOLS);
                let Verdict::Opens(expected) = accepted else { panic!("accepted though {accepted:?}") };
                assert_eq!(expected.protocol, protocol);
            }
        }
    }
    for end in input.ends() {
        let so_far = check_answer(&input.bytes[..end], KEY, &PROTOCOLS);
        assert!(so_far == Ok(None) || so_far == checked, "{so_far:?}, then {checked:?}");
    }
}

/// With the line ends that a client may be lenient about (RFC 9112 §2.2).
fn repaired(head: &[u8]) -> Vec<u8> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Vec::from_iter(lines.skip_while(|line| line.is_empty())).join(&b"\r\n"[..])
}

/// A client and a server of Redpoll meet, and the client sends one message.
fn meet(input: &Input) {
    let Some((nonce, rest)) = input.bytes.split_first_chunk() else { return };
    let (key, protocols) = (encode_key(*nonce), &PROTOCOLS[usize::from(input.flags >> 3) % 3..]);
    let value = String::from_iter(rest.iter().map(|byte| char::from(byte % 95 + 32)).take(200));
    let mut bytes = client_request("a:81", PATH, &key, protocols, &[("X-Extra", value.trim())]);
    let head_bytes = bytes.len();
    let message = &rest[..rest.len().min(MESSAGE_BYTES_MAX)];
    encode_masked(Opcode::Binary, message, [nonce[0], nonce[1], nonce[2], nonce[3]], &mut bytes);
    let Verdict::Opens(opening) = handshakes::request(&bytes, HEAD_BYTES_MAX, true) else { panic!("a request") };
    assert_eq!(opening.head_bytes, head_bytes);
    let answer = serve(&bytes, &[bytes.len()], config(input));
    check_open(&bytes, &answer, &opening);
    let accepted = check_answer(&answer, &key, protocols).expect("it is accepted").expect("and complete");
    assert_eq!(accepted.protocol.as_deref(), protocols.iter().copied().find(|name| *name == "redpoll.v1"));
    assert_eq!(Some(accepted.head_bytes), Head::parse(&answer).map(|head| head.bytes));
}
