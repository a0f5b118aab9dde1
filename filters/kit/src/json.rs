//! JSON as a tree that loses nothing but white space: numbers keep their text, members their order.

use std::fmt;

/// Nesting beyond this is refused; no stack of a guest is that deep.
const DEPTH: usize = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order written.
    Object(Vec<(String, Json)>),
}

/// Whether an object may name a member twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    /// It may not: two readers could choose different ones.
    Unique,
    /// It may; all of them are kept.
    Any,
}

/// Why bytes are not JSON, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, what } = self;
        write!(f, "{what} at line {line} column {column}")
    }
}

/// Reads one JSON value and nothing after it.
///
/// # Errors
/// The first mistake.
pub fn parse(bytes: &[u8], keys: Keys) -> Result<Json, Mistake> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return Err(mistake(
                bytes,
                error.valid_up_to(),
                "a byte that is not UTF-8",
            ));
        }
    };
    let mut reader = Reader {
        text,
        bytes,
        at: 0,
        keys,
    };
    let result = reader.document();
    result.map_err(|what| mistake(bytes, reader.at, what))
}

#[expect(clippy::naive_bytecount, reason = "once, for a message")]
fn mistake(bytes: &[u8], at: usize, what: &'static str) -> Mistake {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let in_line = before.get(line_start..).unwrap_or_default();
    // Continuation bytes begin no character.
    let column = in_line.iter().filter(|b| **b & 0xc0 != 0x80).count() + 1;
    Mistake { line, column, what }
}

type Read<T> = Result<T, &'static str>;

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    keys: Keys,
}

impl Reader<'_> {
    fn document(&mut self) -> Read<Json> {
        let value = self.value(DEPTH)?;
        self.space();
        if self.at < self.bytes.len() {
            return Err("something after the end");
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str, value: Json) -> Read<Json> {
        if self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word.as_bytes()))
        {
            self.at += word.len();
            return Ok(value);
        }
        Err("expected a value")
    }

    fn value(&mut self, depth: usize) -> Read<Json> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err("expected a value"),
            None => Err("the end where a value should be"),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Json> {
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err("expected the name of a member in quotes");
            }
            let name = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err("expected `:`");
            }
            let value = self.value(depth)?;
            members.push((name, value));
            self.space();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err("expected `,` or `}`");
            }
        }
        if self.keys == Keys::Unique && !distinct(&members) {
            return Err("an object that names a member twice ends");
        }
        Ok(Json::Object(members))
    }

    fn list(&mut self, depth: usize) -> Read<Json> {
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.eat(b']') {
                return Ok(Json::List(items));
            }
            if !self.eat(b',') {
                return Err("expected `,` or `]`");
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Read<Json> {
        let start = self.at;
        self.eat(b'-');
        let zero = self.peek() == Some(b'0');
        let digits = self.digits();
        if digits == 0 || (zero && digits > 1) {
            return Err("not a number");
        }
        if self.eat(b'.') && self.digits() == 0 {
            return Err("expected a digit");
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            if self.digits() == 0 {
                return Err("expected a digit");
            }
        }
        Ok(Json::Number(self.slice(start).to_owned()))
    }

    /// The text from `start` to here; both are where characters begin.
    fn slice(&self, start: usize) -> &str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while matches!(self.peek(), Some(b) if b != b'"' && b != b'\\' && b >= b' ') {
                self.at += 1;
            }
            if self.at > start {
                let run = self.text.get(start..self.at).unwrap_or_default();
                text.push_str(run);
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => return Err("a control character in a string"),
                None => return Err("a string without an end"),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let escaped = self.peek().ok_or("a string without an end")?;
        self.at += 1;
        Ok(match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err("an unknown escape"),
        })
    }

    fn unicode(&mut self) -> Read<char> {
        const LONE: &str = "half of a surrogate pair";
        let first = self.four_digits()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err(LONE);
                }
                let second = self.four_digits()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(LONE);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(LONE)
    }

    fn four_digits(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            code = code * 16 + digit.ok_or("expected four hexadecimal digits")?;
            self.at += 1;
        }
        Ok(code)
    }
}

