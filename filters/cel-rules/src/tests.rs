use std::collections::HashMap;
use std::rc::Rc;

use cel::parser::PrattParser;
use kit::fake::Fake;

use super::*;
use crate::value::Val;

fn request() -> Fake {
    Fake::get("/admin/users?x=1&y=%20z&x=2")
        .with("x-a", "1")
        .with("x-a", "2")
        .with("accept", "text/html")
        .knowing("source.address", "10.1.2.3:4567")
        .knowing("source.port", 4567_i64.to_le_bytes())
        .knowing("connection.mtls", [1])
        .knowing(
            "connection.uri_san_peer_certificate",
            "spiffe://td/ns/shop/sa/web",
        )
}

fn value(source: &str) -> std::result::Result<Val, String> {
    let node = compile(source)?;
    let fake = request();
    Evaluation::new(&fake, 50_000)
        .value(&node)
        .map_err(str::to_owned)
}

fn holds(source: &str) -> bool {
    match value(source) {
        Ok(Val::Bool(value)) => value,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn expressions_about_a_request() {
    for source in [
        "request.method == 'GET' && request.host == 'shop'",
        "request.path == '/admin/users?x=1&y=%20z&x=2'",
        "request.url_path.startsWith('/admin/')",
        "request.query == 'x=1&y=%20z&x=2' && request.query_params['y'] == ' z' && request.query_params.x == '1'",
        "request.headers['x-a'] == '1,2' && request.headers.accept.contains('html')",
        "request.headers['X-A'] == '1,2' && 'X-A' in request.headers",
        "'x-a' in request.headers && !('x-b' in request.headers) && !has(request.headers.nope)",
        "request.headers.get('x-b', 'none') == 'none'",
        "request.headers.exists(h, h.startsWith('x-'))",
        "size(request.headers) == 5",
        "source.ip == '10.1.2.3' && source.port == 4567 && source.address.endsWith(':4567')",
        "source.ip.inCidr('10.0.0.0/8') && !source.ip.inCidr('10.2.0.0/16') && !source.ip.inCidr('::/0')",
        "connection.mtls && peer.id == 'spiffe://td/ns/shop/sa/web'",
        "peer.namespace == 'shop' && peer.service_account == 'web' && peer.trust_domain == 'td'",
        "request.useragent == '' && !has(request.useragent) && has(peer.id)",
        "request.url_path.split('/')[1] == 'admin'",
        "request.method in ['GET', 'HEAD'] ? true : false",
        "request.url_path == '/admin' || request.url_path.startsWith('/admin/')",
        "'nope' in request.headers || true",
        "request.headers['nope'] == 'x' || true",
    ] {
        assert!(holds(source), "{source}");
    }
}

#[test]
fn addresses_and_blocks() {
    for (address, block, expected) in [
        ("10.0.0.1", "10.0.0.0/32", false),
        ("10.0.0.0", "10.0.0.0/32", true),
        ("1.2.3.4", "0.0.0.0/0", true),
        ("::ffff:10.0.0.1", "10.0.0.0/8", true),
        ("2001:db8::1", "2001:db8::/32", true),
        ("2001:db9::1", "2001:db8::/32", false),
        ("2001:db8::1", "::/0", true),
        ("nonsense", "0.0.0.0/0", false),
    ] {
        assert_eq!(
            holds(&format!("'{address}'.inCidr('{block}')")),
            expected,
            "{address} {block}"
        );
    }
    assert!(
        compile("source.ip.inCidr('10.0.0.0/33')")
            .unwrap_err()
            .contains("no block of addresses")
    );
    assert!(value("source.ip.inCidr(request.host)").is_err());
}

#[test]
fn unknown_names_are_found_before_any_request() {
    for (source, says) in [
        (
            "reqest.path == ''",
            "`reqest` is unknown; allowed are connection.dns_san_peer_certificate",
        ),
        (
            "request.pth == ''",
            "`request.pth` is unknown; allowed are request.headers, request.host",
        ),
        (
            "request",
            "`request` alone is no value; allowed are request.headers",
        ),
        ("request.path.matches('x')", "`matches` is not there"),
        (
            "request.path.startWith('x')",
            "`startWith` is no function; allowed are size, contains, startsWith",
        ),
        (
            "request.path.startsWith('x', 'y')",
            "`startsWith` is called with other arguments",
        ),
        ("request.path ==", "it is not CEL: "),
        ("request.path = 'x'", "it is not CEL: "),
        (
            "[1].all(a, [1].all(b, [1].all(c, true)))",
            "it has comprehensions nested more than 2 deep",
        ),
        ("a.b{c: 1}", "it makes a message `a.b`"),
    ] {
        let error = compile(source).unwrap_err();
        assert!(error.starts_with(says), "{source}: {error}");
    }
    for long in [
        format!("'{}' == ''", "x".repeat(5000)),
        format!("{}1{} == 1", "[".repeat(200), "]".repeat(200)),
        format!("{}1{} == 1", "(".repeat(200), ")".repeat(200)),
        vec!["1"; 1500].join("+"),
        vec!["1"; 100].join("+"),
    ] {
        assert!(compile(&long).is_err(), "{}…", &long[..20]);
    }
}

#[test]
fn what_takes_too_long_is_denied_and_never_skipped() {
    let expensive =
        "request.headers.all(a, request.headers.all(b, (a + b + a + b + a + b).contains(a)))";
    for on_error in ["deny", "skip"] {
        let text = format!(
            r#"{{"rules": [{{"name": "slow", "if": "{expensive}", "then": "log"}}], "otherwise": "allow", "onError": "{on_error}", "maxSteps": 2000}}"#
        );
        let config = Config::parse(text.as_bytes()).unwrap();
        let mut fake = Fake::get("/");
        for n in 0..100 {
            fake = fake.with(&format!("x-{n}"), "v");
        }
        let decision = config.decide(&fake, &mut |_| {});
        assert_eq!(
            (decision.denied.map(|d| d.status), decision.error),
            (Some(403), Some(eval::TOO_MANY_STEPS))
        );
        assert!(config.decide(&Fake::get("/"), &mut |_| {}).denied.is_none());
    }
}

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_first_rule_that_decides_does() {
    let config = config(
        r#"{"rules": [
            {"name": "seen", "if": "true", "then": "log"},
            {"if": "request.url_path == '/health'", "then": "allow"},
            {"name": "admin", "if": "request.url_path.startsWith('/admin')", "then": "deny", "status": 404, "body": "gone", "headers": [{"name": "X-Why", "value": "admin"}]},
            {"name": "never", "if": "request.url_path == '/admin'", "then": "allow"}],
          "otherwise": "deny", "deny": {"status": 401}}"#,
    );
    let decide = |target: &str| {
        let fake = Fake::get(target);
        let mut logged = Vec::new();
        let Decision { denied, by, .. } = config.decide(&fake, &mut |rule| logged.push(rule));
        assert_eq!(logged, ["seen"]);
        (denied, by)
    };
    assert_eq!(decide("/health"), (None, Some("rules[1]")));
    let (denied, by) = decide("/admin/x");
    let expected = Denial {
        status: 404,
        body: "gone".to_owned(),
        headers: vec![("x-why".to_owned(), "admin".to_owned())],
    };
    assert_eq!((denied, by), (Some(&expected), Some("admin")));
    let (denied, by) = decide("/else");
    assert_eq!((denied.map(|d| d.status), by), (Some(401), None));
}

