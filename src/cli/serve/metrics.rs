//! `/metrics`: what is counted, as Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use redpoll::{Context, Durations, Limit, Metrics, REFUSALS, Request, Response, Status, Transport};

use super::gate::Gate;

pub(super) fn metrics(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    gate.admit_to_status(request, cx.now())?;
    Ok(Response::new(200)
        .content("text/plain; version=0.0.4; charset=utf-8", render(&cx.metrics()).into_bytes())
        .field("Cache-Control", "no-store"))
}

/// The values alone, for who knows what they are, without those that are 0: most are.
pub(super) fn samples(metrics: &Metrics) -> String {
    let says_something = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0");
    render(metrics).lines().filter(says_something).collect::<Vec<_>>().join("\n")
}

fn render(metrics: &Metrics) -> String {
    let mut text = String::new();
    push_counters(&mut text, metrics);
    push_gauges(&mut text, metrics);
    push_type(&mut text, "request_refusals_total", "HTTP answers with status 400 and above.", "counter");
    let names = REFUSALS.iter().map(u16::to_string).take(REFUSALS.len() - 1).chain(["other".to_owned()]);
    for (name, count) in names.zip(metrics.refusals) {
        push_labelled(&mut text, "request_refusals_total", "status", &name, count);
    }
    push_type(&mut text, "limit_reached_total", "Times that a limit refused or ended something.", "counter");
    for limit in Limit::ALL {
        push_labelled(&mut text, "limit_reached_total", "limit", limit.name(), metrics.limits[limit as usize]);
    }
    push_type(&mut text, "subscribers", "Connections that subscribe, by transport.", "gauge");
    for transport in Transport::ALL {
        let value = metrics.transports[transport as usize] as u64;
        push_labelled(&mut text, "subscribers", "transport", transport.name(), value);
    }
    push_delivery(&mut text, &metrics.delivery);
    push_process(&mut text, metrics);
    text
}

fn push_counters(text: &mut String, metrics: &Metrics) {
    let counters = [
        ("connections_accepted_total", "Connections accepted.", metrics.accepted),
        (
            "connections_dropped_total",
            "Connections dropped because the peer was silent or took nothing.",
            metrics.dropped,
        ),
        ("requests_total", "HTTP requests.", metrics.requests),
        ("websocket_messages_total", "Messages received from WebSocket clients.", metrics.messages),
        ("websocket_violations_total", "WebSockets closed for what the peer did wrong.", metrics.violations),
        ("publications_total", "Messages published.", metrics.published),
        ("encodings_total", "Publications encoded into a wire form.", metrics.encodings),
        ("deliveries_total", "Writes of one or more publications to one subscriber.", metrics.deliveries),
        ("gaps_total", "Gaps told to subscribers.", metrics.gaps),
        ("shed_readers_total", "For memory: connections closed that did not read.", metrics.shed_readers),
        ("shed_history_total", "For memory: messages forgotten, older than the newest.", metrics.shed_history),
        ("shed_unheard_total", "For memory: newest messages forgotten without subscribers.", metrics.shed_unheard),
        ("shed_requests_total", "For memory: requests refused before all had arrived.", metrics.shed_requests),
        ("shed_messages_total", "For memory: WebSockets closed in the middle of a message.", metrics.shed_messages),
        ("shed_connections_total", "For memory: new connections refused.", metrics.shed_connections),
        ("shed_publications_total", "For memory: publications refused.", metrics.shed_publications),
        ("received_bytes_total", "Bytes read from clients.", metrics.received_bytes),
        ("sent_bytes_total", "Bytes written to clients.", metrics.sent_bytes),
    ];
    for (name, help, value) in counters {
        push(text, name, help, "counter", value);
    }
}

fn push_gauges(text: &mut String, metrics: &Metrics) {
    let gauges = [
        ("connections", "Connections open.", metrics.connections),
        ("channels", "Channels that exist.", metrics.channels),
        ("subscriptions", "Subscriptions.", metrics.subscriptions),
        ("members", "Names that are present in channels.", metrics.members),
        ("observers", "Subscriptions that are told who comes and goes.", metrics.observers),
        ("client_memory_bytes", "Bytes held for clients.", metrics.client_bytes),
        ("channel_memory_bytes", "Bytes held for channels.", metrics.channel_bytes),
        ("table_memory_bytes", "Bytes of tables that are not used now.", metrics.table_bytes),
    ];
    for (name, help, value) in gauges {
        push(text, name, help, "gauge", value as u64);
    }
    if metrics.memory_bytes_max < usize::MAX {
        push(text, "memory_limit_bytes", "What --memory allows.", "gauge", metrics.memory_bytes_max as u64);
    }
}

/// A histogram, whose buckets have all that are below their bound.
fn push_delivery(text: &mut String, delivery: &Durations) {
    let help = "From when the loop woke for what was published until the last of it was written.";
    push_type(text, "delivery_seconds", help, "histogram");
    let mut through = 0;
    for (bound_us, count) in Durations::BOUNDS_US.iter().zip(delivery.counts) {
        through += count;
        push_labelled(text, "delivery_seconds_bucket", "le", &seconds(*bound_us), through);
    }
    let count: u64 = delivery.counts.iter().sum();
    push_labelled(text, "delivery_seconds_bucket", "le", "+Inf", count);
    let sum = seconds(delivery.sum_us);
    line(text, format_args!("redpoll_delivery_seconds_sum {sum}\nredpoll_delivery_seconds_count {count}"));
}

/// What is no figure of a push server.
fn push_process(text: &mut String, metrics: &Metrics) {
    push_type(text, "uptime_seconds", "Since the start.", "gauge");
    line(text, format_args!("redpoll_uptime_seconds {}", seconds(metrics.uptime_ms * 1_000)));
    push_type(text, "build_info", "Which Redpoll this is.", "gauge");
    push_labelled(text, "build_info", "version", env!("CARGO_PKG_VERSION"), 1);
    if metrics.resident_bytes > 0 {
        // By this name Prometheus knows it of any program.
        let name = "process_resident_memory_bytes";
        let bytes = metrics.resident_bytes;
        line(text, format_args!("# HELP {name} Resident memory size in bytes.\n# TYPE {name} gauge\n{name} {bytes}"));
    }
}

/// Without floating point, whose printing would be 15 KB of the binary.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn push(text: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    push_type(text, name, help, kind);
    line(text, format_args!("redpoll_{name} {value}"));
}

fn push_type(text: &mut String, name: &str, help: &str, kind: &str) {
    line(text, format_args!("# HELP redpoll_{name} {help}\n# TYPE redpoll_{name} {kind}"));
}

fn push_labelled(text: &mut String, name: &str, label: &str, value: &str, count: u64) {
    line(text, format_args!("redpoll_{name}{{{label}=\"{value}\"}} {count}"));
}

fn line(text: &mut String, line: std::fmt::Arguments) {
    writeln!(text, "{line}").expect("a string takes everything");
}
