//! The pages: built into the binary, or files of `--html`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use redpoll::{Request, Response, Server, Status};

/// A page as `build.rs` has prepared it.
macro_rules! embedded {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

/// Path, file name, bytes as they are embedded.
const BUILT_IN: &[(&str, &str, &[u8])] = &[
    ("/", "index.html", embedded!("index.html")),
    ("/style.css", "style.css", embedded!("style.css")),
    ("/page.js", "page.js", embedded!("page.js")),
    ("/texts.js", "texts.js", embedded!("texts.js")),
    ("/chat.js", "chat.js", embedded!("chat.js")),
    ("/chat-members.js", "chat-members.js", embedded!("chat-members.js")),
    ("/chat-texts.js", "chat-texts.js", embedded!("chat-texts.js")),
    ("/status.css", "status.css", embedded!("status.css")),
    ("/status.js", "status.js", embedded!("status.js")),
    ("/status-chart.js", "status-chart.js", embedded!("status-chart.js")),
    ("/status-texts.js", "status-texts.js", embedded!("status-texts.js")),
    ("/lab", "lab.html", embedded!("lab.html")),
    ("/lab.css", "lab.css", embedded!("lab.css")),
    ("/lab.js", "lab.js", embedded!("lab.js")),
    ("/lab-texts.js", "lab-texts.js", embedded!("lab-texts.js")),
    ("/lab-wire.js", "lab-wire.js", embedded!("lab-wire.js")),
    ("/lab-check.js", "lab-check.js", embedded!("lab-check.js")),
    ("/redpoll.js", "redpoll.js", embedded!("redpoll.js")),
    ("/redpoll.d.ts", "redpoll.d.ts", embedded!("redpoll.d.ts")),
    ("/home.js", "home.js", embedded!("home.js")),
    ("/favicon.svg", "favicon.svg", embedded!("favicon.svg")),
];

/// Whether `build.rs` has compressed what is embedded.
const COMPRESSED: bool = cfg!(feature = "deflate");

/// The tutorial's page, which `/home/` fills in and serves; for its 1 KB nothing has to be inflated each time.
pub(super) const HOME: &[u8] = include_bytes!("../../../html/home.html");

/// Of the built-in pages. Nothing inline, nothing from elsewhere: a message that should ever become HTML still could
/// not run. What the pages of `--html` need is not known here.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes(mut server: Server, html: Option<PathBuf>) -> Server {
    if let Some(folder) = html {
        let (index, lab) = (folder.clone(), folder.clone());
        return server
            .get("/", move |_, _| file(&index, "index.html"))
            .get("/lab", move |_, _| file(&lab, "lab.html"))
            .get("/{*path}", move |request, _| file(&folder, request.param("path")));
    }
    for &(path, name, bytes) in BUILT_IN {
        let page = BuiltIn::new(name, bytes);
        server = server.get(path, move |request, _| page.answer(request));
    }
    server
}

/// The page `/status`, for those to whom it is shown.
pub(super) fn status(html: Option<PathBuf>) -> Box<dyn Fn(&Request) -> Response> {
    match html {
        Some(folder) => Box::new(move |_| file(&folder, "status.html")),
        None => {
            let page = BuiltIn::new("status.html", embedded!("status.html"));
            Box::new(move |request| page.answer(request))
        }
    }
}

/// A page of the tutorial's folder, or the built-in one.
pub(super) fn home(html: Option<&Path>) -> Result<Vec<u8>, Status> {
    match html {
        Some(folder) => read(folder, "home.html"),
        None => Ok(HOME.to_vec()),
    }
}

/// A page's response: its fields, whatever the page.
pub(super) fn page(name: &str, bytes: impl Into<Cow<'static, [u8]>>, cache: &'static str) -> Response {
    let response = Response::new(200).content(media_type(name), bytes);
    response.field("Referrer-Policy", "no-referrer").field("Cache-Control", cache)
}

/// A page of the binary, in two representations where it is compressed.
struct BuiltIn {
    name: &'static str,
    bytes: &'static [u8],
    /// Of `bytes`. It tells versions of the page apart in either representation.
    hash: String,
}

