//! Close codes: why a WebSocket ends, and the payload of a close frame (RFC 6455 §5.5.1 and §7.4).

/// The longest reason a close frame can carry, in bytes: a control frame's 125 without the code's two.
pub const REASON_BYTES_MAX: usize = 123;

/// The number that says why a WebSocket is closed (RFC 6455 §7.4).
///
/// Any number can be held, also one that no frame may carry; [`CloseCode::may_be_sent`] tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: what the connection was for is done.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: a kind of data that is not accepted, such as binary where only text is.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// 1007: data that is not what its type says, such as a text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: a message that its sender may not send.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// 1009: a message larger than is accepted.
    pub const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: something unexpected went wrong on this side.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the service restarts; come back (IANA registry).
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// 1013: too much to do; come back later (IANA registry).
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);
    /// 4001: the token that let the client in has expired. Redpoll's own.
    pub const TOKEN_EXPIRED: CloseCode = CloseCode(4001);
    /// 4008: the client fell behind what the channel keeps, on a raw WebSocket, which has no other way to say it.
    /// Redpoll's own.
    pub const LAGGED: CloseCode = CloseCode(4008);

    /// The code with this number, whatever it means.
    pub const fn new(value: u16) -> CloseCode {
        CloseCode(value)
    }

    /// The number itself.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// Whether a close frame may carry it: the assigned ones and 3000 to 4999, which belong to libraries and
    /// applications (RFC 6455 §7.4.2).
    ///
    /// 1004 has no meaning yet; 1005, 1006 and 1015 stand for what happened where no code was received (§7.4.1). 1012
    /// to 1014 came later, by the IANA registry.
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a peer did wrong, and the close code that answers it. After one, nothing more is decoded (RFC 6455 §7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The code to close with.
    pub code: CloseCode,
    /// What was wrong and what is accepted; short enough to be the close frame's reason.
    pub detail: &'static str,
}

impl Violation {
    /// A peer that broke the protocol: close code 1002.
    pub const fn protocol(detail: &'static str) -> Violation {
        Violation { code: CloseCode::PROTOCOL_ERROR, detail }
    }
}

/// `1002 a reserved opcode`, for logs.
impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Reads a close frame's payload: nothing, or a code and a reason, which may be empty (RFC 6455 §5.5.1).
///
/// Fails with 1002 where the code is cut short or [may not be sent](CloseCode::may_be_sent), with 1007 where the
/// reason is not UTF-8.
pub fn decode(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(Violation::protocol("a close code has two bytes"));
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(Violation::protocol("a close code that may not be sent"));
    }
    let not_utf8 = Violation { code: CloseCode::INVALID_PAYLOAD, detail: "a close reason must be UTF-8" };
    let reason = std::str::from_utf8(reason).map_err(|_| not_utf8)?;
    Ok(Some((code, reason)))
}

/// The payload of a close frame. A reason longer than [`REASON_BYTES_MAX`] is cut after its last whole character.
///
/// `code` must be one that [may be sent](CloseCode::may_be_sent). A close without a code is an empty payload.
pub fn encode(code: CloseCode, reason: &str) -> Vec<u8> {
    debug_assert!(code.may_be_sent(), "close code {code} may not be sent");
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    [&code.0.to_be_bytes(), &reason.as_bytes()[..end]].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_assigned_codes_and_those_of_libraries_and_applications_may_be_sent() {
        let accepted = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for value in 0..=u16::MAX {
            let expected = accepted.contains(&value) || (3000..5000).contains(&value);
            assert_eq!(CloseCode::new(value).may_be_sent(), expected, "{value}");
        }
    }

    #[test]
    fn a_close_reads_back_as_it_was_written() {
        for reason in ["", "bye", "tschüß", &"x".repeat(123)] {
            let payload = encode(CloseCode::LAGGED, reason);
            assert_eq!(decode(&payload), Ok(Some((CloseCode::LAGGED, reason))));
        }
        assert_eq!(decode(b""), Ok(None));
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        for (reason, kept) in
            [("x".repeat(124), 123), ("é".repeat(100), 122), ("€".repeat(42), 123), ("😀".repeat(40), 120)]
        {
            let payload = encode(CloseCode::NORMAL, &reason);
            let (_, cut) = decode(&payload).unwrap().unwrap();
            assert_eq!((cut.len(), reason.starts_with(cut)), (kept, true));
        }
    }

    #[test]
    fn a_malformed_close_is_refused_with_the_code_that_fits() {
        let table: [(&[u8], u16); 8] = [
            (b"\x03", 1002),
            (b"\x00\x00", 1002),
            (b"\x03\xe7", 1002),
            (b"\x03\xed", 1002),
            (b"\x03\xeebye", 1002),
            (b"\x13\x88", 1002),
            (b"\x03\xe8\xff", 1007),
            (b"\x03\xe8\xce\xba\xe1\xbd", 1007),
        ];
        for (payload, code) in table {
            assert_eq!(decode(payload).map_err(|violation| violation.code.value()), Err(code), "{payload:?}");
        }
    }
}
