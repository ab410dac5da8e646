//! Asks a nameserver: over UDP, and over TCP where the answer does not fit (RFC 1035 §4.2, RFC 7766 §5).

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::dns::{Fault, Name, Query, RecordType};
use super::http::explain;
use super::retry::entropy;

/// Why a server gives no address.
#[derive(Debug)]
pub(super) enum Failure {
    /// What it answers.
    Answer(Fault),
    /// It does not answer.
    Network(io::Error),
    /// It says that its answer is too long for a datagram, and does not answer over TCP.
    Tcp(io::Error),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Answer(fault)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Network(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Network(error) => f.write_str(&explain(error)),
            Failure::Tcp(error) => write!(f, "its answer needs TCP, and there: {}", explain(error)),
            Failure::Answer(Fault::NoSuchName) => f.write_str("there is no such name"),
            Failure::Answer(Fault::NoAddress) => f.write_str("the name has no address"),
            Failure::Answer(Fault::Truncated) => f.write_str("the answer is cut short"),
            Failure::Answer(Fault::Code(2)) => f.write_str("it cannot find out (SERVFAIL)"),
            Failure::Answer(Fault::Code(5)) => f.write_str("it refuses to say (REFUSED)"),
            Failure::Answer(Fault::Code(code)) => write!(f, "it answers with error {code}"),
            Failure::Answer(Fault::Malformed | Fault::Foreign) => f.write_str("the answer makes no sense"),
        }
    }
}

/// Asks `server` for all addresses of a name, IPv6 first as RFC 6724 §2.1 prefers it: where there is no route to them,
/// connecting fails at once. Each question has `patience` for its answer.
pub(super) fn ask(server: SocketAddr, name: &Name, patience: Duration) -> Result<Vec<IpAddr>, Failure> {
    let v4 = match exchange(server, name, RecordType::A, patience) {
        Err(Failure::Answer(Fault::NoAddress)) => Vec::new(),
        answer => answer?,
    };
    match exchange(server, name, RecordType::Aaaa, patience) {
        Ok(v6) => Ok([v6, v4].concat()),
        // Some servers answer for IPv4 alone, and badly or never for IPv6.
        Err(_) if !v4.is_empty() => Ok(v4),
        Err(failure) => Err(failure),
    }
}

fn exchange(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    patience: Duration,
) -> Result<Vec<IpAddr>, Failure> {
    let [high, low, ..] = entropy();
    let query = Query { id: u16::from_be_bytes([high, low]), name, record_type };
    match over_udp(server, &query, patience) {
        Err(Failure::Answer(Fault::Truncated)) => {
            let message = over_tcp(server, &query, patience).map_err(Failure::Tcp)?;
            Ok(query.addresses(&message)?)
        }
        answer => answer,
    }
}

fn over_udp(server: SocketAddr, query: &Query, patience: Duration) -> Result<Vec<IpAddr>, Failure> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket for each question: port 0 has the kernel pick one at random (RFC 5452 §9.2). Connected, it takes
    // datagrams from the server alone, and hears if nothing listens there.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(&query.encode())?;
    let until = Instant::now() + patience;
    let mut datagram = [0; DATAGRAM_BYTES_MAX];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let count = match socket.recv(&mut datagram) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received?,
        };
        match query.addresses(&datagram[..count]) {
            // RFC 5452 §9.1: whoever guesses wrong must not keep the answer from being heard.
            Err(Fault::Foreign) => {}
            answer => return Ok(answer?),
        }
    }
}

fn over_tcp(server: SocketAddr, query: &Query, patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_write_timeout(Some(left(until)?))?;
    let message = query.encode();
    // RFC 7766 §8: the length and the message in one segment.
    stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat())?;
    let mut length = [0; 2];
    read_all(&mut stream, &mut length, until)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    read_all(&mut stream, &mut message, until)?;
    Ok(message)
}

