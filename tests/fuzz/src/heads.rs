//! RFC 9112 §2 to §6, line by line: where a request's head ends, what it says, and what is wrong with it.
//!
//! Of several things that are wrong, any may be the answer. Where the RFCs allow more than is wise to serve, or the
//! other way round, either is right: [`Heard::unsure`] says so.

use crate::extensions::is_token;

/// The most fields of a head.
pub const FIELDS_MAX: usize = 64;

/// The longest target.
pub const TARGET_BYTES_MAX: usize = 4096;

/// How far a head has come.
#[derive(Debug)]
pub enum Progress {
    /// It has not ended.
    Begun,
    /// With this many bytes it is known to be none.
    NoHead(usize),
    /// It has this many bytes.
    Ended(usize),
}

/// A head, word by word.
#[derive(Debug, Default)]
pub struct Heard {
    /// The statuses that may answer it. None: it is served.
    pub faults: Vec<u16>,
    /// Whether it may be refused with 400 as well.
    pub unsure: bool,
    pub method: String,
    /// Of an absolute target, else of the field `Host`.
    pub host: String,
    pub path: String,
    pub query: String,
    pub http10: bool,
    /// Names as they stand there, values without the white space around them.
    pub fields: Vec<(String, String)>,
}

/// How the end of a content is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Looks for the end of the head that `bytes` begins with (§2.1, §2.2).
pub fn progress(bytes: &[u8]) -> Progress {
    if bytes.first().is_some_and(|first| *first != b'\r' && *first != b'\n' && !is_token_byte(*first)) {
        return Progress::NoHead(1);
    }
    // Whether this line, and any line, has something on it.
    let (mut something, mut begun, mut at) = (false, false, 0);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', None) => return Progress::Begun,
            (b'\r', Some(b'\n')) => {
                at += 2;
                if begun && !something {
                    return Progress::Ended(at);
                }
                something = false;
            }
            (b'\r', Some(_)) => return Progress::NoHead(at + 2),
            (b'\n', _) => return Progress::NoHead(at + 1),
            _ => {
                (something, begun) = (true, true);
                at += 1;
            }
        }
    }
    Progress::Begun
}

/// Reads one whole head.
pub fn read(head: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let Ok(text) = std::str::from_utf8(head) else {
        // Bytes that are no text are obs-text in values (RFC 9110 §5.5), which need not be taken.
        heard.faults = vec![400, 414, 431, 501, 505];
        return heard;
    };
    let mut lines = text.split("\r\n").skip_while(|line| line.is_empty());
    heard.request_line(lines.next().unwrap_or_default());
    heard.field_lines(lines.take_while(|line| !line.is_empty()));
    heard.host();
    heard
}

impl Heard {
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// RFC 9110 §5.6.1: the items of all lists of that name, in lower case.
    pub fn items(&self, name: &str) -> Vec<String> {
        let items = self.values(name).join(",").to_ascii_lowercase();
        items.split(',').map(|item| item.trim_matches([' ', '\t']).to_owned()).filter(|item| !item.is_empty()).collect()
    }

    /// §9.3.
    pub fn keep_alive(&self) -> bool {
        let has = |option: &str| self.items("connection").iter().any(|item| item == option);
        !has("close") && (!self.http10 || has("keep-alive"))
    }

    /// RFC 9110 §10.1.1.
    pub fn expects_continue(&self) -> Result<bool, u16> {
        let expected = self.items("expect");
        match expected.iter().all(|item| item == "100-continue") || self.http10 {
            true => Ok(!expected.is_empty() && !self.http10),
            false => Err(417),
        }
    }

    /// §6.1 to §6.3, or the statuses that may answer it.
    pub fn framing(&self) -> Result<Framing, Vec<u16>> {
        let (codings, lengths) = (self.values("transfer-encoding"), self.values("content-length"));
        let mut faults = Vec::new();
        let framing = match (&codings[..], &lengths[..]) {
            ([], []) => Framing::None,
            ([], [digits]) if is_number(digits) => {
                let number = digits
                    .bytes()
                    .fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
                Framing::Length(number)
            }
            _ => Framing::Chunked,
        };
        if !codings.is_empty() && codings.iter().all(|coding| !coding.eq_ignore_ascii_case("chunked")) {
            faults.push(501);
        }
        if codings.len() > 1 {
            faults.extend([400, 501]);
        }
        let wrong_lengths = lengths.len() > 1 || lengths.iter().any(|digits| !is_number(digits));
        let smuggles = !codings.is_empty() && (self.http10 || !lengths.is_empty());
        let empty = matches!(framing, Framing::None | Framing::Length(0));
        if wrong_lengths || smuggles || !empty && ["GET", "HEAD", "TRACE"].contains(&self.method.as_str()) {
            faults.push(400);
        }
        if faults.is_empty() { Ok(framing) } else { Err(faults) }
    }

