//! Configurations of the filters: read as another parser reads them, and told with a place if not.
#![no_main]

use kit::config::{self, Object};
use kit::fake::Fake;
use kit::json::{self, Json, Keys};
use kit::{Template, When};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Two readers of one text read one value; a proxy that checks it is one of them.
fn agrees(bytes: &[u8]) {
    let ours = json::parse(bytes, Keys::Any);
    let theirs = serde_json::from_slice::<Value>(bytes);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => {
            let written = ours.to_string();
            assert_eq!(&serde_json::from_str::<Value>(&written).unwrap(), theirs);
            // What is written loses nothing, so reading it again changes nothing.
            let again = json::parse(written.as_bytes(), Keys::Any).unwrap();
            assert_eq!((&again, again.to_string()), (ours, written));
        }
        (Err(mistake), _) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!((1..=lines).contains(&mistake.line) && mistake.column > 0);
            assert!(mistake.column <= bytes.len() + 1, "{mistake}");
            assert!(
                theirs.is_err() || mistake.what == "nested too deeply",
                "{mistake}"
            );
        }
        // A number too large for a double is still a number.
        (Ok(_), Err(theirs)) => assert!(theirs.to_string().contains("out of range"), "{theirs}"),
    }
    if let Ok(unique) = json::parse(bytes, Keys::Unique) {
        assert_eq!(Ok(unique), ours);
    }
}

/// Every text of a tree.
fn texts<'j>(json: &'j Json, found: &mut Vec<&'j str>) {
    match json {
        Json::Text(text) => found.push(text),
        Json::List(items) => items.iter().for_each(|item| texts(item, found)),
        Json::Object(members) => members.iter().for_each(|(_, value)| texts(value, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    agrees(bytes);
    let Ok(tree) = config::parse(bytes) else {
        return;
    };
    let request = Fake::get("/a/b?c=d").with("x-a", "1");
    let mut found = vec![];
    texts(&tree, &mut found);
    for text in found {
        if let Ok(template) = Template::parse(text)
            && let Some(value) = template.render(&request)
        {
            assert!(
                kit::header::is_value(&value),
                "no line of its own: {text:?}"
            );
        }
    }
    let Ok(mut object) = Object::root(&tree) else {
        return;
    };
    // As a condition by itself, and as filters have it, below a name.
    if let Ok(when) = When::read_in(&mut object, true) {
        let holds = when.holds(&request);
        assert!(holds || !when.is_empty());
        assert_eq!(holds, when.clone().holds(&request));
    }
    if let Some(field) = object.get("when")
        && let Err(why) = When::read(&field)
    {
        assert!(why.contains("when"), "{why}");
    }
});
