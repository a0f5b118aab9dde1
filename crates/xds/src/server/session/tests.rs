use proptest::{collection::vec, prelude::any};
use proto::google::rpc::Status;

use super::*;
use crate::server::Snapshot;

mod late;
mod on_demand;
mod order;

const ADDRESS: &str = "type.googleapis.com/test.Address";
const POLICY: &str = "type.googleapis.com/test.Policy";

/// One stream over one catalog, written down as text.
struct Stream {
    catalog: Arc<Catalog>,
    session: Session,
}

impl Stream {
    fn new() -> Self {
        let order: Arc<[String]> = [POLICY.to_owned(), ADDRESS.to_owned()].into();
        Self {
            catalog: Catalog::new(),
            session: Session::new(7, order),
        }
    }

    /// Edits the catalog: `name=content` puts, `-name` removes.
    fn publish(&self, type_url: &str, edits: &[&str]) {
        self.catalog
            .edit(|snapshot| edit(snapshot, type_url, edits));
    }

    fn request(&mut self, request: Request) -> Option<Answer> {
        let catalog = Arc::clone(&self.catalog);
        self.session.request(request, |_, _| Some(catalog)).unwrap()
    }

    /// Opens a wildcard subscription that brings `retained` along.
    fn open(&mut self, type_url: &str, retained: &[(&str, &str)]) {
        let retained = retained
            .iter()
            .map(|(name, version)| ((*name).into(), (*version).into()));
        self.request(Request {
            initial_resource_versions: retained.collect(),
            ..request(type_url)
        });
    }

    /// All responses that are due, each as `type: +put -removed`, and their nonces.
    fn send(&mut self) -> (Vec<String>, Vec<(String, String)>) {
        let (mut texts, mut nonces) = (Vec::new(), Vec::new());
        while let Some(response) = self.session.next_response() {
            nonces.push((response.type_url.clone(), response.nonce.clone()));
            texts.push(text(&response));
        }
        (texts, nonces)
    }

    /// A whole round: compared, sent, acknowledged.
    fn round(&mut self) -> Vec<String> {
        self.session.round();
        let (texts, nonces) = self.send();
        for (type_url, nonce) in nonces {
            self.answer(&type_url, &nonce, None);
        }
        texts
    }

    fn answer(&mut self, type_url: &str, nonce: &str, nack: Option<&str>) -> Option<Answer> {
        let error = |message: &str| Status {
            code: 3,
            message: message.into(),
            details: vec![],
        };
        self.request(Request {
            response_nonce: nonce.into(),
            error_detail: nack.map(error),
            ..request(type_url)
        })
    }

    fn holding(&self, type_url: &str) -> &Holding {
        let found = self.session.holdings().find(|(url, _)| &***url == type_url);
        found.expect("the type is subscribed").1
    }
}

fn edit(snapshot: &mut Snapshot, type_url: &str, edits: &[&str]) {
    let resources = snapshot.resources_mut(type_url);
    for edit in edits {
        if let Some(name) = edit.strip_prefix('-') {
            resources.remove(name);
        } else {
            let (name, content) = edit.split_once('=').expect("name=content");
            resources.put(name, Entry::new(content.as_bytes().to_vec()));
        }
    }
}

fn request(type_url: &str) -> Request {
    Request {
        type_url: type_url.into(),
        ..Request::default()
    }
}

fn version(content: &str) -> String {
    Entry::new(content.as_bytes().to_vec())
        .version()
        .to_string()
}

fn text(response: &Response) -> String {
    let mut words = vec![
        response
            .type_url
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_owned(),
    ];
    for put in &response.resources {
        let any = put.resource.as_ref().expect("every resource has content");
        assert_eq!(any.type_url, response.type_url);
        let content = String::from_utf8_lossy(&any.value);
        assert_eq!(put.version, version(&content));
        let all = [&put.name].into_iter().chain(&put.aliases);
        let names: Vec<&str> = all.map(String::as_str).collect();
        words.push(format!("+{}={content}", names.join("|")));
    }
    words.extend(
        response
            .removed_resources
            .iter()
            .map(|name| format!("-{name}")),
    );
    words.join(" ")
}

