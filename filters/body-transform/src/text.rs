//! Replaces texts, in a whole body or while it passes.

use kit::config::{Object, Result};

/// Longer texts are not looked for.
const LONGEST: usize = 1024;

/// Texts and what stands for them.
#[derive(Clone, Debug)]
pub(crate) struct Replacements {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which bytes a text begins with.
    firsts: [bool; 256],
}

/// What became of some bytes.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Replaced {
    pub(crate) bytes: Vec<u8>,
    pub(crate) changed: bool,
    /// The bytes up to here are final; those after may be the beginning of a text.
    pub(crate) done: usize,
}

impl Replacements {
    pub(crate) fn read(object: &mut Object<'_>) -> Result<Self> {
        let pairs = object.each("text", |field| {
            let mut object = field.object()?;
            let find = object.need("find")?;
            let text = find.some_text()?;
            if text.len() > LONGEST {
                return Err(find.wrong("text of 1024 bytes at most"));
            }
            let replace = object.need("replace")?.text()?;
            object.finish()?;
            Ok((text.as_bytes().to_vec(), replace.as_bytes().to_vec()))
        })?;
        let mut firsts = [false; 256];
        for (first, begins) in firsts.iter_mut().enumerate() {
            *begins = pairs.iter().any(|(find, _): &(Vec<u8>, _)| {
                find.first().is_some_and(|b| usize::from(*b) == first)
            });
        }
        Ok(Self { pairs, firsts })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Replaces from `from` on. What was put in is not looked at again; of several texts at one
    /// place the first configured wins. Unless this is the `last` of the body, it stops where a
    /// text may begin that goes on in bytes yet to come.
    pub(crate) fn apply(&self, bytes: &[u8], from: usize, last: bool) -> Replaced {
        let mut out = bytes.get(..from).unwrap_or(bytes).to_vec();
        let (mut rest, mut changed) = (bytes.get(from..).unwrap_or_default(), false);
        let begins = |b: &u8| self.firsts.get(usize::from(*b)) == Some(&true);
        while let Some(at) = rest.iter().position(begins) {
            let (before, here) = rest.split_at(at);
            out.extend_from_slice(before);
            rest = here;
            let mut found = None;
            for (find, replace) in &self.pairs {
                if rest.starts_with(find) {
                    found = Some((find.len(), replace));
                    break;
                }
                if !last && find.starts_with(rest) {
                    let done = out.len();
                    out.extend_from_slice(rest);
                    return Replaced {
                        bytes: out,
                        changed,
                        done,
                    };
                }
            }
            let length = if let Some((length, replace)) = found {
                out.extend_from_slice(replace);
                changed = true;
                length
            } else {
                out.extend_from_slice(rest.get(..1).unwrap_or_default());
                1
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        let done = out.len();
        Replaced {
            bytes: out,
            changed,
            done,
        }
    }
}
