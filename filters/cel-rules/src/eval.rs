//! Finds the value of an expression, within a number of steps.

use std::cmp::Ordering;
use std::rc::Rc;

use kit::Stream;

use crate::attribute::{self, ATTRIBUTES};
use crate::compile::{Binary, Fold, Node};
use crate::value::{Error, NO_KEY, NO_OVERLOAD, Val};

/// What is told when the steps are used up.
pub(crate) const TOO_MANY_STEPS: Error = "more steps than `maxSteps` allows";

/// The value of an attribute, if it is there.
type Known = Option<Val>;

/// The evaluation of rules for one request.
pub(crate) struct Evaluation<'a> {
    stream: &'a dyn Stream,
    steps: u32,
    /// Attributes that were asked for, and what they are if they are there.
    known: [Option<Known>; ATTRIBUTES.len()],
    /// Variables of comprehensions; an accumulator may have no value and get one again.
    locals: Vec<Result<Val, Error>>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(stream: &'a dyn Stream, steps: u32) -> Self {
        Self {
            stream,
            steps,
            known: [const { None }; ATTRIBUTES.len()],
            locals: Vec::new(),
        }
    }

    /// Returns whether an expression holds.
    pub(crate) fn holds(&mut self, node: &Node) -> Result<bool, Error> {
        self.locals.clear();
        match self.value(node)? {
            Val::Bool(value) => Ok(value),
            _ => Err("a value that is neither true nor false"),
        }
    }

    fn spend(&mut self, steps: u32) -> Result<(), Error> {
        self.steps = self.steps.checked_sub(steps).ok_or(TOO_MANY_STEPS)?;
        Ok(())
    }

    fn attribute(&mut self, attribute: usize) -> Option<Val> {
        let stream = self.stream;
        let known = self.known.get_mut(attribute)?;
        known
            .get_or_insert_with(|| attribute::value(attribute, stream))
            .clone()
    }

    pub(crate) fn value(&mut self, node: &Node) -> Result<Val, Error> {
        self.spend(1)?;
        Ok(match node {
            Node::Constant(value) => value.clone(),
            Node::Attribute(which) => {
                let value = self
                    .attribute(*which)
                    .unwrap_or_else(|| attribute::absent(*which));
                self.spend(value.weight())?;
                value
            }
            Node::HasAttribute(which) => Val::Bool(self.attribute(*which).is_some()),
            Node::Header(name) => {
                self.spend(8)?;
                attribute::header(self.stream, name).ok_or(NO_KEY)?
            }
            Node::HasHeader(name) => {
                self.spend(4)?;
                Val::Bool(self.stream.header(kit::Side::Request, name).is_some())
            }
            Node::Local(local) => self.locals.get(*local).cloned().unwrap_or(Ok(Val::Null))?,
            Node::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.value(item))
                    .collect::<Result<_, _>>()?;
                Val::List(Rc::new(items))
            }
            Node::Map(entries) => self.map(entries)?,
            Node::Index(both) => {
                let [map, key] = &**both;
                let (map, key) = (self.value(map)?, self.value(key)?);
                self.spend(map.weight() / 4)?;
                map.index(&key)?
            }
            Node::Has(map, key) => {
                let map = self.value(map)?;
                match &map {
                    Val::Map(_) => Val::Bool(map.contains(key)?),
                    _ => return Err(NO_OVERLOAD),
                }
            }
            Node::Not(inner) => match self.value(inner)? {
                Val::Bool(value) => Val::Bool(!value),
                _ => return Err(NO_OVERLOAD),
            },
            Node::Negate(inner) => self.value(inner)?.negate()?,
            Node::And(both) => self.either(both, false)?,
            Node::Or(both) => self.either(both, true)?,
            Node::Choose(three) => {
                let [condition, yes, no] = &**three;
                match self.value(condition)? {
                    Val::Bool(true) => self.value(yes)?,
                    Val::Bool(false) => self.value(no)?,
                    _ => return Err(NO_OVERLOAD),
                }
            }
            Node::NotFalse(inner) => match self.value(inner) {
                Err(TOO_MANY_STEPS) => return Err(TOO_MANY_STEPS),
                value => Val::Bool(!matches!(value, Ok(Val::Bool(false)))),
            },
            Node::Binary(operator, both) => {
                let [a, b] = &**both;
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.spend(a.weight().saturating_add(b.weight()))?;
                binary(*operator, &a, &b)?
            }
            Node::Call(function, arguments) => {
                let arguments: Vec<Val> = arguments
                    .iter()
                    .map(|argument| self.value(argument))
                    .collect::<Result<_, _>>()?;
                let weight = arguments
                    .iter()
                    .fold(0_u32, |all, value| all.saturating_add(value.weight()));
                self.spend(weight)?;
                function.call(&arguments)?
            }
            Node::Fold(fold) => self.fold(fold)?,
        })
    }

    /// `&&` and `||`: the side that decides does, whatever becomes of the other.
    fn either(&mut self, [a, b]: &[Node; 2], decides: bool) -> Result<Val, Error> {
        let a = match self.value(a) {
            Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
            Ok(Val::Bool(_)) => Ok(()),
            Ok(_) => Err(NO_OVERLOAD),
            Err(TOO_MANY_STEPS) => return Err(TOO_MANY_STEPS),
            Err(error) => Err(error),
        };
        match self.value(b)? {
            Val::Bool(value) if value == decides => Ok(Val::Bool(decides)),
            Val::Bool(_) => a.map(|()| Val::Bool(!decides)),
            _ => Err(NO_OVERLOAD),
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Result<Val, Error> {
        let mut made: Vec<(Val, Val)> = Vec::new();
        for (key, value) in entries {
            let (key, value) = (self.value(key)?, self.value(value)?);
            if !matches!(
                key,
                Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Text(_)
            ) {
                return Err("a key that is no text, number or flag");
            }
            match made.iter_mut().find(|(k, _)| k.equals(&key)) {
                Some((_, old)) => *old = value,
                None => made.push((key, value)),
            }
        }
        Ok(Val::Map(Rc::new(made)))
    }

    fn fold(&mut self, fold: &Fold) -> Result<Val, Error> {
        let items: Vec<Val> = match self.value(&fold.range)? {
            Val::List(items) => items.to_vec(),
            Val::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            _ => return Err(NO_OVERLOAD),
        };
        let depth = self.locals.len();
        let value = self.fold_from(depth, items, fold);
        self.locals.truncate(depth);
        value
    }

    fn fold_from(&mut self, depth: usize, items: Vec<Val>, fold: &Fold) -> Result<Val, Error> {
        let mut result = self.value(&fold.start);
        for item in items {
            self.locals.truncate(depth);
            self.locals.push(result.clone());
            self.locals.push(Ok(item));
            if !matches!(self.value(&fold.condition)?, Val::Bool(true)) {
                break;
            }
            result = self.value(&fold.step);
            if result.as_ref().is_err_and(|error| *error == TOO_MANY_STEPS) {
                return result;
            }
        }
        self.locals.truncate(depth);
        self.locals.push(result);
        self.value(&fold.result)
    }
}

fn binary(operator: Binary, a: &Val, b: &Val) -> Result<Val, Error> {
    let ordered = |holds: fn(Ordering) -> bool| {
        a.compare(b)
            .map(|order| Val::Bool(order.is_some_and(holds)))
    };
    match operator {
        Binary::Equal => Ok(Val::Bool(a.equals(b))),
        Binary::NotEqual => Ok(Val::Bool(!a.equals(b))),
        Binary::Less => ordered(Ordering::is_lt),
        Binary::LessOrEqual => ordered(Ordering::is_le),
        Binary::Greater => ordered(Ordering::is_gt),
        Binary::GreaterOrEqual => ordered(Ordering::is_ge),
        Binary::Add => a.add(b),
        Binary::Subtract => a.subtract(b),
        Binary::Multiply => a.multiply(b),
        Binary::Divide => a.divide(b),
        Binary::Remainder => a.remainder(b),
        Binary::In => b.contains(a).map(Val::Bool),
    }
}
