//! DNS messages (RFC 1035): the question for a name's addresses, and what an answer says to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A domain name as it is sent: each label behind its length, the root's empty one at the end. In lower case, since
/// names that differ in nothing else are the same (RFC 4343).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Reads a host's name. Of what the DNS could hold it takes letters, digits, hyphens (RFC 1123 §2.1) and the
    /// underscores of container networks.
    pub(super) fn parse(host: &str) -> Option<Name> {
        let host = host.strip_suffix('.').unwrap_or(host);
        // RFC 3696 §2: the last label is never a number, or `127.1` could be an address and a name.
        if host.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let mut name = Vec::with_capacity(host.len() + 2);
        for label in host.split('.') {
            if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || !label.bytes().all(is_allowed) {
                return None;
            }
            name.push(label.len() as u8);
            name.extend_from_slice(label.to_ascii_lowercase().as_bytes());
        }
        name.push(0);
        (name.len() <= NAME_BYTES_MAX).then_some(Name(name))
    }
}

/// The type of the records that are asked for (RFC 1035 §3.2.2, RFC 3596 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    A = 1,
    Aaaa = 28,
}

/// A question: what is sent, and what its answer has to repeat.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// No one must be able to guess it: whoever can may answer in the server's place.
    pub(super) id: u16,
    pub(super) name: &'a Name,
    pub(super) record_type: RecordType,
}

/// Why a message does not give what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It answers something else, or is no answer at all.
    Foreign,
    /// It did not fit.
    Truncated,
    /// The name does not exist.
    NoSuchName,
    /// The name exists, but has no address of this type.
    NoAddress,
    /// Another RCODE (RFC 1035 §4.1.1).
    Code(u8),
    /// It is not what it says it is.
    Malformed,
}

impl Query<'_> {
    /// The message that asks (RFC 1035 §4.1).
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for word in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(&self.name.0);
        for word in [self.record_type as u16, CLASS_IN] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message
    }

    /// The addresses that an answer gives: those of the name, or of what it is an alias for. At least one.
    pub(super) fn addresses(&self, message: &[u8]) -> Result<Vec<IpAddr>, Fault> {
        let mut reader = Reader { message, at: 0 };
        let (flags, answers) = self.match_question(&mut reader).ok_or(Fault::Foreign)?;
        match (flags & RCODE) as u8 {
            0 if flags & TRUNCATED != 0 => return Err(Fault::Truncated),
            0 => {}
            3 => return Err(Fault::NoSuchName),
            code => return Err(Fault::Code(code)),
        }
        let records: Option<Vec<Record>> = (0..answers).map(|_| reader.record()).collect();
        let records = records.ok_or(Fault::Malformed)?;
        let owner = canonical(self.name, &records).ok_or(Fault::Malformed)?;
        let addresses: Vec<IpAddr> = records
            .iter()
            .filter(|record| record.owner == *owner)
            .filter_map(|record| match (&record.data, self.record_type) {
                (Data::A(address), RecordType::A) => Some(IpAddr::from(*address)),
                (Data::Aaaa(address), RecordType::Aaaa) => Some(IpAddr::from(*address)),
                _ => None,
            })
            .collect();
        if addresses.is_empty() { Err(Fault::NoAddress) } else { Ok(addresses) }
    }

    /// The flags and the number of answers, if this is a response to this question and to nothing else.
    fn match_question(&self, reader: &mut Reader) -> Option<(u16, u16)> {
        let (id, flags, questions, answers) = (reader.word()?, reader.word()?, reader.word()?, reader.word()?);
        // How many records the other sections have: none of them is read.
        reader.take(4)?;
        let (name, record_type, class) = (reader.name()?, reader.word()?, reader.word()?);
        let is_response = id == self.id && flags & (RESPONSE | OPCODE) == RESPONSE && questions == 1;
        let is_ours = name == *self.name && record_type == self.record_type as u16 && class == CLASS_IN;
        (is_response && is_ours).then_some((flags, answers))
    }
}

/// Follows aliases from `name` to the name that is none. `None` where they have no end.
fn canonical<'a>(name: &'a Name, records: &'a [Record]) -> Option<&'a Name> {
    let mut name = name;
    for _ in 0..=ALIASES_MAX {
        let alias = records.iter().find_map(|record| match &record.data {
            Data::Cname(target) if record.owner == *name => Some(target),
            _ => None,
        });
        match alias {
            Some(target) => name = target,
            None => return Some(name),
        }
    }
    None
}

struct Record {
    owner: Name,
    data: Data,
}

enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(Name),
    /// Of a type, or a class, that was not asked for.
    Other,
}

