//! The pages: built into the binary, or files of `--html`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use redpoll::{Request, Response, Server, Status};

/// Path, file name, bytes.
const BUILT_IN: [(&str, &str, &[u8]); 7] = [
    ("/", "index.html", include_bytes!("../../../html/index.html")),
    ("/style.css", "style.css", include_bytes!("../../../html/style.css")),
    ("/chat.js", "chat.js", include_bytes!("../../../html/chat.js")),
    ("/people.js", "people.js", include_bytes!("../../../html/people.js")),
    ("/redpoll.js", "redpoll.js", include_bytes!("../../../html/redpoll.js")),
    ("/home.js", "home.js", include_bytes!("../../../html/home.js")),
    ("/favicon.svg", "favicon.svg", include_bytes!("../../../html/favicon.svg")),
];

/// The tutorial's page, which `/home/` serves.
pub(super) const HOME: &[u8] = include_bytes!("../../../html/home.html");

/// Of the built-in pages. Nothing inline, nothing from elsewhere: a message that should ever become HTML still could
/// not run. What the pages of `--html` need is not known here.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes(mut server: Server, html: Option<PathBuf>) -> Server {
    if let Some(folder) = html {
        let index = folder.clone();
        return server
            .get("/", move |_, _| file(&index, "index.html"))
            .get("/{*path}", move |request, _| file(&folder, request.param("path")));
    }
    for (path, name, bytes) in BUILT_IN {
        let tag = format!("\"{}\"", sha1_of(bytes));
        server = server.get(path, move |request, _| built_in(request, name, bytes, &tag));
    }
    server
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

fn built_in(request: &Request, name: &str, bytes: &'static [u8], tag: &str) -> Response {
    let known = request.field("if-none-match").is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
    let response = if known { Response::new(304) } else { page(name, bytes, "no-cache") };
    response.field("Content-Security-Policy", CONTENT_SECURITY_POLICY).field("ETag", tag.to_owned())
}

fn file(folder: &Path, path: &str) -> Response {
    read(folder, path).map_or_else(Response::from, |bytes| page(path, bytes, "no-cache"))
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

const MEDIA_TYPES: [(&str, &str); 15] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
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

/// Files are read whole, on the one thread.
const FILE_BYTES_MAX: u64 = 8 << 20;
