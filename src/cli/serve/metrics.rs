//! `/metrics`: what is counted, as Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use redpoll::{Context, Limit, Metrics, Request, Response, Status, Transport};

use super::gate::Gate;

pub(super) fn metrics(request: &Request, cx: &mut Context, gate: &Gate) -> Result<Response, Status> {
    gate.admit_to_status(request, cx.now())?;
    let text = render(&cx.metrics());
    Ok(Response::new(200)
        .content("text/plain; version=0.0.4; charset=utf-8", text.into_bytes())
        .field("Cache-Control", "no-store"))
}

fn render(metrics: &Metrics) -> String {
    let mut text = String::new();
    let counters = [
        ("connections_accepted_total", "Connections accepted.", metrics.accepted),
        (
            "connections_dropped_total",
            "Connections dropped because the peer was silent or took nothing.",
            metrics.dropped,
        ),
        ("requests_total", "HTTP requests.", metrics.requests),
        ("request_refusals_total", "HTTP answers with status 400 and above.", metrics.refusals),
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
        push(&mut text, name, help, "counter", value);
    }
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
        push(&mut text, name, help, "gauge", value as u64);
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
    text
}

fn push(text: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    push_type(text, name, help, kind);
    writeln!(text, "redpoll_{name} {value}").expect("a string takes everything");
}

fn push_type(text: &mut String, name: &str, help: &str, kind: &str) {
    writeln!(text, "# HELP redpoll_{name} {help}\n# TYPE redpoll_{name} {kind}").expect("a string takes everything");
}

fn push_labelled(text: &mut String, name: &str, label: &str, value: &str, count: u64) {
    writeln!(text, "redpoll_{name}{{{label}=\"{value}\"}} {count}").expect("a string takes everything");
}