fn distinct(members: &[(String, Json)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair.first() != pair.get(1))
}

impl Json {
    /// Returns a member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Returns the text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Writes the value, without white space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => out.extend_from_slice(number.as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Writes a string in quotes, with the escapes it needs.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // DEL is allowed as it is, but nobody wants it in a log.
            0..=0x1f | 0x7f => {
                let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
                let (high, low) = (digit(byte >> 4), digit(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Json, String> {
        parse(text.as_bytes(), Keys::Unique).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_back_is_what_was_read() {
        for text in [
            "null",
            "true",
            "-0.10e+5",
            "12345678901234567890123456789",
            r#""""#,
            r#"{"b":1,"a":[1.0,[],{}],"c":{"":"é\"\\\n"}}"#,
        ] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        let spaced = " { \"a\" : [ 1 , 2 ] }\n";
        assert_eq!(read(spaced).unwrap().to_string(), r#"{"a":[1,2]}"#);
    }

    #[test]
    fn escapes_are_undone_and_made() {
        let text = read(r#""\u00e9\ud83d\ude00\/\b\u0000""#).unwrap();
        assert_eq!(text, Json::Text("é😀/\u{8}\0".to_owned()));
        assert_eq!(text.to_string(), "\"é😀/\\u0008\\u0000\"");
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (text, says) in [
            ("", "the end where a value should be at line 1 column 1"),
            ("{\n \"é\": x}", "expected a value at line 2 column 7"),
            ("[1,]", "expected a value at line 1 column 4"),
            ("01", "not a number at line 1 column 3"),
            ("1.", "expected a digit at line 1 column 3"),
            ("1 2", "something after the end at line 1 column 3"),
            (
                r#"{"a":1,"a":2}"#,
                "an object that names a member twice ends at line 1 column 14",
            ),
            (
                r#""\ud800x""#,
                "half of a surrogate pair at line 1 column 8",
            ),
            (
                "\"a\nb\"",
                "a control character in a string at line 1 column 3",
            ),
            (
                "{a:1}",
                "expected the name of a member in quotes at line 1 column 2",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), says, "{text:?}");
        }
        let error = parse(b"\"\xff\"", Keys::Any).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a byte that is not UTF-8 at line 1 column 2"
        );
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert!(read(&deep).unwrap_err().starts_with("nested too deeply"));
        assert!(read(&deep[1..129]).is_ok());
    }

    #[test]
    fn members_may_repeat_where_that_is_allowed() {
        let twice = parse(br#"{"a":1,"a":2}"#, Keys::Any).unwrap();
        assert_eq!(twice.to_string(), r#"{"a":1,"a":2}"#);
    }

    /// Thousands of damaged documents: both parsers refuse the same ones and read the same.
    #[test]
    fn another_parser_agrees() {
        let seed =
            br#"{"a": [1, -2.5e3, "x\u00e9\n", {"b": null}], "c": true, "d": "\ud83d\ude00"}"#;
        let bytes = br#"{}[]",:\u0189eE+-.tfn x"#;
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below as u64)).unwrap()
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..50_000 {
            let mut document = seed.to_vec();
            for _ in 0..=random(3) {
                let at = random(document.len());
                match random(3) {
                    0 => document[at] = bytes[random(bytes.len())],
                    1 => drop(document.remove(at)),
                    _ => document.insert(at, bytes[random(bytes.len())]),
                }
            }
            let ours = parse(&document, Keys::Any);
            let theirs: Result<serde_json::Value, _> = serde_json::from_slice(&document);
            let shown = String::from_utf8_lossy(&document);
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    let again: serde_json::Value = serde_json::from_str(&ours.to_string()).unwrap();
                    assert_eq!(again, theirs, "{shown}");
                    good += 1;
                }
                (Err(_), Err(_)) => bad += 1,
                // A number too large for a double is still a number.
                (Ok(_), Err(theirs)) if theirs.to_string().contains("out of range") => {}
                (ours, theirs) => panic!("{shown}: {ours:?} {theirs:?}"),
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} {bad}");
    }
}