#[test]
fn a_type_without_resources_is_answered_emptily() {
    let mut stream = Stream::new();
    stream.open(ADDRESS, &[]);
    stream.open(POLICY, &[]);
    assert!(stream.session.is_owed());
    assert_eq!(stream.round(), ["Policy", "Address"]);
    assert!(!stream.session.is_owed());
    assert!(stream.round().is_empty(), "only once");
}

#[test]
fn a_type_without_view_is_answered_emptily_too() {
    let mut session = Session::new(1, Arc::default());
    session.request(request(ADDRESS), |_, _| None).unwrap();
    session.round();
    assert_eq!(
        session.next_response().map(|r| text(&r)),
        Some("Address".to_owned())
    );
}

#[test]
fn only_differences_are_sent() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["a=1", "b=1", "c=1"]);
    stream.open(ADDRESS, &[]);
    assert_eq!(stream.round(), ["Address +a=1 +b=1 +c=1"]);
    stream.publish(ADDRESS, &["b=2", "-c", "d=1"]);
    assert_eq!(stream.round(), ["Address +b=2 +d=1 -c"]);
    assert!(stream.round().is_empty());
}

#[test]
fn a_reconnecting_client_gets_what_changed_while_it_was_away() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["same=1", "changed=2", "new=1", "versionless=1"]);
    stream.open(
        ADDRESS,
        &[
            ("same", &version("1")),
            ("changed", &version("1")),
            ("versionless", ""),
            ("gone", &version("1")),
        ],
    );
    assert_eq!(
        stream.round(),
        ["Address +changed=2 +new=1 +versionless=1 -gone"]
    );
}

#[test]
fn a_reconnecting_client_that_missed_nothing_gets_an_empty_answer() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["a=1"]);
    stream.open(ADDRESS, &[("a", &version("1"))]);
    assert_eq!(stream.round(), ["Address"]);
    assert!(stream.holding(ADDRESS).is_current());
    assert_eq!(
        stream.holding(ADDRESS).version("a"),
        Some(Entry::new("1").version())
    );
}

#[test]
fn what_was_replaced_before_it_was_sent_is_never_sent() {
    let mut stream = Stream::new();
    stream.open(ADDRESS, &[]);
    stream.session.round();
    let (_, nonces) = stream.send();
    assert!(
        !stream.session.is_settled(),
        "the next round waits for the answer"
    );
    for content in ["a=1", "a=2", "b=1", "-b", "a=3"] {
        stream.publish(ADDRESS, &[content]);
    }
    stream.answer(ADDRESS, &nonces[0].1, None);
    assert!(stream.session.is_settled());
    assert_eq!(stream.round(), ["Address +a=3"]);
}

#[test]
fn a_rejected_resource_is_not_sent_again_until_it_changes() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["good=1", "bad=1"]);
    stream.open(ADDRESS, &[]);
    stream.session.round();
    let (_, nonces) = stream.send();
    let answer = stream
        .answer(ADDRESS, &nonces[0].1, Some("bad: no address"))
        .unwrap();
    let acked: Vec<_> = answer.acked.iter().map(|(name, _)| &**name).collect();
    assert_eq!(acked, ["good"]);
    assert_eq!(
        (&*answer.rejected[0].name, &*answer.rejected[0].reason),
        ("bad", "no address")
    );
    assert_eq!(stream.holding(ADDRESS).version("bad"), None);
    assert!(stream.holding(ADDRESS).version("good").is_some());

    assert!(stream.round().is_empty());
    stream.publish(ADDRESS, &["good=2"]);
    assert_eq!(stream.round(), ["Address +good=2"]);
    assert_eq!(stream.holding(ADDRESS).rejected().count(), 1);
    stream.publish(ADDRESS, &["bad=2"]);
    assert_eq!(stream.round(), ["Address +bad=2"]);
    assert_eq!(stream.holding(ADDRESS).rejected().count(), 0);
}

