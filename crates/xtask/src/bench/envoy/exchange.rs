//! What is asked and answered, and how one sees that a filter did its work on it.

use anyhow::{Result, ensure};

use super::super::http::{head_end, request, response};

/// The length of the body of a small answer.
const SMALL: usize = 128;
/// The length of bodies where bodies are looked at.
const PAGE: usize = 4096;

/// A request, its answer, and what must have become of both behind the filter.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// The client's request, head and body.
    pub(super) request: Vec<u8>,
    /// The server's answer, head and body.
    pub(super) answer: Vec<u8>,
    /// The length of the request's body.
    posted: u64,
    /// A header with which the request must reach the server.
    arrives_with: Option<&'static str>,
    /// A header with which the answer must reach the client.
    returns_with: Option<&'static str>,
    /// The body that must reach the client.
    body: Vec<u8>,
}

impl Exchange {
    /// A small answer to a request without a body, and the headers that the filter adds to both.
    pub(super) fn small(
        arrives_with: Option<&'static str>,
        returns_with: Option<&'static str>,
    ) -> Self {
        let body = page(SMALL);
        Self {
            request: asked("GET", &[]),
            answer: answered(&body),
            posted: 0,
            arrives_with,
            returns_with,
            body,
        }
    }

    /// A page for a page, whose letters the filter makes large or leaves alone.
    pub(super) fn page(is_transformed: bool) -> Self {
        let body = page(PAGE);
        Self {
            request: asked("POST", &body),
            answer: answered(&body),
            posted: PAGE as u64,
            arrives_with: None,
            returns_with: None,
            body: if is_transformed {
                body.to_ascii_uppercase()
            } else {
                body
            },
        }
    }

    /// Where the request at the beginning of `bytes` ends, once all of it is there.
    pub(super) fn request_end(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(head) = head_end(bytes) else {
            return Ok(None);
        };
        let length = request(bytes.get(..head).unwrap_or_default(), self.arrives_with)?;
        ensure!(
            length == self.posted,
            "a request whose body has {length} bytes reached the server"
        );
        let end = head + usize::try_from(length)?;
        Ok((end <= bytes.len()).then_some(end))
    }

    /// Where the answer at the beginning of `bytes` ends, once all of it is there.
    pub(super) fn answer_end(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = head_end(bytes) else {
            return Ok(None);
        };
        let head = response(bytes.get(..end).unwrap_or_default(), self.returns_with)?;
        ensure!(head.status == 200, "status {}", head.status);
        let body = end..end + usize::try_from(head.length)?;
        let end = body.end;
        let Some(body) = bytes.get(body) else {
            return Ok(None);
        };
        ensure!(
            body == self.body,
            "another body than the filter is to make: {}",
            String::from_utf8_lossy(body)
        );
        Ok(Some(end))
    }
}

/// Text of this length.
fn page(length: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(length).collect()
}

fn asked(method: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} /things HTTP/1.1\r\nhost: bench\r\nuser-agent: xtask\r\naccept: */*\r\n{length}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn answered(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every beginning is not the whole, and the whole is, with whatever follows.
    fn ends(end: impl Fn(&[u8]) -> Result<Option<usize>>, message: &[u8]) {
        for some in 0..message.len() {
            assert_eq!(end(&message[..some]).unwrap(), None, "{some}");
        }
        let whole = Some(message.len());
        assert_eq!(end(message).unwrap(), whole);
        assert_eq!(end(&[message, b"GET"].concat()).unwrap(), whole);
    }

    #[test]
    fn a_message_ends_where_its_head_says_and_not_before() {
        for exchange in [Exchange::small(None, None), Exchange::page(false)] {
            ends(|bytes| exchange.request_end(bytes), &exchange.request);
            ends(|bytes| exchange.answer_end(bytes), &exchange.answer);
        }
    }

    #[test]
    fn a_filter_that_did_not_do_its_work_is_an_error() {
        let header = Exchange::small(Some("x-asked"), Some("x-answered"));
        assert!(header.request_end(&header.request).is_err());
        assert!(header.answer_end(&header.answer).is_err());
        let transform = Exchange::page(true);
        assert!(transform.answer_end(&transform.answer).is_err());
        let large = answered(&page(PAGE).to_ascii_uppercase());
        assert_eq!(transform.answer_end(&large).unwrap(), Some(large.len()));
    }

    #[test]
    fn a_refused_request_and_a_lost_body_are_errors() {
        let exchange = Exchange::page(false);
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert!(exchange.answer_end(refused).is_err());
        assert!(exchange.answer_end(&answered(b"")).is_err());
        assert!(exchange.request_end(&asked("POST", b"")).is_err());
    }
}
