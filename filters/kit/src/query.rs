//! Query strings and cookies, as little of them as filters need.

/// Splits a request target into path and query.
pub fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|b| *b == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    }
}

/// Returns every value of a parameter, decoded.
pub fn values(query: &[u8], name: &str) -> Vec<Vec<u8>> {
    let pairs = query.split(|b| *b == b'&').map(pair);
    let found = pairs.filter(|(n, _)| decode(n) == name.as_bytes());
    found.map(|(_, value)| decode(value)).collect()
}

/// Returns every parameter and its value, decoded.
pub fn pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let items = query.split(|b| *b == b'&').filter(|item| !item.is_empty());
    items.map(|item| {
        let (name, value) = pair(item);
        (decode(name), decode(value))
    })
}

/// Returns the target without a parameter; `None` when it has none of that name.
pub fn without(target: &[u8], name: &str) -> Option<Vec<u8>> {
    let (path, query) = split(target);
    let query = query?;
    let all = || query.split(|b| *b == b'&');
    let is_it = |item: &[u8]| decode(pair(item).0) == name.as_bytes();
    if !all().any(is_it) {
        return None;
    }
    let kept: Vec<&[u8]> = all().filter(|item| !is_it(item)).collect();
    let mut result = path.to_vec();
    if !kept.is_empty() {
        result.push(b'?');
        result.extend_from_slice(&kept.join(&b'&'));
    }
    Some(result)
}

/// Returns every value of a cookie in one `cookie` header.
pub fn cookies<'a>(header: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    let pairs = header
        .split(|b| *b == b';')
        .map(|item| pair(item.trim_ascii()));
    let found = pairs.filter(|(n, _)| *n == name.as_bytes());
    found.map(|(_, value)| value).collect()
}

/// Returns a `cookie` header without one cookie, empty when nothing else was in it; `None` when
/// the cookie is not there.
pub fn without_cookie(header: &[u8], name: &str) -> Option<Vec<u8>> {
    let all = || header.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let is_it = |item: &&[u8]| pair(item).0 == name.as_bytes();
    if !all().any(|item| is_it(&item)) {
        return None;
    }
    let kept: Vec<&[u8]> = all().filter(|item| !is_it(item)).collect();
    Some(kept.join(&b"; "[..]))
}

fn pair(item: &[u8]) -> (&[u8], &[u8]) {
    match item.iter().position(|b| *b == b'=') {
        Some(at) => (
            item.get(..at).unwrap_or_default(),
            item.get(at + 1..).unwrap_or_default(),
        ),
        None => (item, &[]),
    }
}

/// Undoes percent-encoding and `+`; a bad escape stands for itself.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let digit = |n: usize| after.get(n).and_then(|b| char::from(*b).to_digit(16));
        let byte = match first {
            b'+' => b' ',
            b'%' => match (digit(0), digit(1)) {
                (Some(high), Some(low)) => {
                    rest = after.get(2..).unwrap_or_default();
                    u8::try_from(high * 16 + low).unwrap_or(b'%')
                }
                _ => b'%',
            },
            other => *other,
        };
        decoded.push(byte);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_however_they_are_written() {
        let query = b"a=1&b=x%20y+z&a=2&k%65y=v&bad=%zz&flag";
        assert_eq!(values(query, "a"), [b"1", b"2"]);
        assert_eq!(values(query, "b"), [b"x y z"]);
        assert_eq!(values(query, "key"), [b"v"]);
        assert_eq!(values(query, "bad"), [b"%zz"]);
        assert_eq!(values(query, "flag"), [b""]);
        assert!(values(query, "none").is_empty());
    }

    #[test]
    fn a_parameter_is_taken_out_and_the_rest_stays_as_it_was() {
        for (target, left) in [
            ("/p?key=1", Some("/p")),
            ("/p?a=%20&key=1&b", Some("/p?a=%20&b")),
            ("/p?k%65y=1&key=2", Some("/p")),
            ("/p?monkey=1", None),
            ("/p", None),
        ] {
            let result = without(target.as_bytes(), "key");
            assert_eq!(result.as_deref(), left.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn a_cookie_is_found_and_taken_out() {
        let header = b"a=1; key=v=w;b=2";
        assert_eq!(cookies(header, "key"), [b"v=w"]);
        assert_eq!(without_cookie(header, "key").unwrap(), b"a=1; b=2");
        assert_eq!(without_cookie(b"key=1", "key").unwrap(), b"");
        assert_eq!(without_cookie(header, "c"), None);
    }
}