#[test]
fn an_expression_without_a_value_denies_unless_told_otherwise() {
    let text = |more: &str| {
        config(&format!(
            r#"{{"rules": [{{"name": "r", "if": "request.headers['x'] == '1'", "then": "allow"}}], "otherwise": "allow" {more}}}"#
        ))
    };
    let strict = text("");
    let decision = strict.decide(&request(), &mut |_| {});
    assert_eq!(
        (
            decision.denied.map(|d| d.status),
            decision.by,
            decision.error
        ),
        (Some(403), Some("r"), Some("no such key"))
    );
    let lenient = text(r#", "onError": "skip""#);
    assert_eq!(lenient.decide(&request(), &mut |_| {}).denied, None);
}

#[test]
fn mistakes_name_the_field() {
    for (text, says) in [
        ("", "the configuration needs the field `otherwise`"),
        (r#"{"otherwise": "allow"}"#, "`rules` is empty or absent"),
        (
            r#"{"rules": [{}], "otherwise": "allow"}"#,
            "`rules[0]` needs the field `if`",
        ),
        (
            r#"{"rules": [{"if": "x", "then": "deny"}], "otherwise": "deny"}"#,
            "`rules[0].if` is \"x\"; `x` is unknown; allowed are",
        ),
        (
            r#"{"rules": [{"if": "true", "then": "drop"}], "otherwise": "deny"}"#,
            r#"`rules[0].then` is "drop"; allowed is "allow" or "deny" or "log""#,
        ),
        (
            r#"{"rules": [{"if": "true", "then": "allow", "status": 403}], "otherwise": "deny"}"#,
            "`rules[0]` has an unknown field `status`",
        ),
        (
            r#"{"rules": [{"if": "true", "then": "deny", "status": 99}], "otherwise": "deny"}"#,
            "`rules[0].status` is 99; allowed is a whole number from 200 to 599",
        ),
        (
            r#"{"rules": [{"if": "true", "then": "deny"}], "otherwise": "deny", "maxSteps": 1}"#,
            "`maxSteps` is 1;",
        ),
    ] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}

/// The same value in the form of the other evaluator.
fn theirs(value: &Val) -> cel::Value {
    match value {
        Val::Null => cel::Value::Null,
        Val::Bool(value) => (*value).into(),
        Val::Int(n) => (*n).into(),
        Val::Uint(n) => (*n).into(),
        Val::Double(n) => (*n).into(),
        Val::Text(text) => text.to_string().into(),
        Val::Bytes(bytes) => bytes.to_vec().into(),
        Val::List(items) => items.iter().map(theirs).collect::<Vec<_>>().into(),
        Val::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                let key: cel::objects::Key = match key {
                    Val::Text(text) => text.to_string().into(),
                    Val::Int(n) => (*n).into(),
                    Val::Uint(n) => (*n).into(),
                    Val::Bool(value) => (*value).into(),
                    other => panic!("{other:?} is no key"),
                };
                (key, theirs(value))
            });
            entries.collect::<HashMap<_, _>>().into()
        }
    }
}

