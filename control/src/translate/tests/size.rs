//! temporary
use super::*;
use crate::source::Event;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::time::Instant;
#[test]
fn size() {
    let (n_services, per) = (2000, 5);
    let mut text = String::from("[");
    for i in 0..n_services {
        let ns = i / 100;
        write!(text, r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"s{i}","namespace":"n{ns}"}},"spec":{{"clusterIP":"10.{}.{}.{}","selector":{{"app":"a{i}"}},"ports":[{{"name":"http","port":80,"targetPort":8080}}]}}}},"#, 100 + i / 65536, (i / 256) % 256, i % 256).unwrap();
        for j in 0..per {
            let k = i * per + j;
            write!(text, r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{i}-{j}","namespace":"n{ns}","labels":{{"app":"a{i}","version":"v1","pod-template-hash":"h{i}","tier":"t"}},"annotations":{{"ambient.istio.io/redirection":"enabled"}}}},"spec":{{"nodeName":"n{}","containers":[{{"name":"app","image":"x","ports":[{{"containerPort":8080}}]}}]}},"status":{{"phase":"Running","podIP":"10.{}.{}.{}","conditions":[{{"type":"Ready","status":"True"}}]}}}},"#, k % 50, 150 + k / 65536, (k / 256) % 256, k % 256).unwrap();
        }
        if i % 5 == 0 {
            write!(text, r#"{{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{{"name":"r{i}","namespace":"n{ns}"}},"spec":{{"parentRefs":[{{"group":"","kind":"Service","name":"s{i}"}}],"rules":[{{"backendRefs":[{{"name":"s{i}","port":80}}]}}]}}}},"#).unwrap();
            write!(text, r#"{{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{{"name":"a{i}","namespace":"n{ns}"}},"spec":{{"selector":{{"matchLabels":{{"app":"a{i}"}}}},"rules":[{{"from":[{{"source":{{"namespaces":["n{ns}"]}}}}]}}]}}}},"#).unwrap();
        }
    }
    text.pop();
    text.push(']');
    let values: Vec<Value> = serde_json::from_str(&text).unwrap();
    let documents = values
        .into_iter()
        .map(|value| Document {
            value,
            origin: Default::default(),
        })
        .collect();
    let mut store = Store::new(Timestamp::UNIX_EPOCH);
    let t = Instant::now();
    store.apply(
        Event::Snapshot {
            scope: scope(),
            documents,
            unreadable: vec![],
        },
        Timestamp::UNIX_EPOCH,
    );
    eprintln!(
        "store {:?} {} objects, findings {}",
        t.elapsed(),
        store.objects().len(),
        store.findings().len()
    );
    let rss = || {
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmRSS"))
            .unwrap()
            .to_owned()
    };
    eprintln!("{}", rss());
    let mut tr = Translator::new(Settings::default());
    let t = Instant::now();
    tr.update(store.objects());
    eprintln!(
        "first {:?} worked {} resources {} readers",
        t.elapsed(),
        tr.worked(),
        tr.resources().addresses.len()
    );
    eprintln!("{}", rss());
    let pod = documents_of(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"new","namespace":"n0","labels":{"app":"a0"}},"spec":{"containers":[{"name":"app","image":"x"}]},"status":{"phase":"Running","podIP":"10.1.1.1"}}"#,
    );
    store.apply(
        Event::Applied {
            scope: scope(),
            document: pod,
        },
        Timestamp::UNIX_EPOCH,
    );
    let t = Instant::now();
    let w = tr.worked();
    tr.update(store.objects());
    eprintln!("one pod {:?} work {}", t.elapsed(), tr.worked() - w);
    let svc = documents_of(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s0","namespace":"n0"},"spec":{"clusterIP":"10.100.0.0","selector":{"app":"a0"},"ports":[{"name":"http","port":81,"targetPort":8080}]}}"#,
    );
    store.apply(
        Event::Applied {
            scope: scope(),
            document: svc,
        },
        Timestamp::UNIX_EPOCH,
    );
    let t = Instant::now();
    let w = tr.worked();
    tr.update(store.objects());
    eprintln!("one service {:?} work {}", t.elapsed(), tr.worked() - w);
}
fn documents_of(text: &str) -> Document {
    Document {
        value: serde_json::from_str(text).unwrap(),
        origin: Default::default(),
    }
}
