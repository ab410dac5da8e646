//! Opens connections, as many as the machine lets: descriptors, ports, source addresses.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Begins to connect. Where the target is on this machine, connections come from addresses all over 127.0.0.0/8: from
/// one address there are 28,000 ports, less those that still wait after their end.
pub(super) fn connect(target: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source_for(target, number) {
        socket.bind(&source.into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Other systems than Linux have 127.0.0.1 alone.
fn source_for(target: SocketAddr, number: usize) -> Option<SocketAddr> {
    let is_loopback = matches!(target.ip(), IpAddr::V4(address) if address.is_loopback());
    let source = Ipv4Addr::from_bits(SOURCE_FIRST.to_bits() + (number % SOURCES) as u32);
    (is_loopback && cfg!(target_os = "linux")).then_some(SocketAddr::new(source.into(), 0))
}

/// Raises the limit of descriptors to what so many connections need, or as far as it may.
pub(super) fn raise_descriptor_limit(connections: usize) {
    let need = Some((connections + SPARE_DESCRIPTORS) as u64);
    let limit = getrlimit(Resource::Nofile);
    // No limit at all is the highest.
    let is_enough = |most: Option<u64>| most.is_none() || most >= need;
    if is_enough(limit.current) {
        return;
    }
    let maximum = if is_enough(limit.maximum) { limit.maximum } else { need };
    // To raise the maximum takes a privilege.
    if setrlimit(Resource::Nofile, Rlimit { current: need, maximum }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Why no further connection could be opened, in words.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => match getrlimit(Resource::Nofile).current {
            Some(limit) => format!("this process may have {limit} descriptors (ulimit -n)"),
            None => "this process may have no more descriptors".to_owned(),
        },
        Some(Errno::NFILE) => "the machine may have no more descriptors (fs.file-max)".to_owned(),
        Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => {
            "no port is left on this side (net.ipv4.ip_local_port_range)".to_owned()
        }
        Some(Errno::NOBUFS | Errno::NOMEM) => "the kernel has no memory for more".to_owned(),
        _ if error.kind() == ErrorKind::UnexpectedEof => "the server ended the connection".to_owned(),
        _ => crate::cli::http::explain(error),
    }
}

const SOURCE_FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const SOURCES: usize = 4_000;

/// For the poll, standard streams, `/proc`.
const SPARE_DESCRIPTORS: usize = 32;