#[test]
fn removing_a_rejected_resource_settles_it() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["bad=1"]);
    stream.open(ADDRESS, &[]);
    stream.session.round();
    let (_, nonces) = stream.send();
    stream.answer(ADDRESS, &nonces[0].1, Some("bad: no address"));
    stream.publish(ADDRESS, &["-bad"]);
    assert_eq!(stream.round(), ["Address -bad"]);
    assert_eq!(stream.holding(ADDRESS).rejected().count(), 0);
}

#[test]
fn foreign_and_repeated_nonces_answer_nothing() {
    let mut stream = Stream::new();
    stream.open(ADDRESS, &[]);
    stream.open(POLICY, &[]);
    stream.session.round();
    let (_, nonces) = stream.send();
    let (policy, address) = (&nonces[0].1, &nonces[1].1);
    assert_eq!(stream.answer(ADDRESS, "other", None), None);
    assert_eq!(stream.answer(ADDRESS, policy, None), None, "another type's");
    assert!(stream.answer(ADDRESS, address, None).is_some());
    assert_eq!(
        stream.answer(ADDRESS, address, None),
        None,
        "answered already"
    );
    assert!(!stream.session.is_settled());
    assert!(stream.answer(POLICY, policy, None).is_some());
    assert!(stream.session.is_settled());
}

#[test]
fn a_client_is_current_once_it_answered_the_newest_generation() {
    let mut stream = Stream::new();
    stream.publish(ADDRESS, &["a=1"]);
    stream.open(ADDRESS, &[]);
    stream.open(POLICY, &[]);
    assert!(!stream.holding(ADDRESS).is_current());
    stream.round();
    assert!(stream.holding(ADDRESS).is_current());

    stream.publish(ADDRESS, &["a=2"]);
    assert!(!stream.holding(ADDRESS).is_current());
    assert_eq!(
        stream.holding(ADDRESS).version("a"),
        Some(Entry::new("1").version())
    );
    stream.session.round();
    let (_, nonces) = stream.send();
    assert!(
        !stream.holding(ADDRESS).is_current(),
        "sent is not answered"
    );
    assert!(
        stream.holding(POLICY).is_current(),
        "nothing changed for this type"
    );
    stream.answer(ADDRESS, &nonces[0].1, None);
    assert!(stream.holding(ADDRESS).is_current());
    assert_eq!(
        stream.holding(ADDRESS).version("a"),
        Some(Entry::new("2").version())
    );
}

#[test]
fn a_request_without_type_is_ignored() {
    let mut stream = Stream::new();
    assert_eq!(stream.request(Request::default()), None);
    assert!(stream.round().is_empty());
}

#[test]
fn a_stream_has_a_bounded_number_of_types() {
    let mut session = Session::new(1, Arc::default());
    for n in 0..MAX_TYPES {
        session
            .request(request(&format!("type{n}")), |_, _| None)
            .unwrap();
    }
    assert_eq!(
        session.request(request("one too many"), |_, _| None),
        Err(Excess::Types)
    );
}

#[test]
fn the_node_is_remembered_from_any_request_that_has_one() {
    let mut stream = Stream::new();
    let node = Node {
        id: "ztunnel~".to_owned(),
        ..Node::default()
    };
    stream.request(Request {
        node: Some(node.clone()),
        ..request(ADDRESS)
    });
    stream.open(POLICY, &[]);
    assert_eq!(stream.session.node(), &node);
}

proptest::proptest! {
    /// A fuzz target in small: whatever decodes as a request is survived.
    #[test]
    fn any_request_is_survived(
        requests in vec(vec(any::<u8>(), 0..64), 0..8),
        names in vec(any::<String>(), 0..8),
    ) {
        use prost::Message as _;
        let mut stream = Stream::new();
        stream.publish(ADDRESS, &["a=1"]);
        for bytes in requests {
            let mut any = Request::decode(bytes.as_slice()).unwrap_or_default();
            any.resource_names_subscribe.extend(names.iter().cloned());
            any.type_url = ADDRESS.to_owned();
            stream.request(any);
            stream.round();
        }
    }
}
