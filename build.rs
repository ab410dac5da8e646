//! Prepares the pages that are built into the binary, and makes the static binary smaller where the linker can.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=html");
    let out = PathBuf::from(variable("OUT_DIR"));
    pages(&out);
    if is_static_release() {
        link_smaller(&out);
    }
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

/// Whether this is the one binary that is meant to be small: static, for releases without what debuggers need, and for
/// the machine that builds it, which can try it.
fn is_static_release() -> bool {
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    variable("TARGET") == "x86_64-unknown-linux-gnu"
        && variable("HOST") == variable("TARGET")
        && variable("PROFILE") == "release"
        && variable("DEBUG") == "false"
        && features.split(',').any(|feature| feature == "crt-static")
}

/// Links with each option with which a program can be linked here, and then runs.
fn link_smaller(out: &Path) {
    let script = out.join("discard.ld");
    fs::write(&script, DISCARD).expect("OUT_DIR can be written");
    let options = [PACK_RELOCATIONS.to_owned(), NO_STACK_BOUNDS.to_owned(), format!("-Wl,-T,{}", script.display())];
    let mut chosen = Vec::new();
    for option in options {
        chosen.push(option);
        if !runs_with(&chosen, out) {
            chosen.pop();
        }
    }
    for option in chosen {
        println!("cargo:rustc-link-arg-bins={option}");
    }
}

/// Whether an empty program, linked like the real one and with `options`, runs. Packed relocations need a C library
/// that knows them (glibc 2.36): with an older one the program links, and crashes when it starts.
fn runs_with(options: &[String], out: &Path) -> bool {
    let (source, program) = (out.join("probe.rs"), out.join("probe"));
    fs::write(&source, "fn main() {}").expect("OUT_DIR can be written");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}"));
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.arg(source).arg("-o").arg(&program).args(["--target", &variable("TARGET"), "-Cpanic=abort"]);
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty())).args(linker);
    rustc.args(options.iter().map(|option| format!("-Clink-arg={option}")));
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let runs = succeeds(&mut rustc) && succeeds(&mut Command::new(&program));
    // It is larger than what it makes smaller. Where it does not link, there is none.
    let _ = fs::remove_file(program);
    runs
}

fn variable(name: &str) -> String {
    env::var(name).expect("Cargo tells a build script what it builds")
}

/// Relocations in a few bits each instead of 24 bytes.
const PACK_RELOCATIONS: &str = "-Wl,-z,pack-relative-relocs";

/// The standard library asks for the bounds of its stack, and glibc reads /proc/self/maps for them with `sscanf`. In
/// place of that, 118 KB, comes `revoke`, which always fails, so that it is everywhere as it is in an empty root: a
/// stack that overflows still ends the process at its guard page, by SIGSEGV, but without the sentence that says so.
const NO_STACK_BOUNDS: &str = "-Wl,--defsym=pthread_getattr_np=revoke";

/// What only unwinding needs. A panic says what and where, and aborts; of a backtrace bare addresses are lost, since
/// names are stripped. Who wants to debug or profile asks for debug information, and keeps it all. With `INSERT` the
/// linker's own script stays in force.
const DISCARD: &str = "SECTIONS {
    /DISCARD/ : { *(.eh_frame .eh_frame.* .gcc_except_table .gcc_except_table.*) }
} INSERT AFTER .text;
";
