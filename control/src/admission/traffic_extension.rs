//! Rules for TrafficExtension, beyond those it shares with WasmPlugin.
//!
//! Source: its CRD (`extensions.istio.io/v1alpha1`, extended channel).

use serde_json::Value;

use super::{Check, Rule, Violation};

const SOURCE: &str = "Istio CRD trafficextensions";

/// Longest Lua code.
const LUA: usize = 64 << 10;

/// TrafficExtension.
pub(crate) const TRAFFIC_EXTENSION: &[Check] = &[
    Check {
        name: "one-of-wasm-and-lua",
        at: &["spec"],
        rule: Rule::Holds(one_of),
        source: SOURCE,
    },
    Check {
        name: "lua-has-code",
        at: &["spec.lua"],
        rule: Rule::Has(&["inlineCode"]),
        source: SOURCE,
    },
    Check {
        name: "lua-code-has-a-length",
        at: &["spec.lua.inlineCode"],
        rule: Rule::Holds(lua_length),
        source: SOURCE,
    },
];

fn one_of(spec: &Value) -> Vec<Violation> {
    match (spec.get("wasm").is_some(), spec.get("lua").is_some()) {
        (true, true) => vec![Violation::new(
            "lua",
            "is set beside wasm",
            "keep one of them",
        )],
        (false, false) => {
            let what = "has neither wasm nor lua";
            vec![Violation::new("", what, "name a module in wasm")]
        }
        _ => Vec::new(),
    }
}

fn lua_length(code: &Value) -> Vec<Violation> {
    match code.as_str().map(str::len) {
        Some(0) => vec![Violation::new("", "is empty", "give it a value")],
        Some(n) if n > LUA => {
            let what = format!("has {n} bytes");
            vec![Violation::new("", what, "use at most 65536")]
        }
        _ => Vec::new(),
    }
}