impl BuiltIn {
    fn new(name: &'static str, bytes: &'static [u8]) -> BuiltIn {
        BuiltIn { name, bytes, hash: sha1_of(bytes) }
    }

    fn answer(&self, request: &Request) -> Response {
        let gzip = COMPRESSED && request.prefers_gzip();
        let inflates = COMPRESSED && !gzip;
        // Each representation has its own strong tag (RFC 9110 §8.8.3.3).
        let tag = format!("\"{}{}\"", self.hash, if inflates { "-identity" } else { "" });
        let response = match is_known(request, &tag) {
            true => Response::new(304).field("Cache-Control", CACHE),
            false if inflates => page(self.name, inflated(self.bytes), CACHE),
            false if gzip => page(self.name, self.bytes, CACHE).field("Content-Encoding", "gzip"),
            false => page(self.name, self.bytes, CACHE),
        };
        let vary = if COMPRESSED { "Accept-Encoding, Origin" } else { "Origin" };
        response.field("Vary", vary).field("Content-Security-Policy", CONTENT_SECURITY_POLICY).field("ETag", tag)
    }
}

/// `If-None-Match`, which compares weakly (RFC 9110 §13.1.2): a proxy that compresses marks the tag as weak.
fn is_known(request: &Request, tag: &str) -> bool {
    let matches = |known: &str| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag;
    request.field("if-none-match").is_some_and(|tags| tags.split(',').any(|known| matches(known.trim())))
}

/// The page that `build.rs` has compressed.
#[cfg(feature = "deflate")]
fn inflated(gzip: &[u8]) -> Vec<u8> {
    // The last four bytes are the page's length (RFC 1952 §2.3.1).
    let length = gzip.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let mut page = Vec::with_capacity(length as usize);
    let read = flate2::Decompress::new_gzip(15).decompress_vec(gzip, &mut page, flate2::FlushDecompress::Finish);
    debug_assert!(read.is_ok_and(|status| status == flate2::Status::StreamEnd), "build.rs has written a whole page");
    page
}

#[cfg(not(feature = "deflate"))]
fn inflated(page: &'static [u8]) -> &'static [u8] {
    page
}

fn file(folder: &Path, path: &str) -> Response {
    read(folder, path).map_or_else(Response::from, |bytes| page(path, bytes, CACHE))
}

/// A file below `folder`. The path may not lead out of it, also not by a symbolic link, nor to hidden files.
fn read(folder: &Path, path: &str) -> Result<Vec<u8>, Status> {
    let nothing = || Status::new(404).detail(format!("no file {path:?} is in the folder that --html names"));
    if path.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0'])) {
        return Err(nothing());
    }
    let (folder, path) = (folder.canonicalize(), folder.join(path).canonicalize());
    let (Ok(folder), Ok(path)) = (folder, path) else { return Err(nothing()) };
    if !path.starts_with(folder) {
        return Err(nothing());
    }
    let metadata = std::fs::metadata(&path).map_err(|_| nothing())?;
    if !metadata.is_file() {
        return Err(nothing());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(
            Status::new(500).detail(format!("the file is larger than {FILE_BYTES_MAX} bytes: serve it from elsewhere"))
        );
    }
    std::fs::read(&path).map_err(|error| Status::new(500).detail(format!("the file cannot be read: {error}")))
}

fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = MEDIA_TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map_or("application/octet-stream", |(_, media_type)| media_type)
}

fn sha1_of(bytes: &[u8]) -> String {
    sha1_smol::Sha1::from(bytes).digest().to_string()
}

const MEDIA_TYPES: [(&str, &str); 16] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    // No registered one: `video/mp2t` is another kind of .ts. Deno knows this one, and browsers show it as text.
    ("ts", "text/typescript; charset=utf-8"),
    ("json", "application/json"),
    ("txt", "text/plain; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("ico", "image/x-icon"),
    ("wasm", "application/wasm"),
    ("woff2", "font/woff2"),
];

/// To be kept, and asked about each time.
const CACHE: &str = "no-cache";

/// Files are read whole, on the one thread.
const FILE_BYTES_MAX: u64 = 8 << 20;