/// Reads a message from its front. Everything is `None` where the message ends too early.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..self.at + count)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// RFC 1035 §4.1.4: labels, and at the end perhaps a pointer to where the rest stands. That has to be before
    /// everything read so far, as the RFC says, and so following pointers ends.
    fn name(&mut self) -> Option<Name> {
        let (mut name, mut lowest) = (Vec::new(), self.at);
        let mut part = Reader { message: self.message, at: self.at };
        let mut end = None;
        loop {
            let length = part.byte()?;
            match length >> 6 {
                0b00 => {
                    name.push(length);
                    name.extend(part.take(length.into())?.iter().map(u8::to_ascii_lowercase));
                }
                0b11 => {
                    let target = usize::from(u16::from_be_bytes([length & 0b0011_1111, part.byte()?]));
                    // The message goes on behind the first pointer.
                    end = end.or(Some(part.at));
                    if target >= lowest {
                        return None;
                    }
                    (lowest, part.at) = (target, target);
                }
                // Reserved.
                _ => return None,
            }
            if name.len() > NAME_BYTES_MAX {
                return None;
            }
            if length == 0 {
                self.at = end.unwrap_or(part.at);
                return Some(Name(name));
            }
        }
    }

    /// RFC 1035 §4.1.3.
    fn record(&mut self) -> Option<Record> {
        let (owner, record_type, class) = (self.name()?, self.word()?, self.word()?);
        // How long it may be kept: it is not kept.
        self.take(4)?;
        let length = self.word()?.into();
        let mut data = Reader { message: self.message, at: self.at };
        let bytes = self.take(length)?;
        let data = match (record_type, class) {
            (1, CLASS_IN) => Data::A(<[u8; 4]>::try_from(bytes).ok()?.into()),
            (28, CLASS_IN) => Data::Aaaa(<[u8; 16]>::try_from(bytes).ok()?.into()),
            (5, CLASS_IN) => Data::Cname(data.name().filter(|_| data.at == self.at)?),
            _ => Data::Other,
        };
        Some(Record { owner, data })
    }
}

/// RFC 1035 §2.3.4, with the lengths and the root.
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;

/// Real chains have two or three. Longer ones are a loop, or might as well be one.
const ALIASES_MAX: usize = 16;

const CLASS_IN: u16 = 1;

