//! `--user` and `--chroot` on the running binary. Only root can try it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::geteuid;

use crate::served::{BINARY, Served, mint, read_until, wait_until};

/// Whether the rest of a test can be done. Past the harness, which would keep it to itself.
fn is_root(test: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "NOT TESTED, since only root can: {test}");
    }
    is_root
}

/// A folder of a test's own, which anyone may enter.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("redpoll-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("it is ours");
        Folder(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server on a machine that has one more user, with groups.
fn served_with_user(folder: &Folder, arguments: &[&str]) -> Served {
    let users = fs::read_to_string("/etc/passwd").expect("Linux") + "redtest:x:4711:4712::/:\n";
    let groups = fs::read_to_string("/etc/group").expect("Linux") + "one:x:4713:redtest\ntwo:x:4714:x,redtest\n";
    let script = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$0\" \"$@\"",
        folder.file("passwd", &users),
        folder.file("group", &groups)
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, BINARY]).args(arguments).env_clear();
    Served::run(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// How the binary ends, which does not serve.
fn refused(command: &mut Command, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.args(arguments).env_clear().output().expect("the binary starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// What the kernel says of each thread of the process.
fn statuses(served: &Served) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", served.process_id())).expect("Linux");
    tasks.map(|task| fs::read_to_string(task.expect("a thread").path().join("status")).expect("Linux")).collect()
}

fn link(served: &Served, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{}/{name}", served.process_id())).expect("root may look")
}

#[test]
fn who_starts_as_root_serves_a_low_port_and_keeps_nothing_of_root() {
    if !is_root("--user and --chroot") {
        return;
    }
    let folder = Folder::new("confined");
    let (secret, page) = (folder.file("secret", &"s".repeat(32)), folder.file("root/html/index.html", "within"));
    folder.file("root/html/link.txt", "");
    fs::remove_file(folder.0.join("root/html/link.txt")).expect("it is there");
    std::os::unix::fs::symlink("/../../secret", folder.0.join("root/html/link.txt")).expect("a link can be made");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("it is ours");
    let (root, html) = (folder.0.join("root"), Path::new(&page).parent().expect("a folder").display().to_string());
    let arguments = ["--listen", "127.65.43.21:81", "--secret-file", &secret, "--memory", "16M", "--user", "redtest"];
    let served = served_with_user(
        &folder,
        &[&arguments[..], &["--chroot", &root.display().to_string(), "--html", &html]].concat(),
    );

    for status in statuses(&served) {
        for line in [
            "Uid:\t4711\t4711\t4711\t4711",
            "Gid:\t4712\t4712\t4712\t4712",
            "Groups:\t4712 4713 4714 ",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.lines().any(|found| found == line), "{line} in {status}");
        }
    }
    assert_eq!((link(&served, "root"), link(&served, "cwd")), (root.clone(), root));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", served.process_id())).expect("root may look");
    let open: Vec<PathBuf> = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(open.iter().any(|path| path.ends_with("statm")), "its memory is looked at: {open:?}");
    assert!(open.iter().all(|path| !path.is_dir()), "no folder outside is open: {open:?}");

    assert!(served.say("GET /", "").ends_with("within"));
    assert!(served.say("GET /link.txt", "").starts_with("HTTP/1.1 404 "));
    let token = mint(&["--secret-file", &secret, "--subscribe", "a", "--publish", "a", "--status"]);
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut events = served.connect();
    let subscribe = format!("GET /channel/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{bearer}\r\n");
    events.write_all(subscribe.as_bytes()).expect("taken");
    read_until(&mut events, "id: ");
    let published = format!("{bearer}Content-Length: 5\r\n\r\nhello");
    let told = served.ask(&format!("POST /channel/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{published}"));
    assert!(told.starts_with("HTTP/1.1 201 "), "{told}");
    read_until(&mut events, "data: hello\n");
    assert!(served.say("GET /channel/a", "").starts_with("HTTP/1.1 401 "), "the secret has been read");
}

#[test]
fn a_unix_socket_outside_stays_and_a_file_within_that_has_its_name_is_left_alone() {
    if !is_root("Unix sockets with --chroot") {
        return;
    }
    let folder = Folder::new("unix");
    let socket = folder.0.join("socket");
    // Where the socket's path leads after the change of the root directory.
    let namesake = folder.0.join("root").join(socket.strip_prefix("/").expect("a whole path"));
    folder.file(&format!("root{}", socket.display()), "kept");
    fs::set_permissions(namesake.parent().expect("a folder"), PermissionsExt::from_mode(0o777)).expect("it is ours");
    let (listen, root) = (format!("unix:{}", socket.display()), folder.0.join("root").display().to_string());
    // Twice, since the second one finds what the first one has left.
    for _ in 0..2 {
        let mut served = served_with_user(&folder, &["--listen", &listen, "--user", "4711", "--chroot", &root]);
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("accepted");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
        read_until(&mut stream, "ok\n");
        drop(stream);
        let process = rustix::process::Pid::from_raw(served.process_id() as i32).expect("a process");
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it is ours");
        wait_until("it ends", || !served.is_running());
        assert_eq!(fs::read_to_string(&namesake).expect("it is there"), "kept");
        assert!(fs::symlink_metadata(&socket).is_ok(), "out of reach");
    }
}

#[test]
fn what_cannot_be_given_up_is_said() {
    let folder = Folder::new("refused");
    let (root, outside) = (folder.0.join("root").display().to_string(), folder.0.display().to_string());
    folder.file("root/a", "");
    for (arguments, part) in [
        (&["--chroot", &root][..], "--chroot needs --user"),
        (&["--chroot", &root, "--user", "nobody", "--html", &outside], "a folder in"),
    ] {
        let (status, told) = refused(Command::new(BINARY).args(["--listen", "127.0.0.1:0"]), arguments);
        assert!(status == Some(2) && told.contains(part) && told.lines().count() == 1, "{arguments:?}: {told}");
    }
    if !is_root("--user by who is not root") {
        return;
    }
    // Where nobody else can read what has been built.
    let binary = folder.0.join("redpoll");
    fs::copy(BINARY, &binary).expect("the binary can be copied");
    for (arguments, part) in [
        (&["--user", "nobody"][..], "cannot become nobody: "),
        (&["--user", "nobody", "--chroot", &root], "the root directory: "),
    ] {
        let mut command = Command::new(&binary);
        let (status, told) = refused(command.uid(65_533).args(["--listen", "127.0.0.1:0"]), arguments);
        assert!(status == Some(1) && told.contains(part) && told.contains("only root may"), "{arguments:?}: {told}");
    }
}
