//! Prepares the pages that are built into the binary.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=html");
    let out = PathBuf::from(variable("OUT_DIR"));
    pages(&out);
}

/// The pages as they are embedded: compressed where the build has what inflates them again.
fn pages(out: &Path) {
    for entry in fs::read_dir("html").expect("the pages are part of the package") {
        let path = entry.expect("an entry").path();
        let page = fs::read(&path).expect("a page can be read");
        fs::write(out.join(path.file_name().unwrap_or_default()), embedded(page)).expect("OUT_DIR can be written");
    }
}

#[cfg(feature = "deflate")]
fn embedded(page: Vec<u8>) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&page).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

#[cfg(not(feature = "deflate"))]
fn embedded(page: Vec<u8>) -> Vec<u8> {
    page
}

fn variable(name: &str) -> String {
    env::var(name).expect("Cargo tells a build script what it builds")
}