    /// §3.
    fn request_line(&mut self, line: &str) {
        let words = Vec::from_iter(line.split(' '));
        let [method, target, version] = words[..] else { return self.faults.push(400) };
        let digit = |text: &str| text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit());
        match version.strip_prefix("HTTP/").and_then(|number| number.split_once('.')) {
            Some(("1", "1")) => {}
            Some(("1", "0")) => self.http10 = true,
            Some((major, minor)) if digit(major) && digit(minor) => self.faults.push(505),
            _ => self.faults.push(400),
        }
        match method {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE" => {}
            _ => self.faults.push(if is_token(method) { 501 } else { 400 }),
        }
        self.method = method.to_owned();
        if target.len() > TARGET_BYTES_MAX {
            self.faults.push(414);
        }
        if target.is_empty() || target.contains('#') || target.contains(|other: char| !other.is_ascii_graphic()) {
            self.faults.push(400);
        }
        self.target(target);
    }

    /// §3.2.
    fn target(&mut self, target: &str) {
        let mut rest = target;
        if let Some((scheme, after)) = target.split_once("://").filter(|_| !target.starts_with('/')) {
            let end = after.find(['/', '?']).unwrap_or(after.len());
            self.host = after[..end].to_owned();
            rest = &after[end..];
            let scheme = scheme.to_ascii_lowercase();
            if scheme != "http" && scheme != "https" || self.host.is_empty() {
                self.faults.push(400);
            }
            self.authority(&after[..end]);
        } else if !target.starts_with('/') && (target != "*" || self.method != "OPTIONS") {
            self.faults.push(400);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        self.path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        self.query = query.to_owned();
    }

    /// §5.
    fn field_lines<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            match line.split_once(':') {
                Some((name, value)) if is_token(name) && value.chars().all(is_text) => {
                    self.fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
                }
                _ => self.faults.push(400),
            }
            if self.fields.len() > FIELDS_MAX {
                self.faults.push(431);
            }
        }
    }

    /// §3.2, and RFC 9110 §7.2.
    fn host(&mut self) {
        let hosts = Vec::from_iter(self.values("host").into_iter().map(str::to_owned));
        match &hosts[..] {
            [] if self.http10 => {}
            [host] => {
                if !host.is_empty() {
                    self.authority(host);
                }
                if self.host.is_empty() {
                    self.host.clone_from(host);
                }
            }
            _ => self.faults.push(400),
        }
    }

    /// RFC 3986 §3.2, without a user.
    fn authority(&mut self, text: &str) {
        let end = if text.starts_with('[') {
            text.find(']').map_or(0, |end| end + 1)
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (host, port) = text.split_at(end);
        let number = port.strip_prefix(':').unwrap_or(port);
        let is_name = |character: char| character.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(character);
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let fits = match address {
            Some(address) => {
                !address.is_empty() && address.chars().all(|one| one.is_ascii_hexdigit() || ":.".contains(one))
            }
            None => !host.is_empty() && host.chars().all(is_name),
        };
        if !fits || !port.is_empty() && (!port.starts_with(':') || !number.is_empty() && !is_number(number)) {
            self.faults.push(400);
        }
        let escapes = host.split('%').skip(1);
        let are_escapes = |rest: &str| rest.len() > 1 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        let is_plain = address.is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        self.unsure |=
            !escapes.into_iter().all(are_escapes) || !is_plain || !number.is_empty() && number.parse::<u16>().is_err();
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii() && is_token(char::from(byte).encode_utf8(&mut [0; 4]))
}

/// RFC 9110 §5.5.
fn is_text(character: char) -> bool {
    character == '\t' || !character.is_ascii_control()
}
