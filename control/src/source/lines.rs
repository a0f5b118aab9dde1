//! The side table of a document: where in the file each of its fields stands.
//!
//! It is kept for the life of an object, so it holds sixteen bytes a field and no text: a
//! fingerprint of the field's path, line and column.

use crate::object::FieldPath;

/// A place in a text file. Zero means unknown.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// Positions of the fields of one document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LineTable {
    start: Position,
    /// Sorted by fingerprint.
    fields: Box<[(u64, Position)]>,
}

impl LineTable {
    /// A table that knows only where the document begins.
    pub fn starting_at(start: Position) -> Self {
        Self {
            start,
            fields: Box::default(),
        }
    }

    /// A table of all `fields`, by the fingerprints of their paths, of a document that begins at
    /// `start`.
    pub fn new(start: Position, mut fields: Vec<(u64, Position)>) -> Self {
        fields.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        Self {
            start,
            fields: fields.into(),
        }
    }

    /// Where the document begins.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Where `field` stands. A field that is not there (a default, or one that is missing) is
    /// looked for at the nearest field above it.
    pub fn locate(&self, field: &FieldPath) -> Position {
        let mut path = field.clone();
        loop {
            let fingerprint = path.fingerprint();
            let found = self
                .fields
                .binary_search_by_key(&fingerprint, |(known, _)| *known);
            if let Some((_, position)) = found.ok().and_then(|at| self.fields.get(at)) {
                return *position;
            }
            match path.parent() {
                Some(above) => path = above,
                None => return self.start,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Position {
        Position { line, column: 3 }
    }

    #[test]
    fn a_field_that_is_missing_stands_where_its_parent_does() {
        let (spec, port) = (FieldPath::from("spec"), FieldPath::from("spec.ports[0]"));
        let fields = vec![(port.fingerprint(), at(9)), (spec.fingerprint(), at(5))];
        let table = LineTable::new(at(1), fields);
        assert_eq!(table.locate(&FieldPath::from("spec.ports[0]")), at(9));
        assert_eq!(table.locate(&FieldPath::from("spec.ports[0].name")), at(9));
        assert_eq!(table.locate(&FieldPath::from("spec.type")), at(5));
        assert_eq!(table.locate(&FieldPath::from("metadata.name")), at(1));
        assert_eq!(LineTable::starting_at(at(4)).locate(&spec), at(4));
    }
}
