//! The processes: a server on one core, the load on another.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const REDPOLL: &str = env!("CARGO_BIN_EXE_redpoll");

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Not to be closed while it runs.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    pub(crate) fn redpoll() -> Server {
        let mut command = Command::new(REDPOLL);
        command.args(["serve", "--echo", "--listen", "127.0.0.1:0", "--log", "error"]);
        Server::start(command)
    }

    /// Starts a command that prints its address first.
    pub(crate) fn start(mut command: Command) -> Server {
        keep_to(0);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let (mut line, mut stdout) = (String::new(), BufReader::new(child.stdout.take().expect("piped")));
        stdout.read_line(&mut line).expect("the address");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        Server { child, _stdout: stdout, address }
    }

    /// Loads it, and returns what `redpoll bench` says of it.
    pub(crate) fn load(&self, scenario: &str, path: &str, options: &[&str]) -> serde_json::Value {
        keep_to(1);
        let output = Command::new(REDPOLL)
            .args(["bench", scenario, &format!("http://{}{path}", self.address), "--pid", &self.child.id().to_string()])
            .args(options)
            .arg("--json")
            .stderr(Stdio::inherit())
            .output()
            .expect("the load runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "redpoll bench {scenario} has ended with {}: {said}", output.status);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("the server can be ended");
        self.child.wait().expect("the server has ended");
    }
}

/// Keeps this thread, and so whatever it starts from now on, to one core, where there is more than one.
fn keep_to(core: usize) {
    let all = sched_getaffinity(None).expect("it knows where it may run");
    let mut one = CpuSet::new();
    one.set(core);
    // A machine without that core, or where it is not ours, measures as well as it can.
    if sched_setaffinity(None, &one).is_err() {
        sched_setaffinity(None, &all).expect("it may run where it ran");
    }
}
