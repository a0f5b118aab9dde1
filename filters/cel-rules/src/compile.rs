//! Turns the text of an expression into a tree in which every name has been found.
//!
//! The parser is that of the `cel` crate, macros included. Its evaluator is not used: it knows no
//! bound on time, a request would have to be copied into its values before it starts, and it makes
//! the module 350 KiB larger.

use std::rc::Rc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr};
use cel::parser::PrattParser;

use crate::attribute::{ATTRIBUTES, find, is_prefix};
use crate::function::{Function, cidr};
use crate::value::Val;

/// An expression is not longer.
const LONGEST: usize = 4096;
/// Nor has it more parts, or parts within parts.
const NODES: usize = 1000;
const DEPTH: u16 = 64;
/// Comprehensions within comprehensions.
const NESTED: usize = 2;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Val),
    Attribute(usize),
    HasAttribute(usize),
    /// `request.headers["name"]`, without making the map.
    Header(Rc<str>),
    HasHeader(Rc<str>),
    Local(usize),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Index(Box<[Node; 2]>),
    Has(Box<Node>, Val),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Choose(Box<[Node; 3]>),
    NotFalse(Box<Node>),
    Binary(Binary, Box<[Node; 2]>),
    Call(Function, Vec<Node>),
    Fold(Box<Fold>),
}

/// An operator with two sides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    In,
}

/// A comprehension: what `all`, `exists`, `map` and the like come to.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) start: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

type Result<T> = std::result::Result<T, String>;

/// Compiles an expression.
pub(crate) fn compile(source: &str) -> Result<Node> {
    if source.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    // The parser walks through parentheses without counting them.
    if brackets(source) > usize::from(DEPTH) {
        return Err(format!("it has brackets nested more than {DEPTH} deep"));
    }
    let parsed = PrattParser::new()
        .max_recursion_depth(DEPTH)
        .max_expression_node_count(NODES)
        .error_reporting_limit(1)
        .parse(source);
    let parsed = parsed.map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "it is not CEL".to_owned(),
            |error| {
                format!(
                    "it is not CEL: {} at line {} column {}",
                    error.msg, error.pos.0, error.pos.1
                )
            },
        )
    })?;
    let mut compiler = Compiler {
        locals: Vec::new(),
        nested: 0,
        depth: 0,
    };
    compiler.node(&parsed)
}

struct Compiler {
    /// Variables of comprehensions around here, the innermost last.
    locals: Vec<String>,
    nested: usize,
    depth: u16,
}

