//! The source tree keeps the rules of its own architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One source file of the library or the binary, without its test module.
struct Source {
    /// `hub/channel.rs`
    path: String,
    code: String,
}

impl Source {
    /// The first part of the path: the module that the layers know.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_binary(&self) -> bool {
        matches!(self.module(), "main" | "cli")
    }

    /// Lines that are no comments, with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(at, line)| (at + 1, line))
    }

    fn find<'a>(&'a self, what: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
        self.lines()
            .filter(|(_, line)| what.iter().any(|word| has_word(line, word)))
            .map(|(at, line)| format!("{}:{at}: {}", self.path, line.trim()))
    }
}

/// Whether `line` has `word`, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(at, _)| {
        !is_name(at.checked_sub(1).and_then(|before| bytes.get(before))) && !is_name(bytes.get(at + word.len()))
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), "", &mut found);
    assert!(found.len() > 30, "the source tree is where it is looked for");
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        let path = format!("{prefix}{}", entry.file_name().unwrap_or_default().to_string_lossy());
        if entry.is_dir() {
            collect(&entry, &format!("{path}/"), found);
        } else {
            let text = fs::read_to_string(&entry).expect("the file can be read");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push(Source { path, code });
        }
    }
}

fn nothing(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The layer of a module: it may use its own and those below.
fn layer(module: &str) -> Option<u8> {
    Some(match module {
        "timer" | "time" | "config" | "pages" => 0,
        "wire" => 1,
        "hub" => 2,
        "connection" | "router" | "consumer" | "metrics" => 3,
        "engine" => 4,
        "server" => 5,
        "main" | "cli" => 6,
        _ => return None,
    })
}

/// The modules that a line names after `crate::`, be it by what they put on the crate's front page.
fn named_modules<'a>(line: &'a str, front_page: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a str> {
    let name =
        |rest: &'a str| rest.split(|end: char| !end.is_ascii_alphanumeric() && end != '_').next().unwrap_or_default();
    line.split("crate::").skip(1).map(name).map(|name| front_page.get(name).map_or(name, String::as_str))
}

/// What `lib.rs` shows to the outside, and the module that each comes from.
fn front_page() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("the file can be read");
    let uses = text.lines().filter_map(|line| line.strip_prefix("pub use ")?.strip_suffix(';'));
    let mut shown = BTreeMap::new();
    for (path, names) in uses.filter_map(|path| path.rsplit_once("::")) {
        let module = path.split("::").next().unwrap_or_default();
        let names = names.trim_matches(['{', '}']).split(", ");
        shown.extend(names.map(|name| (name.to_owned(), module.to_owned())));
    }
    assert!(shown.len() > 20, "the front page is found: {shown:?}");
    shown
}

#[test]
fn a_module_uses_only_its_own_layer_and_those_below() {
    let (mut found, front_page) = (Vec::new(), front_page());
    for source in sources().iter().filter(|source| source.path != "lib.rs" && !source.is_binary()) {
        // A group may go over several lines, where its modules would not be seen.
        found.extend(
            source
                .lines()
                .filter(|(_, line)| line.contains("crate::{"))
                .map(|(at, _)| format!("{}:{at}: one use for each module", source.path)),
        );
        let own = layer(source.module()).unwrap_or_else(|| panic!("{} is in no layer", source.path));
        for (at, line) in source.lines() {
            let above = |module: &&str| layer(module).is_some_and(|layer| layer > own);
            found.extend(
                named_modules(line, &front_page)
                    .filter(above)
                    .map(|module| format!("{}:{at} uses {module}", source.path)),
            );
        }
    }
    nothing(found);
}

#[test]
fn the_binary_uses_only_the_public_interface() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_binary()) {
        found.extend(source.find(&["#[path"]));
        found.extend(
            source
                .lines()
                .filter(|(_, line)| line.contains("crate::") && !line.contains("crate::cli"))
                .map(|(at, _)| format!("{}:{at}", source.path)),
        );
    }
    nothing(found);
}

#[test]
fn only_the_server_and_the_binary_meet_the_operating_system() {
    let words = [
        "mio",
        "socket2",
        "rustix",
        "signal_hook",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "ToSocketAddrs",
        "Instant",
        "SystemTime",
        "RandomState",
    ];
    nothing(
        sources()
            .iter()
            .filter(|source| !source.is_binary() && source.module() != "server")
            .flat_map(|source| source.find(&words).collect::<Vec<_>>())
            .collect(),
    );
}

/// `getaddrinfo` is a tenth of the static binary, and there needs shared libraries of the machine.
#[test]
fn names_are_not_looked_up_by_the_c_library() {
    let words = ["ToSocketAddrs", "to_socket_addrs", "lookup_host"];
    nothing(sources().iter().flat_map(|source| source.find(&words).collect::<Vec<_>>()).collect());
}

#[test]
fn publishing_never_writes() {
    let publishing = |source: &&Source| matches!(source.module(), "hub" | "consumer" | "connection" | "router");
    nothing(
        sources()
            .iter()
            .filter(publishing)
            .flat_map(|source| {
                source.find(&["Stream", "TcpStream", "io::Write", "io::Read", ".write_all("]).collect::<Vec<_>>()
            })
            .collect(),
    );
}

#[test]
fn the_hub_knows_a_subscriber_only_by_its_number() {
    nothing(
        sources()
            .iter()
            .filter(|source| source.module() == "hub")
            .flat_map(|source| source.find(&["Connection", "Consumer", "Context", "Engine"]).collect::<Vec<_>>())
            .collect(),
    );
}

