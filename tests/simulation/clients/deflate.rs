//! permessage-deflate (RFC 7692), as a client offers and uses it.

use flate2::{Compress, Compression, FlushCompress};

use super::inflate::inflate;
use crate::oracle::Oracle;
use crate::random::Random;

/// What a client asks for, and what it must get.
pub(super) struct Offer {
    pub(super) field: &'static str,
    /// The window of what the server sends, in bits, where the offer is one that can be taken.
    bits: Option<u8>,
    /// Whether the answer names it.
    named: bool,
}

/// Appends an offer to the request's fields, or leaves it at nothing.
pub(super) fn offer(fields: &mut String, random: &mut Random) -> Option<Offer> {
    if random.one_in(2) {
        return None;
    }
    let (field, bits, named) = random.pick(&OFFERS);
    fields.push_str(&format!("Sec-WebSocket-Extensions: {field}\r\n"));
    Some(Offer { field, bits, named })
}

/// Appends the simplest offer.
pub(super) fn plain_offer(fields: &mut String) -> Offer {
    let (field, bits, named) = OFFERS[0];
    fields.push_str(&format!("Sec-WebSocket-Extensions: {field}\r\n"));
    Offer { field, bits, named }
}

impl Offer {
    /// Checks what the server answers; gives what the client then needs to inflate and to deflate.
    pub(super) fn agree(&self, answer: Option<&str>, oracle: &mut Oracle, random: &mut Random) -> Option<Agreed> {
        let (Some(from_bytes), Some(bits)) = (oracle.deflate_from_bytes, self.bits) else {
            assert_eq!(answer, None, "an extension for {:?}", self.field);
            return None;
        };
        let answer = answer.unwrap_or_else(|| panic!("no extension for {:?}", self.field));
        let mut parameters: Vec<&str> = answer.split(';').map(str::trim).collect();
        parameters.sort_unstable();
        let window = format!("server_max_window_bits={bits}");
        let mut expected = vec!["client_no_context_takeover", "permessage-deflate", "server_no_context_takeover"];
        if self.named {
            expected.insert(2, &window);
        }
        assert_eq!(parameters, expected, "for {:?}", self.field);
        oracle.note(if bits == 9 { "permessage-deflate, 9 bits" } else { "permessage-deflate, 15 bits" });
        let level = Compression::new(random.pick(&[0, 1, 6, 9]));
        Some(Agreed {
            inflater: Inflater { bits, from_bytes },
            deflater: Deflater {
                compress: Compress::new_with_window_bits(level, false, random.range(9, 15) as u8),
                final_block: random.one_in(4),
            },
        })
    }
}

pub(super) struct Agreed {
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
}

/// For what the server compresses.
pub(crate) struct Inflater {
    /// The window that was agreed on.
    bits: u8,
    from_bytes: usize,
}

impl Inflater {
    /// The message that a frame's payload stands for.
    pub(super) fn receive(&self, payload: Vec<u8>, deflated: bool, text: bool) -> Vec<u8> {
        if !deflated {
            // All of the simulation's texts can be compressed.
            let small = payload.len() < self.from_bytes.max(1_000);
            assert!(small || !text, "{} bytes of text are not compressed", payload.len());
            return payload;
        }
        let message = inflate(&payload, self.bits);
        assert!(message.len() > payload.len(), "{} bytes were better sent plain", message.len());
        assert!(message.len() >= self.from_bytes, "{} bytes were compressed", message.len());
        message
    }
}

/// What the client compresses: with any window, at any level.
pub(super) struct Deflater {
    compress: Compress,
    /// Says of its last block that it is the last (§7.2.3.4).
    final_block: bool,
}

impl Deflater {
    pub(super) fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        self.compress.reset();
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 1_000);
        let flush = if self.final_block { FlushCompress::Finish } else { FlushCompress::Sync };
        self.compress.compress_vec(payload, &mut out, flush).expect("it can be compressed");
        assert!(self.compress.total_in() == payload.len() as u64 && out.len() < out.capacity(), "it fits");
        match self.final_block {
            // An empty block of no compression, of which the receiver has the end (§7.2.3.4).
            true => out.push(0),
            false => assert_eq!(out.split_off(out.len() - TAIL.len()), TAIL),
        }
        out
    }
}

/// A hundred bytes that unpack to more than a message may have.
pub(super) fn bomb() -> Vec<u8> {
    let compress = Compress::new(Compression::best(), false);
    Deflater { compress, final_block: false }.deflate(&vec![b'x'; (64 << 10) + 1])
}

/// What ends a flush, and is not sent (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// An offer, the window that the answer must have, and whether it must name it.
const OFFERS: [(&str, Option<u8>, bool); 10] = [
    ("permessage-deflate", Some(15), false),
    ("permessage-deflate; client_max_window_bits", Some(15), false),
    ("permessage-deflate; client_max_window_bits=10; server_no_context_takeover", Some(15), false),
    ("permessage-deflate; server_max_window_bits=15; client_no_context_takeover", Some(15), true),
    ("permessage-deflate; server_max_window_bits=14", Some(9), true),
    ("permessage-deflate; server_max_window_bits=\"9\"", Some(9), true),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12", Some(9), true),
    ("permessage-deflate; server_max_window_bits=8", None, false),
    ("permessage-deflate; speed=7", None, false),
    ("x-other; a=1, permessage-deflate", Some(15), false),
];
