//! Messages as istiod shows them at `/debug/ambientz`: JSON, default values left out.
//!
//! Every message is taken apart field by field and nothing is skipped, so a field that is added
//! to a message does not compile here until it is shown.

mod policy;
mod workload;

pub use policy::policy;
pub use workload::{service, workload};

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// A JSON object in the making.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    /// A field that is left out when its value is the default one of its type.
    fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_default = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        };
        if !is_default {
            self.0.insert(key.to_owned(), value);
        }
        self
    }

    /// A field that is shown whenever it is set, even to a default value.
    fn optional(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value.into());
        }
        self
    }

    /// An enum field; the value numbered 0 is the default, a value without a name stays a number.
    fn name<E: TryFrom<i32>>(self, key: &str, number: i32, name: fn(&E) -> &'static str) -> Self {
        match number {
            0 => self,
            _ => self.field(key, named(number, name)),
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn named<E: TryFrom<i32>>(number: i32, name: fn(&E) -> &'static str) -> Value {
    E::try_from(number).map_or(Value::from(number), |value| Value::from(name(&value)))
}

fn list<T>(items: &[T], show: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(show).collect()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// An address is shown as the base64 of its text, not of its bytes.
fn ip(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    match v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)) {
        Ok(ip) => base64(ip.to_string().as_bytes()),
        Err(_) => base64(bytes),
    }
}