// The flags (RFC 1035 §4.1.1).
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RCODE: u16 = 0x000f;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// One record of an answer: its owner, and the address or the name that it gives.
    pub(in crate::cli) enum Answer<'a> {
        Address(&'a str, IpAddr),
        Alias(&'a str, &'a str),
    }

    /// A good answer to `query`, which repeats its id and its question.
    pub(in crate::cli) fn reply(query: &[u8], answers: &[Answer]) -> Vec<u8> {
        let mut message = query.to_vec();
        // RFC 1035 §4.1.1: a response, recursion desired and available.
        message[2..4].copy_from_slice(&0x8180_u16.to_be_bytes());
        message[6..8].copy_from_slice(&(answers.len() as u16).to_be_bytes());
        for answer in answers {
            let (owner, record_type, data) = match answer {
                Answer::Address(owner, IpAddr::V4(address)) => (owner, 1, address.octets().to_vec()),
                Answer::Address(owner, IpAddr::V6(address)) => (owner, 28, address.octets().to_vec()),
                Answer::Alias(owner, target) => (owner, 5, Name::parse(target).unwrap().0),
            };
            push_record(&mut message, &Name::parse(owner).unwrap().0, record_type, 1, &data);
        }
        message
    }

    fn push_record(message: &mut Vec<u8>, owner: &[u8], record_type: u16, class: u16, data: &[u8]) {
        message.extend_from_slice(owner);
        for word in [record_type, class, 0, 60, data.len() as u16] {
            message.extend_from_slice(&word.to_be_bytes());
        }
        message.extend_from_slice(data);
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn query(name: &Name) -> Query<'_> {
        Query { id: 0xbeef, name, record_type: RecordType::A }
    }

    /// RFC 1035 §4.1.4, the example: F.ISI.ARPA at 20, FOO.F.ISI.ARPA at 40, ARPA at 64 and the root at 92.
    fn compressed() -> Vec<u8> {
        let mut message = vec![0xff; 93];
        message[20..32].copy_from_slice(b"\x01F\x03ISI\x04ARPA\0");
        message[40..46].copy_from_slice(b"\x03FOO\xc0\x14");
        message[64..66].copy_from_slice(b"\xc0\x1a");
        message[92] = 0;
        message
    }

    #[test]
    fn names_are_read_as_the_rfc_compresses_them() {
        let message = compressed();
        for (at, expected, end) in [(20, "f.isi.arpa", 32), (40, "foo.f.isi.arpa", 46), (64, "arpa", 66)] {
            let mut reader = Reader { message: &message, at };
            assert_eq!((reader.name(), reader.at), (Some(name(expected)), end));
        }
        let mut reader = Reader { message: &message, at: 92 };
        assert_eq!((reader.name(), reader.at), (Some(Name(vec![0])), 93));
    }

    #[test]
    fn a_name_that_is_cut_or_has_no_end_is_none() {
        let message = compressed();
        for end in 40..46 {
            assert_eq!(Reader { message: &message[..end], at: 40 }.name(), None, "cut at {end}");
        }
        for (message, at) in [
            // To itself, to each other, forward, into its own beginning, beyond the message.
            (&b"\xc0\x00"[..], 0),
            (b"\xc0\x02\xc0\x00", 0),
            (b"\xc0\x02\xc0\x00", 2),
            (b"\xc0\x02\0", 0),
            (b"\x01a\xc0\x00", 0),
            (b"\x01a\x01b\xc0\x02", 0),
            (b"\x01a\xc0\x02", 2),
            (b"\xff\xff", 0),
            // Reserved bits (RFC 1035 §4.1.4).
            (b"\x40a\0", 0),
            (b"\x80a\0", 0),
            (b"", 0),
            (b"\0", 1),
        ] {
            assert_eq!(Reader { message, at }.name(), None, "{message:?} at {at}");
        }
        // Pointers backwards end by themselves; what they add up to has the limit of every name.
        let long = [b"\x3f", &[b'a'; 63][..]].concat();
        let mut message = [&long[..], &long, &long, b"\x3d", &[b'a'; 61], b"\0"].concat();
        assert_eq!(Reader { message: &message, at: 0 }.name().map(|name| name.0.len()), Some(NAME_BYTES_MAX));
        let at = message.len();
        message.extend_from_slice(b"\x01b\xc0\x00");
        assert_eq!(Reader { message: &message, at }.name(), None);
    }

    #[test]
    fn hosts_are_names_within_the_limits() {
        assert_eq!(name("Foo.F.isi.ARPA.").0, b"\x03foo\x01f\x03isi\x04arpa\0");
        assert_eq!(name("a_b-1").0, b"\x05a_b-1\0");
        let label = "a".repeat(63);
        let longest = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(name(&longest).0.len(), NAME_BYTES_MAX);
        for host in [
            "",
            ".",
            "..",
            "a..",
            ".a",
            "a..b",
            "a b",
            "a/b",
            "é",
            "a\0",
            "1",
            "127.1",
            "1.2.3.4.",
            &format!("{label}a"),
            &format!("{longest}a"),
        ] {
            assert_eq!(Name::parse(host), None, "{host}");
        }
    }

    #[test]
    fn the_question_is_as_the_rfc_lays_it_out() {
        let name = name("example.com");
        let query = Query { id: 0x1234, name: &name, record_type: RecordType::Aaaa };
        let expected = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x1c\0\x01";
        assert_eq!(query.encode(), expected);
    }

    #[test]
    fn the_addresses_of_the_name_are_taken_in_their_order_and_no_others() {
        let name = name("a.example");
        let query = query(&name);
        let (first, second) = (ip("192.0.2.7"), ip("192.0.2.3"));
        let message = reply(
            &query.encode(),
            &[
                Answer::Address("b.example", ip("192.0.2.66")),
                Answer::Address("A.Example", first),
                Answer::Address("a.example", ip("2001:db8::1")),
                Answer::Address("a.example", second),
            ],
        );
        assert_eq!(query.addresses(&message), Ok(vec![first, second]));
        let six = Query { record_type: RecordType::Aaaa, ..query };
        let message = reply(&six.encode(), &[Answer::Address("a.example", ip("2001:db8::1"))]);
        assert_eq!(six.addresses(&message), Ok(vec![ip("2001:db8::1")]));
        // Another class, with the same type and data.
        let mut message = reply(&query.encode(), &[Answer::Address("a.example", first)]);
        push_record(&mut message, b"\xc0\x0c", 1, 3, &[192, 0, 2, 66]);
        message[7] = 2;
        assert_eq!(query.addresses(&message), Ok(vec![first]));
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_only_from_the_name() {
        let name = name("www.example");
        let query = query(&name);
        let address = ip("192.0.2.1");
        let chain = [
            Answer::Address("host.cdn", address),
            Answer::Alias("edge.cdn", "host.cdn"),
            Answer::Alias("WWW.example", "edge.cdn"),
            Answer::Address("www.example", ip("192.0.2.66")),
            Answer::Alias("other.example", "evil.example"),
            Answer::Address("evil.example", ip("192.0.2.67")),
        ];
        assert_eq!(query.addresses(&reply(&query.encode(), &chain)), Ok(vec![address]));
        // The alias's data is compressed: its target is the question's `example`.
        let mut message = reply(&query.encode(), &[]);
        push_record(&mut message, b"\xc0\x0c", 5, 1, b"\x01b\xc0\x10");
        push_record(&mut message, b"\x01b\xc0\x10", 1, 1, &[192, 0, 2, 1]);
        message[7] = 2;
        assert_eq!(query.addresses(&message), Ok(vec![address]));
        for endless in [
            &[Answer::Alias("www.example", "www.example")][..],
            &[Answer::Alias("www.example", "a"), Answer::Alias("a", "b"), Answer::Alias("b", "a")],
        ] {
            assert_eq!(query.addresses(&reply(&query.encode(), endless)), Err(Fault::Malformed));
        }
        let dangling = [Answer::Alias("www.example", "a"), Answer::Address("www.example", address)];
        assert_eq!(query.addresses(&reply(&query.encode(), &dangling)), Err(Fault::NoAddress));
    }

    #[test]
    fn what_does_not_answer_the_question_is_foreign() {
        let name = name("a.example");
        let query = query(&name);
        let good = reply(&query.encode(), &[Answer::Address("a.example", ip("192.0.2.1"))]);
        assert!(query.addresses(&good).is_ok());
        let question = 12 + name.0.len();
        // The id's two bytes, QR, opcode, QDCOUNT, the name, the type, the class.
        for (at, flipped) in
            [(0, 1), (1, 1), (2, 0x80), (2, 0x08), (5, 1), (5, 2), (13, 2), (question + 1, 29), (question + 3, 2)]
        {
            let mut message = good.clone();
            message[at] ^= flipped;
            assert_eq!(query.addresses(&message), Err(Fault::Foreign), "byte {at}");
        }
        assert_eq!(query.addresses(&query.encode()), Err(Fault::Foreign), "the question itself");
        for end in 0..question + 4 {
            assert_eq!(query.addresses(&good[..end]), Err(Fault::Foreign), "cut at {end}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_or_lies_about_lengths_is_malformed() {
        let name = name("a.example");
        let query = query(&name);
        let answers = [Answer::Alias("a.example", "b.example"), Answer::Address("b.example", ip("192.0.2.1"))];
        let good = reply(&query.encode(), &answers);
        for end in query.encode().len()..good.len() {
            assert_eq!(query.addresses(&good[..end]), Err(Fault::Malformed), "cut at {end}");
        }
        for (record_type, data) in [
            (1, &[192, 0, 2][..]),
            (1, &[192, 0, 2, 1, 0]),
            (1, &[]),
            // A target that ends before, or goes on behind, its own record.
            (5, b"\x01b\0\0"),
            (5, b"\x05b"),
            (5, b""),
        ] {
            let mut message = reply(&query.encode(), &[]);
            push_record(&mut message, b"\xc0\x0c", record_type, 1, data);
            message[7] = 1;
            assert_eq!(query.addresses(&message), Err(Fault::Malformed), "{record_type} {data:?}");
        }
        let mut message = reply(&query.encode(), &[]);
        message[6..8].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(query.addresses(&message), Err(Fault::Malformed));
    }

    #[test]
    fn no_byte_of_an_answer_can_do_harm() {
        let name = name("a.example");
        let query = query(&name);
        let answers = [Answer::Alias("a.example", "b.example"), Answer::Address("b.example", ip("192.0.2.1"))];
        let good = reply(&query.encode(), &answers);
        for at in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut message = good.clone();
                message[at] = byte;
                // Whatever it gives, it gives something, and never a kind of address that was not asked for.
                if let Ok(addresses) = query.addresses(&message) {
                    assert!(addresses.len() == 1 && addresses[0].is_ipv4());
                }
            }
        }
    }

    #[test]
    fn the_server_says_why_there_is_no_address() {
        let name = name("a.example");
        let query = query(&name);
        for (flags, fault) in [
            (0x8180, Fault::NoAddress),
            (0x8183, Fault::NoSuchName),
            (0x8182, Fault::Code(2)),
            (0x8185, Fault::Code(5)),
            (0x8380, Fault::Truncated),
        ] {
            let mut message = reply(&query.encode(), &[]);
            message[2..4].copy_from_slice(&u16::to_be_bytes(flags));
            assert_eq!(query.addresses(&message), Err(fault));
        }
        // Truncated: what did fit is not the answer.
        let mut message = reply(&query.encode(), &[Answer::Address("a.example", ip("192.0.2.1"))]);
        message[2] |= 2;
        assert_eq!(query.addresses(&message), Err(Fault::Truncated));
        message.truncate(message.len() - 1);
        assert_eq!(query.addresses(&message), Err(Fault::Truncated));
    }
}