/// How deep brackets outside of texts are nested.
fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest, mut quote, mut escaped) = (0_usize, 0, None, false);
    for c in source.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl Compiler {
    fn node(&mut self, expr: &IdedExpr) -> Result<Node> {
        // A guest's stack is small, and evaluation goes as deep as this.
        if self.depth == DEPTH {
            return Err(format!("it has parts nested more than {DEPTH} deep"));
        }
        self.depth += 1;
        let node = self.part(expr);
        self.depth -= 1;
        node
    }

    fn part(&mut self, expr: &IdedExpr) -> Result<Node> {
        Ok(match &expr.expr {
            Expr::Literal(literal) => Node::Constant(constant(literal)),
            Expr::Ident(name) => self.name(name)?,
            Expr::Select(select) => self.select(select)?,
            Expr::Call(call) => self.call(call)?,
            Expr::List(list) => Node::List(self.nodes(&list.elements)?),
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err("it has a message where a map should be".to_owned());
                    };
                    entries.push((self.node(&entry.key)?, self.node(&entry.value)?));
                }
                Node::Map(entries)
            }
            Expr::Comprehension(comprehension) => self.fold(comprehension)?,
            Expr::Struct(message) => {
                return Err(format!(
                    "it makes a message `{}`; there are none",
                    message.type_name
                ));
            }
            Expr::Unspecified => return Err("it has a part that is nothing".to_owned()),
        })
    }

    fn nodes(&mut self, exprs: &[IdedExpr]) -> Result<Vec<Node>> {
        exprs.iter().map(|expr| self.node(expr)).collect()
    }

    fn boxed(&mut self, expr: &IdedExpr) -> Result<Box<Node>> {
        self.node(expr).map(Box::new)
    }

    fn name(&self, name: &str) -> Result<Node> {
        if let Some(local) = self.locals.iter().rposition(|local| local == name) {
            return Ok(Node::Local(local));
        }
        find(name).map(Node::Attribute).ok_or_else(|| {
            if is_prefix(name) {
                format!("`{name}` alone is no value; {}", allowed(name))
            } else {
                format!("`{name}` is unknown; {}", allowed(""))
            }
        })
    }

    /// The dotted name an expression spells, unless it begins with a local variable.
    fn dotted(&self, expr: &IdedExpr) -> Option<String> {
        match &expr.expr {
            Expr::Ident(name) if !self.locals.contains(name) => Some(name.clone()),
            Expr::Select(select) if !select.test => Some(format!(
                "{}.{}",
                self.dotted(&select.operand)?,
                select.field
            )),
            _ => None,
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Node> {
        if let Some(parent) = self.dotted(&select.operand) {
            let name = format!("{parent}.{}", select.field);
            if let Some(attribute) = find(&name) {
                return Ok(if select.test {
                    Node::HasAttribute(attribute)
                } else {
                    Node::Attribute(attribute)
                });
            }
            if parent == "request.headers" {
                let header = Rc::from(select.field.as_str());
                return Ok(if select.test {
                    Node::HasHeader(header)
                } else {
                    Node::Header(header)
                });
            }
            if is_prefix(&parent) {
                return Err(format!("`{name}` is unknown; {}", allowed(&parent)));
            }
        }
        let key = Val::text(&select.field);
        let operand = self.boxed(&select.operand)?;
        Ok(if select.test {
            Node::Has(operand, key)
        } else {
            Node::Index(Box::new([*operand, Node::Constant(key)]))
        })
    }

    fn call(&mut self, call: &CallExpr) -> Result<Node> {
        if call.target.is_none()
            && let Some(node) = self.operator(&call.func_name, &call.args)?
        {
            return Ok(node);
        }
        let all: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        let function = Function::find(&call.func_name, all.len(), call.target.is_some())?;
        let arguments = all
            .into_iter()
            .map(|expr| self.node(expr))
            .collect::<Result<Vec<_>>>()?;
        if let (Function::InCidr, [_, Node::Constant(Val::Text(block))]) =
            (function, arguments.as_slice())
            && cidr(block).is_none()
        {
            return Err(format!(
                "{:?} is no block of addresses; allowed is one such as 10.0.0.0/8",
                &**block
            ));
        }
        Ok(Node::Call(function, arguments))
    }

    fn operator(&mut self, name: &str, arguments: &[IdedExpr]) -> Result<Option<Node>> {
        Ok(Some(match (name, arguments) {
            ("!_", [one]) => Node::Not(self.boxed(one)?),
            ("-_", [one]) => Node::Negate(self.boxed(one)?),
            ("@not_strictly_false", [one]) => Node::NotFalse(self.boxed(one)?),
            ("_?_:_", [condition, yes, no]) => Node::Choose(Box::new([
                self.node(condition)?,
                self.node(yes)?,
                self.node(no)?,
            ])),
            ("_&&_", [a, b]) => Node::And(Box::new([self.node(a)?, self.node(b)?])),
            ("_||_", [a, b]) => Node::Or(Box::new([self.node(a)?, self.node(b)?])),
            ("_[_]", [map, key]) => {
                let is_headers = self
                    .dotted(map)
                    .is_some_and(|name| name == "request.headers");
                match (is_headers, self.node(key)?) {
                    (true, Node::Constant(Val::Text(name))) => Node::Header(lower(&name)),
                    (_, key) => Node::Index(Box::new([self.node(map)?, key])),
                }
            }
            ("@in", [item, list]) => {
                let is_headers = self
                    .dotted(list)
                    .is_some_and(|name| name == "request.headers");
                match (is_headers, self.node(item)?) {
                    (true, Node::Constant(Val::Text(name))) => Node::HasHeader(lower(&name)),
                    (_, item) => Node::Binary(Binary::In, Box::new([item, self.node(list)?])),
                }
            }
            (name, [a, b]) => match binary(name) {
                Some(operator) => Node::Binary(operator, Box::new([self.node(a)?, self.node(b)?])),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    fn fold(&mut self, expr: &ComprehensionExpr) -> Result<Node> {
        if self.nested == NESTED {
            return Err(format!(
                "it has comprehensions nested more than {NESTED} deep"
            ));
        }
        if expr.iter_var2.is_some() {
            return Err("it has a comprehension of two variables; allowed is one".to_owned());
        }
        let range = self.node(&expr.iter_range)?;
        let start = self.node(&expr.accu_init)?;
        self.nested += 1;
        self.locals.push(expr.accu_var.clone());
        self.locals.push(expr.iter_var.clone());
        let (condition, step) = (self.node(&expr.loop_cond)?, self.node(&expr.loop_step)?);
        self.locals.pop();
        let result = self.node(&expr.result)?;
        self.locals.pop();
        self.nested -= 1;
        Ok(Node::Fold(Box::new(Fold {
            range,
            start,
            condition,
            step,
            result,
        })))
    }
}

/// Names of headers are in lower case, whatever an expression writes.
fn lower(name: &str) -> Rc<str> {
    Rc::from(name.to_ascii_lowercase())
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "_==_" => Binary::Equal,
        "_!=_" => Binary::NotEqual,
        "_<_" => Binary::Less,
        "_<=_" => Binary::LessOrEqual,
        "_>_" => Binary::Greater,
        "_>=_" => Binary::GreaterOrEqual,
        "_+_" => Binary::Add,
        "_-_" => Binary::Subtract,
        "_*_" => Binary::Multiply,
        "_/_" => Binary::Divide,
        "_%_" => Binary::Remainder,
        _ => return None,
    })
}

fn constant(literal: &LiteralValue) -> Val {
    match literal {
        LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Val::Bytes(Rc::from(bytes.inner())),
        LiteralValue::Double(n) => Val::Double(*n.inner()),
        LiteralValue::Int(n) => Val::Int(*n.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(text) => Val::text(text.inner()),
        LiteralValue::UInt(n) => Val::Uint(*n.inner()),
    }
}

/// Names what begins so.
fn allowed(prefix: &str) -> String {
    let names: Vec<_> = ATTRIBUTES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| {
            prefix.is_empty()
                || name
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.'))
        })
        .collect();
    format!("allowed are {}", names.join(", "))
}
