//! A server that was not said to be open: who comes from outside this machine, though through a program on it.

use super::served::Served;

#[test]
fn what_came_through_a_proxy_is_refused_until_the_server_is_said_to_be_open() {
    let (local, open) = (Served::start(&[]), Served::start(&["--open"]));
    for field in ["Forwarded: for=192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.1\r\n"] {
        let refusal = local.say("GET /channel/a", field);
        assert!(refusal.starts_with("HTTP/1.1 403 ") && refusal.contains("--open"), "{refusal}");
        assert!(open.say("GET /channel/a", field).starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_name_that_is_made_to_mean_this_machine_does_not_let_a_page_in() {
    let (local, open) = (Served::start(&[]), Served::start(&["--open"]));
    let secret = Served::start(&["--secret", "a secret of enough bytes"]);
    let ask = |served: &Served, line: &str, host: &str, fields: &str| {
        let answer = served.ask(&format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"));
        answer[9..12].to_owned()
    };
    for host in
        ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost"]
    {
        let post = format!("Origin: http://{host}\r\nContent-Length: 0\r\n");
        for (line, fields) in
            [("GET /channel/a", ""), ("POST /channel/a", post.as_str()), ("GET /", ""), ("GET /channels", "")]
        {
            assert_eq!(ask(&local, line, host, fields), "403", "{line} of {host}");
        }
        assert_eq!(ask(&open, "POST /channel/a", host, &post), "202");
        assert_eq!(ask(&secret, "GET /channel/a", host, ""), "401", "a page has no token");
    }
    for host in
        ["localhost", "LocalHost:8080", "localhost.", "tea.localhost", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"]
    {
        assert_eq!(ask(&local, "GET /channel/a", host, ""), "200", "{host}");
    }
}