/// `read_exact` with a time for all of it, which a server cannot stretch byte by byte.
fn read_all(stream: &mut TcpStream, mut into: &mut [u8], until: Instant) -> io::Result<()> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    // A socket takes no timeout of zero.
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// RFC 1035 §2.3.4 allows 512 where nothing else is agreed; some send more all the same.
const DATAGRAM_BYTES_MAX: usize = 4096;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use super::super::dns::tests::{Answer, reply};
    use super::*;

    /// Far more than anything here takes, so that only what never comes fails.
    pub(in crate::cli) const FOREVER: Duration = Duration::from_secs(60);

    /// A nameserver on loopback. For each question it sends what `answers` gives; the questions come out of the receiver.
    pub(in crate::cli) fn serve(
        mut answers: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> (SocketAddr, Receiver<(SocketAddr, Vec<u8>)>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, questions) = channel();
        thread::spawn(move || {
            let mut datagram = [0; 1024];
            while let Ok((count, client)) = socket.recv_from(&mut datagram) {
                let _ = sender.send((client, datagram[..count].to_vec()));
                for answer in answers(&datagram[..count]) {
                    socket.send_to(&answer, client).unwrap();
                }
            }
        });
        (address, questions)
    }

    /// A nameserver that truncates everything over UDP, and over TCP sends what `answer` gives, piece by piece.
    fn serve_tcp(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let on_free_port = || {
            let (server, _questions) = serve(truncated);
            TcpListener::bind(server).map(|listener| (server, listener)).ok()
        };
        let (server, listener) = std::iter::repeat_with(on_free_port).take(100).flatten().next().unwrap();
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                client.read_exact(&mut length).unwrap();
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                client.read_exact(&mut question).unwrap();
                for piece in answer(&question) {
                    client.write_all(&piece).unwrap();
                }
            }
        });
        server
    }

    fn truncated(question: &[u8]) -> Vec<Vec<u8>> {
        vec![with_flags(reply(question, &[]), 0x8380)]
    }

    pub(in crate::cli) fn is_v6(question: &[u8]) -> bool {
        question[question.len() - 3] == RecordType::Aaaa as u8
    }

    fn v4() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn v6() -> IpAddr {
        "2001:db8::1".parse().unwrap()
    }

    /// The right answer for `a.example`, which has both addresses.
    fn both(question: &[u8]) -> Vec<u8> {
        reply(question, &[Answer::Address("a.example", if is_v6(question) { v6() } else { v4() })])
    }

    fn with_flags(mut message: Vec<u8>, flags: u16) -> Vec<u8> {
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message
    }

    fn ask_for(host: &str, server: SocketAddr, patience: Duration) -> Result<Vec<IpAddr>, String> {
        ask(server, &Name::parse(host).unwrap(), patience).map_err(|failure| failure.to_string())
    }

    #[test]
    fn both_kinds_of_addresses_are_found_ipv6_first() {
        let (server, questions) = serve(|question| vec![both(question)]);
        assert_eq!(ask_for("A.example.", server, FOREVER), Ok(vec![v6(), v4()]));
        assert_eq!(questions.try_iter().count(), 2);
    }

    #[test]
    fn each_question_has_its_own_id_and_port() {
        let (server, questions) = serve(|question| vec![both(question)]);
        for _ in 0..8 {
            assert!(ask_for("a.example", server, FOREVER).is_ok());
        }
        let questions: Vec<(SocketAddr, Vec<u8>)> = questions.try_iter().collect();
        let mut ids: Vec<&[u8]> = questions.iter().map(|(_, question)| &question[..2]).collect();
        let mut ports: Vec<u16> = questions.iter().map(|(client, _)| client.port()).collect();
        ids.sort_unstable();
        ids.dedup();
        ports.sort_unstable();
        ports.dedup();
        // By chance a few of the 16 may be the same; fixed ones would be seen.
        assert!(ids.len() > 12 && ports.len() > 12, "{ids:?} {ports:?}");
        // If they were counted up, nearly all would have the same first byte.
        ids.dedup_by_key(|id| id[0]);
        assert!(ids.len() > 4, "{ids:?}");
    }

    #[test]
    fn answers_to_something_else_do_not_keep_the_right_one_from_being_heard() {
        let forgeries = |question: &[u8]| {
            let mut wrong_id = both(question);
            wrong_id[0] ^= 1;
            let mut wrong_name = both(question);
            wrong_name[13] ^= 1;
            let query = question.to_vec();
            vec![Vec::new(), vec![0; 5], wrong_id, wrong_name, query, both(question)[..14].to_vec()]
        };
        let (server, _questions) = serve(move |question| [forgeries(question), vec![both(question)]].concat());
        assert_eq!(ask_for("a.example", server, FOREVER), Ok(vec![v6(), v4()]));
        let (server, _questions) = serve(forgeries);
        assert_eq!(ask_for("a.example", server, Duration::from_millis(50)), Err("the server is silent".to_owned()));
    }

    #[test]
    fn one_kind_of_address_is_enough() {
        for answers in [
            |question: &[u8]| vec![if is_v6(question) { reply(question, &[]) } else { both(question) }],
            |question: &[u8]| vec![with_flags(both(question), if is_v6(question) { 0x8182 } else { 0x8180 })],
            |question: &[u8]| vec![if is_v6(question) { both(question)[..40].to_vec() } else { both(question) }],
        ] {
            let (server, _questions) = serve(answers);
            assert_eq!(ask_for("a.example", server, FOREVER), Ok(vec![v4()]));
        }
        let (server, _questions) =
            serve(|question| vec![if is_v6(question) { both(question) } else { reply(question, &[]) }]);
        assert_eq!(ask_for("a.example", server, FOREVER), Ok(vec![v6()]));
    }

    #[test]
    fn a_refusal_says_what_the_server_says() {
        for (flags, told) in [
            (0x8183, "there is no such name"),
            (0x8180, "the name has no address"),
            (0x8182, "it cannot find out (SERVFAIL)"),
            (0x8185, "it refuses to say (REFUSED)"),
            (0x8184, "it answers with error 4"),
        ] {
            let (server, _questions) = serve(move |question| vec![with_flags(reply(question, &[]), flags)]);
            assert_eq!(ask_for("a.example", server, FOREVER), Err(told.to_owned()));
        }
        let (server, _questions) = serve(|question| vec![both(question)[..40].to_vec()]);
        assert_eq!(ask_for("a.example", server, FOREVER), Err("the answer makes no sense".to_owned()));
    }

    #[test]
    fn what_does_not_fit_is_asked_for_over_tcp() {
        let with_length = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        let many: Vec<Answer> = (0..200).map(|_| Answer::Address("a.example", v4())).collect();
        // Byte by byte, so that no read gives all of it.
        let server = serve_tcp(move |question| {
            let message = with_length(reply(question, if is_v6(question) { &[] } else { &many }));
            message.chunks(1).map(<[u8]>::to_vec).collect()
        });
        assert_eq!(ask_for("a.example", server, FOREVER), Ok(vec![v4(); 200]));
        let server = serve_tcp(move |question| truncated(question).into_iter().map(with_length).collect());
        assert_eq!(ask_for("a.example", server, FOREVER), Err("the answer is cut short".to_owned()));
    }

    #[test]
    fn that_tcp_fails_is_told() {
        for pieces in [vec![], vec![vec![0]], vec![vec![0, 9]], vec![vec![0, 9], vec![0; 8]]] {
            let server = serve_tcp(move |_| pieces.clone());
            let told = "its answer needs TCP, and there: the connection broke";
            assert_eq!(ask_for("a.example", server, FOREVER), Err(told.to_owned()));
        }
        let (server, _questions) = serve(truncated);
        let told = "its answer needs TCP, and there: nothing listens there";
        assert_eq!(ask_for("a.example", server, FOREVER), Err(told.to_owned()));
    }

    #[test]
    fn a_server_that_sends_byte_by_byte_does_not_stretch_the_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // The end of the connection comes far later, and would be another error.
        thread::spawn(move || {
            while server.write_all(b"a").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        let until = Instant::now() + Duration::from_millis(50);
        let error = read_all(&mut stream, &mut [0; 1 << 20], until).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{error}");
    }

    #[test]
    fn nobody_there_is_told_at_once() {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(ask_for("a.example", address, FOREVER), Err("nothing listens there".to_owned()));
    }
}