/// Both evaluators on one expression: whether there is a value, if they agree about that and it.
fn agree(source: &str, context: &cel::Context<'_, '_>) -> std::result::Result<bool, String> {
    let parsed = PrattParser::new()
        .parse(source)
        .map_err(|e| format!("{source}: {e}"))?;
    let expected = cel::Value::resolve(&parsed, context);
    match (value(source), expected) {
        (Ok(ours), Ok(expected)) if theirs(&ours) == expected => Ok(true),
        (Err(_), Err(_)) => Ok(false),
        (ours, expected) => Err(format!("{source}: {ours:?} but {expected:?}")),
    }
}

/// What the other evaluator knows of the request.
fn context() -> cel::Context<'static, 'static> {
    let mut context = cel::Context::default();
    let text = |text: &str| Val::text(text);
    let entries = vec![
        (text("method"), text("GET")),
        (text("host"), text("shop")),
        (text("url_path"), text("/admin/users")),
        (text("headers"), value("request.headers").unwrap()),
    ];
    context.add_variable_from_value("request", theirs(&Val::Map(Rc::new(entries))));
    context
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_reference_evaluator_agrees() {
    let context = context();
    let sources = [
        "1 + 2 * 3 - 4 / 2 % 3",
        "7 / 0",
        "7 % 0",
        "-9223372036854775808 - 1",
        "9223372036854775807 + 1",
        "1u + 2u",
        "1u - 2u",
        "1 + 1u",
        "1.5 * 2.0",
        "1.0 / 0.0 > 1.0",
        "-(-3)",
        "-'a'",
        "1 == 1u && 1 == 1.0 && 1u == 1.0",
        "1 < 2u && 2.5 > 2 && 3u >= 2.9",
        "'a' < 'b'",
        "'a' < 1",
        "true < false",
        "null == null",
        "null == 1",
        "'1' == 1",
        "[1, 2] == [1, 2]",
        "[1] == [1.0]",
        "{'a': 1} == {'a': 1}",
        "[1, 2] + [3]",
        "'a' + 'b'",
        "b'a' + b'b'",
        "'a' + 1",
        "size('é') + size([1]) + size({'a': 1})",
        "'abc'.size()",
        "[1, 2, 3][1]",
        "[1][5]",
        "[1][-1]",
        "{'a': 1}['a']",
        "{'a': 1}['b']",
        "{'a': 1}.a",
        "{'a': {'b': 2}}.a.b",
        "has({'a': 1}.a)",
        "has({'a': 1}.b)",
        "1 in [1, 2]",
        "1 in [1.0]",
        "'a' in {'a': 1}",
        "3 in [1, 2]",
        "1 in 5",
        "true ? 1 : 2",
        "1 ? 2 : 3",
        "!true",
        "!1",
        "true || 1 / 0 > 0",
        "1 / 0 > 0 || true",
        "false && 1 / 0 > 0",
        "1 / 0 > 0 && false",
        "1 / 0 > 0 || false",
        "true && 1 / 0 > 0",
        "[1, 2, 3].all(x, x > 0)",
        "[1, 2, 3].all(x, x > 1)",
        "[1, 0].all(x, 1 / x > 0)",
        "[].all(x, false)",
        "[1, 2, 3].exists(x, x == 2)",
        "[0, 1].exists(x, 1 / x > 0)",
        "[].exists(x, true)",
        "[1, 2, 2].exists_one(x, x == 2)",
        "[1, 2].exists_one(x, x == 2)",
        "[1, 2, 3].map(x, x * 2)",
        "[1, 2, 3].map(x, x > 1, x * 2)",
        "[1, 2, 3].filter(x, x > 1)",
        "{'a': 1}.map(k, k + '!')",
        "[1, 2].map(x, [x, 3].map(y, x * y))",
        "[[1], [2]].exists(l, l.exists(x, x == 2))",
        "int('12') + int(3.9) + int(4u)",
        "int('x')",
        "uint(-1)",
        "uint('7')",
        "double('1.5') + double(2)",
        "string(1) + string(true) + string(1u)",
        "bytes('a')",
        "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
        "'a'.contains(1)",
        "request.method == 'GET' && request.headers['x-a'] == '1,2'",
        "request.headers['none']",
        "'accept' in request.headers",
        "request.headers.exists(h, h == 'accept' && request.headers[h] == 'text/html')",
        "request.url_path.startsWith('/admin') ? request.host : 'none'",
    ];
    let wrong: Vec<_> = sources
        .iter()
        .filter_map(|source| agree(source, &context).err())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Random expressions, most of them with a type error somewhere.
#[test]
fn the_reference_evaluator_agrees_about_anything() {
    let context = context();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let (mut values, mut errors, mut wrong) = (0, 0, Vec::new());
    for _ in 0..20_000 {
        let source = random(&mut state, 3);
        match agree(&source, &context) {
            Ok(true) => values += 1,
            Ok(false) => errors += 1,
            Err(why) => wrong.push(why),
        }
    }
    wrong.sort_by_key(String::len);
    wrong.truncate(40);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(values > 500 && errors > 4_000, "{values} {errors}");
}

fn random(state: &mut u64, depth: u32) -> String {
    let mut below = |n: u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state % n).unwrap()
    };
    let leaves = [
        "0",
        "1",
        "-1",
        "2u",
        "0u",
        "1.5",
        "0.0",
        "'a'",
        "''",
        "'GET'",
        "true",
        "false",
        "null",
        "b'a'",
        "[1, 'a']",
        "[]",
        "{'a': 1}",
        "{1: 'x', true: 2}",
        "request.method",
        "request.headers['x-a']",
        "request.headers['none']",
        "request.url_path",
    ];
    if depth == 0 {
        return leaves[below(leaves.len() as u64)].to_owned();
    }
    let operators = [
        "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in", "&&", "||",
    ];
    let methods = ["contains", "startsWith", "endsWith"];
    let macros = ["all", "exists", "exists_one", "filter", "map"];
    let (kind, operator, method, which) = (
        below(10),
        operators[below(14)],
        methods[below(3)],
        macros[below(5)],
    );
    let mut part = || random(state, depth - 1);
    match kind {
        0..=3 => format!("({}) {operator} ({})", part(), part()),
        4 => format!("!({})", part()),
        5 => format!("(({}) ? ({}) : ({}))", part(), part(), part()),
        6 => format!("({}).{method}({})", part(), part()),
        7 => format!("({})[{}]", part(), part()),
        8 => format!("size({})", part()),
        // One level of comprehension, about things of the outer expression.
        _ => format!(
            "[1, 'a', true].{which}(x, x == 1 || ({}))",
            random_leaf(&leaves, depth)
        ),
    }
}

fn random_leaf<'a>(leaves: &[&'a str], depth: u32) -> &'a str {
    leaves[depth as usize * 5]
}
