//! What the text of a scalar means: as for `kubectl`, which reads YAML 1.1 with Go's rules.
//!
//! Source: `sigs.k8s.io/yaml` (go-yaml v2 `resolve.go`). A manifest that means one thing here and
//! another in a cluster would be a trap, so `yes` is true and `0644` is octal.

use serde_json::{Number, Value};

/// A scalar as written.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it stands without quotes.
    pub(super) is_plain: bool,
    /// The core tag it has, such as `str`.
    pub(super) tag: Option<String>,
}

/// The value of a scalar.
pub(super) fn resolve(scalar: &Scalar) -> Value {
    let text = scalar.text.as_str();
    match scalar.tag.as_deref() {
        Some("null") => Value::Null,
        Some("bool") => bool_of(text).map_or_else(|| text.into(), Value::from),
        Some("int" | "float") => number_of(text).map_or_else(|| text.into(), Value::from),
        Some(_) => text.into(),
        None if !scalar.is_plain => text.into(),
        None => plain(text),
    }
}

fn plain(text: &str) -> Value {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(bool) = bool_of(text) {
        return bool.into();
    }
    let may_be_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let number = if may_be_number { number_of(text) } else { None };
    number.map_or_else(|| text.into(), Value::from)
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

fn number_of(text: &str) -> Option<Number> {
    let digits = text.replace('_', "");
    integer_of(&digits).or_else(|| float_of(&digits))
}

/// Go's `strconv.ParseInt` with base 0.
fn integer_of(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let radices = [("0x", 16), ("0o", 8), ("0b", 2)];
    let (digits, radix) = radices
        .iter()
        .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)))
        .or_else(|| {
            lower
                .strip_prefix('0')
                .filter(|rest| !rest.is_empty())
                .map(|rest| (rest, 8))
        })
        .unwrap_or((&lower, 10));
    if digits.is_empty() || !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if is_negative {
        0i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(magnitude.into())
    }
}

/// 2^53: whole numbers below it are exact in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`. As JSON has one kind of number, a whole
/// one is written as such.
fn float_of(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (unsigned.get(..at)?, unsigned.get(at + 1..)),
        None => (unsigned, None),
    };
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_digits = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e));
    let is_float = is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_digits.is_none_or(|digits| !digits.is_empty() && is_digits(digits));
    if !is_float {
        return None;
    }
    let float: f64 = text.parse().ok()?;
    if float.fract() == 0.0 && float.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("Yes", json!(true)),
            ("off", json!(false)),
            ("oN", json!("oN")),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("08", json!(8)),
            ("1.5", json!(1.5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1s", json!("1s")),
            ("-", json!("-")),
            (".", json!(".")),
            ("--1", json!("--1")),
            ("0x", json!("0x")),
            ("1e", json!("1e")),
            ("e1", json!("e1")),
            (".inf", json!(".inf")),
            ("1e999", json!("1e999")),
            ("2026-01-01", json!("2026-01-01")),
            ("12:30", json!("12:30")),
        ] {
            assert_eq!(plain(text), value, "{text:?}");
        }
    }

    #[test]
    fn quotes_and_tags_decide() {
        let scalar = |text: &str, is_plain, tag: Option<&str>| {
            resolve(&Scalar {
                text: text.to_owned(),
                is_plain,
                tag: tag.map(str::to_owned),
            })
        };
        assert_eq!(scalar("1", false, None), json!("1"));
        assert_eq!(scalar("1", true, Some("str")), json!("1"));
        assert_eq!(scalar("1", false, Some("int")), json!(1));
        assert_eq!(scalar("yes", false, Some("bool")), json!(true));
        assert_eq!(scalar("x", true, Some("null")), json!(null));
        assert_eq!(scalar("aGk=", true, Some("binary")), json!("aGk="));
    }
}
