//! Drives one request through a filter: `one_request FILTER.wasm|FILTER.wat [CONFIGURATION]`.
//!
//! Without arguments it runs `hello.wat`, which lies beside this file.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::path::PathBuf;
use std::rc::Rc;

use wasm_host::{
    Callback, HeaderMap, Headers, Host, HostSettings, LogRecord, Map, Outcome, Plugin,
    PluginConfig, PluginHost, StreamHost,
};

/// The proxy outside any stream: here, a log.
struct Terminal;

impl PluginHost for Terminal {
    fn log(&self, record: &LogRecord<'_>) {
        println!(
            "{:?} from {}: {}",
            record.level, record.plugin, record.message
        );
    }
}

/// One request and its response.
struct Exchange {
    request: Headers,
    response: Headers,
}

impl StreamHost for Exchange {
    fn headers(&mut self, map: Map) -> Option<&mut dyn HeaderMap> {
        match map {
            Map::RequestHeaders => Some(&mut self.request),
            Map::ResponseHeaders => Some(&mut self.response),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let hello = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/hello.wat");
    let module = wat::parse_file(arguments.next().map_or_else(hello, PathBuf::from))?;
    let configuration = arguments.next().unwrap_or_default().into_encoded_bytes();

    // Once per process, and per module.
    let host = Host::new(HostSettings::default())?;
    let module = host.compile(&module)?;
    println!(
        "ABI {}, callbacks: {}",
        module.abi_version(),
        module
            .callbacks()
            .iter()
            .map(Callback::name)
            .collect::<Vec<_>>()
            .join(" ")
    );
    let plugin = Plugin::new(
        module,
        PluginConfig {
            name: "demo".to_owned(),
            configuration,
            ..PluginConfig::default()
        },
    );

    // Once per worker.
    let vm = plugin.instantiate(Rc::new(Terminal))?;

    // Once per request.
    let mut exchange = Exchange {
        request: [
            (":method", "GET"),
            (":path", "/"),
            (":authority", "example.org"),
        ]
        .into_iter()
        .collect(),
        response: Headers::new(),
    };
    let mut stream = vm.new_stream();
    match stream.on_request_headers(&mut exchange, true) {
        Outcome::LocalResponse(answer) => println!("answered by the filter: {answer:?}"),
        outcome => {
            println!("after the request headers: {outcome:?}");
            exchange.response = [(":status", "200"), ("content-type", "text/plain")]
                .into_iter()
                .collect();
            println!(
                "after the response headers: {:?}",
                stream.on_response_headers(&mut exchange, true)
            );
        }
    }
    stream.finish(&mut exchange)?;
    for (name, value) in exchange.request.iter().chain(exchange.response.iter()) {
        println!("  {name}: {}", String::from_utf8_lossy(value));
    }
    Ok(())
}
