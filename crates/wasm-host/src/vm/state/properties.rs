//! Properties that guests have set, and what they declared about them.

/// Path and value.
type Property = (Box<[u8]>, Box<[u8]>);

/// Properties a guest has set, by their path as it wrote it.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    entries: Vec<Property>,
    bytes: usize,
}

impl Properties {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&[u8]> {
        self.entries
            .iter()
            .find(|(p, _)| **p == *path)
            .map(|(_, value)| &**value)
    }

    /// Keeps a value, unless that would make more than `limit` bytes.
    pub(crate) fn set(&mut self, path: &[u8], value: &[u8], limit: usize) -> bool {
        let old = self.entries.iter_mut().find(|(p, _)| **p == *path);
        let freed = old.as_ref().map_or(0, |(p, v)| p.len() + v.len());
        let bytes = self.bytes - freed + path.len() + value.len();
        if bytes > limit {
            return false;
        }
        self.bytes = bytes;
        match old {
            Some((_, old)) => *old = Box::from(value),
            None => self.entries.push((Box::from(path), Box::from(value))),
        }
        true
    }
}

/// What a guest declared with `declare_property`; applies to every stream of the VM.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    entries: Vec<(Box<[u8]>, bool)>,
    bytes: usize,
}

/// Why a declaration is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotDeclared {
    /// There is one of this name.
    Again,
    /// There are too many.
    Full,
}

impl Declared {
    /// Remembers a property and whether it may be set only once.
    pub(crate) fn add(
        &mut self,
        path: &[u8],
        read_only: bool,
        limit: usize,
    ) -> Result<(), NotDeclared> {
        if self.entries.iter().any(|(p, _)| **p == *path) {
            return Err(NotDeclared::Again);
        }
        // Something for the entry itself, so that empty names are not free.
        let bytes = self.bytes + path.len() + size_of::<(Box<[u8]>, bool)>();
        if bytes > limit {
            return Err(NotDeclared::Full);
        }
        self.bytes = bytes;
        self.entries.push((Box::from(path), read_only));
        Ok(())
    }

    /// Returns whether a property may be set only once.
    pub(crate) fn is_read_only(&self, path: &[u8]) -> bool {
        let declared = self.entries.iter().find(|(p, _)| **p == *path);
        declared.is_some_and(|(_, read_only)| *read_only)
    }
}
