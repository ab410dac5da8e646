//! What `--help` prints, in 80 columns.

use super::flags::{GROUPS, Repeats};

/// `redpoll --help` and `redpoll serve --help`.
pub(super) fn serve() -> String {
    let mut text = SERVE.to_owned();
    for (group, flags) in GROUPS {
        text.push_str(&format!("\n{group}:\n"));
        for flag in flags {
            let spelling = format!("--{} {}", flag.name, flag.value);
            let repeats = if flag.repeats == Repeats::Never { "" } else { " *" };
            text.push_str(&format!("  {spelling:<30} {}{repeats}\n", flag.help));
        }
    }
    text.push_str(SERVE_END);
    text
}

const SERVE: &str = "\
Redpoll, a tiny push server: polling, event streams and WebSocket.

Usage:
  redpoll [serve] [OPTIONS]        run the server
  redpoll pub URL [MESSAGE]        publish a message, or each line of the input
  redpoll sub URL [OPTIONS]        print what a channel gets
  redpoll bench SCENARIO URL       load a server, and check what comes back
  redpoll token [OPTIONS]          make a token for a server with a secret
  redpoll COMMAND --help           the options of one command

With nothing given, it serves http://127.0.0.1:8080.
";

const SERVE_END: &str = "
  --help                         this
  --version                      the version

In brackets is the default; what has a * may be repeated. Each flag has an
environment variable (REDPOLL_MAX_MESSAGE for --max-message; several values
joined by commas, but for REDPOLL_SECRET, which is one); a flag wins.
Sizes: 4096, 64K, 2M. Times: 500ms, 25s, 10m, 1h.
";

pub(super) const PUBLISH: &str = "\
Publishes MESSAGE to a channel, or each line of the standard input.

Usage:
  redpoll pub [OPTIONS] URL [MESSAGE]

URL is http://HOST[:PORT]/channel/NAME; several names are joined by commas.
A MESSAGE that begins with a dash comes after a --.

Options:
  --event NAME    the name of the event
  --binary        the message is bytes, not text in UTF-8
  --token TOKEN   what lets it in; better in REDPOLL_TOKEN, where none sees it
  --help          this
";

pub(super) const SUBSCRIBE: &str = "\
Prints what a channel gets, a line each. Goes on where it was when the
connection is lost; what could not be had any more is told on standard error.

Usage:
  redpoll sub [OPTIONS] URL

URL is http://HOST[:PORT]/channel/NAME; several names are joined by commas.

Options:
  --transport T   auto, ws, sse, long-poll or poll [auto: the first that works]
  --since WHERE   latest, earliest, last or a position [latest]
  --json          print the whole envelope: channel, id, event, data
  --count N       end after N messages
  --exec COMMAND  for the shell, once for each message, which is its standard
                  input; REDPOLL_CHANNEL, _ID and _EVENT say what it is
  --presence      tell who comes and goes: on standard error, or with --json as
                  envelopes; --count and --exec take messages only
  --name NAME     be present under this name, unless a token says another
  --token TOKEN   what lets it in; better in REDPOLL_TOKEN, where none sees it
  --help          this
";

pub(super) const TOKEN: &str = "\
Prints a token, which lets its bearer in at a server with the same secret.

Usage:
  redpoll token [OPTIONS]

Options:
  --secret TEXT         the server's secret; of several the first one signs
  --secret-file FILE    the same, out of a file
  --subscribe CHANNELS  what it may subscribe to: names, or prefixes with a *
  --publish CHANNELS    what it may publish to, and forget the history of
  --status              it may see the list of channels and the metrics
  --sub NAME            whom it is for
  --expires TIME        how long it is good, such as 10m or 24h [1h]
  --forever             it never expires
  --help                this

CHANNELS are joined by commas, and each flag of them may be repeated. Without
--secret and --secret-file, REDPOLL_SECRET and REDPOLL_SECRET_FILE are used.
";
