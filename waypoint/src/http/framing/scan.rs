//! The state machine: bytes in, the place of the first violation out. No IO.

/// Beginning of a line that is kept to look at. No field that frames a message needs more.
const KEPT: usize = 64;
/// Bytes of a chunk extension.
const EXTENSION_LIMIT: usize = 256;
/// Digits of a chunk size; more could overflow.
const SIZE_DIGITS: usize = 15;
/// Digits of a content length.
const LENGTH_DIGITS: usize = 18;

/// Follows the framing of a stream of requests.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    line: Line,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// In a head; `begun` after its request line.
    #[default]
    Head,
    /// In a body, with so many bytes to come.
    Sized(u64),
    /// In the line before a chunk.
    ChunkSize,
    /// In a chunk, with so many bytes to come.
    Chunk(u64),
    /// In the line break behind a chunk.
    ChunkEnd,
    /// In the trailers.
    Trailers,
    /// Behind a request to upgrade: whose bytes these are, the answer tells.
    Raw,
}

/// What a head has said so far.
#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

/// The line that is being read.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    len: usize,
    /// Its last byte so far is a CR.
    cr: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            kept: [0; KEPT],
            len: 0,
            cr: false,
        }
    }
}

/// A violation.
struct Refused;

impl Scanner {
    /// Whether a head has begun and is not complete.
    pub(super) fn is_inside_head(&self) -> bool {
        self.state == State::Head && (self.head.begun || self.line.len > 0)
    }

    /// Reads on; the error is the place of the first byte that must not pass.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            match self.state {
                State::Raw => return Ok(()),
                State::Sized(left) | State::Chunk(left) => {
                    let n = left.min(rest.len() as u64);
                    rest = rest
                        .get(usize::try_from(n).unwrap_or(rest.len())..)
                        .unwrap_or_default();
                    self.skip(left - n);
                }
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let n = self.line(rest).map_err(|place| at + place)?;
                    rest = rest.get(n..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, left: u64) {
        self.state = match (self.state, left) {
            (State::Sized(_), 0) => State::Head,
            (State::Sized(_), left) => State::Sized(left),
            (State::Chunk(_), 0) => State::ChunkEnd,
            (_, left) => State::Chunk(left),
        };
    }

    /// Takes the bytes of one line, as far as they are there, and returns their number.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let newline = bytes.iter().position(|byte| *byte == b'\n');
        let text = newline.and_then(|at| bytes.get(..at)).unwrap_or(bytes);
        self.text(text)?;
        let Some(at) = newline else {
            return Ok(bytes.len());
        };
        // A line ends with CR LF and with nothing else.
        if !self.line.cr {
            return Err(at);
        }
        let line = std::mem::take(&mut self.line);
        self.complete(&line).map_err(|Refused| at)?;
        Ok(at + 1)
    }

    /// Takes bytes of a line that are no line feed.
    fn text(&mut self, text: &[u8]) -> Result<(), usize> {
        let Some(first) = text.first() else {
            return Ok(());
        };
        // A CR belongs at the end and nowhere else.
        if self.line.cr {
            return Err(0);
        }
        let cr = text.iter().position(|byte| *byte == b'\r');
        if let Some(at) = cr
            && at + 1 < text.len()
        {
            return Err(at);
        }
        let request_line = self.state == State::Head && !self.head.begun;
        // A fragment never belongs into a target; the parser would drop it without a word.
        if request_line && let Some(at) = text.iter().position(|byte| *byte == b'#') {
            return Err(at);
        }
        // Neither a continued line nor a blank before a name.
        let headers =
            (self.state == State::Head && self.head.begun) || self.state == State::Trailers;
        if headers && self.line.len == 0 && matches!(first, b' ' | b'\t') {
            return Err(0);
        }
        let text = cr.and_then(|at| text.get(..at)).unwrap_or(text);
        self.line.cr = cr.is_some();
        let place = self.line.len.min(KEPT);
        let room = self.line.kept.get_mut(place..).unwrap_or_default();
        let n = room.len().min(text.len());
        if let (Some(room), Some(text)) = (room.get_mut(..n), text.get(..n)) {
            room.copy_from_slice(text);
        }
        self.line.len += text.len();
        let longest = SIZE_DIGITS + EXTENSION_LIMIT;
        if self.state == State::ChunkSize && self.line.len > longest {
            return Err(0);
        }
        Ok(())
    }

    fn complete(&mut self, line: &Line) -> Result<(), Refused> {
        match self.state {
            State::Head if !self.head.begun => {
                // Some clients send an empty line behind a body (RFC 9112 §2.2).
                self.head.begun = line.len > 0;
            }
            State::Head if line.len == 0 => self.begin_body(),
            State::Head => self.field(line)?,
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailers,
                    size => State::Chunk(size),
                };
            }
            State::ChunkEnd if line.len > 0 => return Err(Refused),
            State::ChunkEnd => self.state = State::ChunkSize,
            State::Trailers if line.len == 0 => self.state = State::Head,
            State::Trailers | State::Sized(_) | State::Chunk(_) | State::Raw => {}
        }
        Ok(())
    }

    fn begin_body(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.state = match head {
            Head { chunked: true, .. } => State::ChunkSize,
            Head {
                length: Some(length @ 1..),
                ..
            } => State::Sized(length),
            Head {
                websocket: true, ..
            } => State::Raw,
            _ => State::Head,
        };
    }

    /// Looks at a header field, if it is one that frames the message.
    fn field(&mut self, line: &Line) -> Result<(), Refused> {
        let kept = line.kept.get(..line.len.min(KEPT)).unwrap_or_default();
        let Some(colon) = kept.iter().position(|byte| *byte == b':') else {
            return Ok(());
        };
        let (name, value) = kept.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let whole = line.len <= KEPT;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).filter(|_| whole).ok_or(Refused)?;
            let same = self.head.length.is_none_or(|known| known == length);
            if !same || self.head.chunked {
                return Err(Refused);
            }
            self.head.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = whole && value.eq_ignore_ascii_case(b"chunked");
            if !chunked || self.head.chunked || self.head.length.is_some() {
                return Err(Refused);
            }
            self.head.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.head.websocket = whole && value.eq_ignore_ascii_case(b"websocket");
        }
        Ok(())
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok()?;
    (digits && text.len() <= LENGTH_DIGITS).then(|| text.parse().ok())?
}

/// Reads `1*HEXDIG [ chunk-ext ]`; extensions mean nothing to us.
fn chunk_size(line: &Line) -> Result<u64, Refused> {
    let kept = line.kept.get(..line.len.min(KEPT)).unwrap_or_default();
    let end = kept
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(kept.len());
    let (digits, rest) = kept.split_at(end);
    let extension = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    let whole = line.len <= KEPT;
    let known = extension == Some(&b';') || (extension.is_none() && whole);
    let well_formed = known && !rest.ends_with(b" ");
    if digits.is_empty() || digits.len() > SIZE_DIGITS || !well_formed {
        return Err(Refused);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Refused)?;
    u64::from_str_radix(digits, 16).map_err(|_| Refused)
}