#[test]
fn the_library_has_no_cells_no_unsafe_code_and_no_shortcuts() {
    let words =
        ["RefCell", "Cell", "unsafe", "unwrap()", "todo!", "unimplemented!", "dbg!", "println!", "eprintln!", "print!"];
    nothing(
        sources()
            .iter()
            .filter(|source| !source.is_binary())
            .flat_map(|source| source.find(&words).collect::<Vec<_>>())
            .filter(|found| !found.contains("forbid(unsafe_code)"))
            .collect(),
    );
}

#[test]
fn unsafe_code_is_forbidden() {
    for file in ["src/lib.rs", "src/main.rs"] {
        let text = fs::read_to_string(root().join(file)).expect("the file can be read");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file}");
    }
}

#[test]
fn hash_maps_are_where_their_order_is_nobodys_business() {
    nothing(
        sources()
            .iter()
            .filter(|source| !source.is_binary() && source.path != "hub/idempotency.rs")
            .flat_map(|source| source.find(&["HashMap", "HashSet"]).collect::<Vec<_>>())
            .collect(),
    );
}

#[test]
fn nothing_is_iterated_in_the_order_of_a_hash_map() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_binary()) {
        let field = |line: &str| {
            line.split(": HashMap<").next().and_then(|before| before.split_whitespace().last()).map(str::to_owned)
        };
        let fields: BTreeSet<String> = source
            .lines()
            .filter(|(_, line)| line.contains(": HashMap<"))
            .filter_map(|(_, line)| field(line))
            .collect();
        for field in fields {
            let walks: Vec<String> = [".iter(", ".keys(", ".values(", ".drain(", ".retain(", ".into_iter("]
                .iter()
                .map(|walk| format!("{field}{walk}"))
                .collect();
            found.extend(
                source
                    .lines()
                    .filter(|(_, line)| {
                        walks.iter().any(|walk| line.contains(walk.as_str()))
                            || line.contains(&format!("in &self.{field}"))
                    })
                    .map(|(at, _)| format!("{}:{at}", source.path)),
            );
        }
    }
    nothing(found);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    nothing(
        sources().iter().filter(|source| !source.code.starts_with("//! ")).map(|source| source.path.clone()).collect(),
    );
}

#[test]
fn lines_and_files_are_of_a_size_to_be_read() {
    let mut found = Vec::new();
    for source in sources() {
        let lines = source.code.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{} has {lines} lines, {FILE_LINES_MAX} are enough", source.path));
        }
        let long = source.code.lines().enumerate().filter(|(_, line)| line.chars().count() > 120);
        found.extend(long.map(|(at, _)| format!("{}:{} is wider than 120", source.path, at + 1)));
    }
    nothing(found);
}

#[test]
fn functions_are_short() {
    let mut lengths: Vec<(usize, String)> = sources().iter().flat_map(functions).collect();
    lengths.sort();
    assert!(lengths.len() > 500, "functions are found: {}", lengths.len());
    let (ninth, longest) = (lengths.len() * 9 / 10, lengths.len() - 1);
    assert!(lengths[lengths.len() / 2].0 <= 10, "the median function has {} lines", lengths[lengths.len() / 2].0);
    assert!(lengths[ninth].0 <= 40, "nine in ten functions have up to {} lines", lengths[ninth].0);
    assert!(lengths[longest].0 <= 60, "the longest function, {}, has {} lines", lengths[longest].1, lengths[longest].0);
}

/// Each function's lines, from `fn` to the brace that is as far to the right, and where it is.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.code.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let begins = |line: &str| has_word(line, "fn") && !line.trim_start().starts_with("//") && line.contains('(');
    let length = |start: usize| {
        let signature = lines[start..].iter().position(|line| line.ends_with(['{', ';', '}']))?;
        let same = |line: &&str| line.trim_end() == "}" || line.trim() == "}" && indent(line) == indent(lines[start]);
        match lines[start + signature].ends_with('{') {
            true => lines[start + signature..].iter().position(same).map(|body| signature + body + 1),
            false => Some(signature + 1),
        }
    };
    let starts = (0..lines.len()).filter(|start| begins(lines[*start]));
    starts.filter_map(|start| Some((length(start)?, format!("{}:{}", source.path, start + 1)))).collect()
}

/// What `cargo tree` says is in the binary or builds it, itself left out.
fn crates(options: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--offline", "--locked", "--prefix", "none", "--edges", "normal,build", "--format", "{p}"];
    let target = ["--target", "x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO")).args(tree).args(target).args(options).current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != "redpoll");
    names.map(str::to_owned).collect()
}

#[test]
fn the_readme_says_of_every_crate_what_it_is_for() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the file can be read");
    let section = readme.split("## What it is made of").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("a section").lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (mut wanted, mut brought) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        assert!(cells[2].trim().len() > 5, "a reason: {row}");
        wanted.extend(names(cells[1]));
        brought.extend(names(cells[3]));
    }
    assert_eq!(wanted, crates(&["--depth", "1"]), "the first column");
    assert_eq!(&wanted | &brought, crates(&[]), "all");
}

#[test]
fn the_tests_that_the_readme_names_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the file can be read");
    let paths = readme.split(['`', ' ', ',', '\n']).filter(|word| word.starts_with("tests/"));
    let named: BTreeSet<&str> = paths.collect();
    assert!(named.len() > 10, "paths are found: {named:?}");
    nothing(named.into_iter().filter(|path| !root().join(path).exists()).map(str::to_owned).collect());
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let allowed = [
        ".ci",
        ".git",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "benches",
        "build.rs",
        "html",
        "rustfmt.toml",
        "src",
        "target",
        "tests",
    ];
    let names = fs::read_dir(root())
        .expect("the folder can be read")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    nothing(names.filter(|name| !allowed.contains(&name.as_str())).collect());
}

/// STYLE: 150 to 300 lines. A little more is left to a file whose parts belong together.
const FILE_LINES_MAX: usize = 400;
