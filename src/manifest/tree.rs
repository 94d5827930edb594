//! Documents with computed parts, compiled ([`Node`]) and evaluated.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::scope::{Compiler, Frame, Trouble};
use super::text::{Branch, Tree};
use crate::expr::{Program, Scope, Template, Type, Value};

/// The most elements that an `each` may go over.
pub(super) const MAX_EACH: usize = 10_000;

/// A compiled [`Tree`].
#[derive(Debug, Clone)]
pub(super) enum Node {
    Const(Json),
    Text(Template),
    Expr {
        program: Program,
        optional: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Each(Box<Each>),
    When {
        condition: Program,
        value: Box<Node>,
        otherwise: Option<Box<Node>>,
    },
    Let {
        names: Vec<(String, Node)>,
        value: Box<Node>,
    },
}

/// `{ each = "list", as = "line", index = "n", when = "…", key = "…", flat = …, value = … }`
#[derive(Debug, Clone)]
pub(super) struct Each {
    pub(super) list: Program,
    name: String,
    index: Option<String>,
    pub(super) condition: Option<Program>,
    pub(super) key: Option<Template>,
    flat: bool,
    pub(super) value: Node,
}

const DIRECTIVES: [(&str, &[&str]); 5] = [
    ("expr", &["expr", "optional"]),
    (
        "each",
        &["each", "as", "index", "when", "key", "flat", "value"],
    ),
    ("let", &["let", "value"]),
    ("when", &["when", "value", "else"]),
    ("literal", &["literal"]),
];

impl Compiler {
    /// Compiles a document.
    pub(super) fn tree(&mut self, tree: &Tree, scope: &Scope, path: &str) -> Node {
        match tree.0.get_ref() {
            Branch::Scalar(value) => Node::Const(value.clone()),
            Branch::Text(text) => {
                let template = self.template_text(text, tree.0.span(), scope, path);
                match template.as_literal() {
                    Some(literal) => Node::Const(literal.into()),
                    None => Node::Text(template),
                }
            }
            Branch::List(items) => {
                let nodes = items.iter().enumerate();
                Node::List(
                    nodes
                        .map(|(n, item)| self.tree(item, scope, &format!("{path}[{n}]")))
                        .collect(),
                )
            }
            Branch::Table(entries) => self.entries(tree, entries, scope, path),
        }
    }

    fn entries(
        &mut self,
        tree: &Tree,
        entries: &[(String, Tree)],
        scope: &Scope,
        path: &str,
    ) -> Node {
        let has = |name: &str| entries.iter().any(|(key, _)| key == name);
        let directive = DIRECTIVES.iter().find(|(name, _)| has(name));
        let Some((kind, known)) = directive else {
            let nodes = entries.iter().map(|(key, value)| {
                (
                    key.clone(),
                    self.tree(value, scope, &format!("{path}.{key}")),
                )
            });
            return Node::Map(nodes.collect());
        };
        if let Some((key, _)) = entries
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()))
        {
            let message = format!("`{key}` does not belong beside `{kind}`");
            let help = format!(
                "`{kind}` computes and takes {}; a table that really has a key `{kind}` is \
                 written {{ literal = {{ … }} }}",
                known.join(", ")
            );
            self.error(path, tree.0.span(), message, Some(help));
        }
        let mut directive = Directive {
            compiler: self,
            tree,
            entries,
            path,
        };
        match *kind {
            "expr" => directive.expr(scope),
            "each" => directive.each(scope),
            "when" => directive.when(scope),
            "let" => directive.names(scope),
            _ => directive.literal(),
        }
    }
}

/// A table that computes, while it is compiled.
struct Directive<'a> {
    compiler: &'a mut Compiler,
    tree: &'a Tree,
    entries: &'a [(String, Tree)],
    path: &'a str,
}

impl<'a> Directive<'a> {
    fn get(&self, name: &str) -> Option<&'a Tree> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    fn wrong(&mut self, message: &str) {
        self.compiler
            .error(self.path, self.tree.0.span(), message, None);
    }

    fn program(&mut self, name: &str, scope: &Scope) -> Option<Program> {
        let tree = self.get(name)?;
        let Branch::Text(text) = tree.0.get_ref() else {
            self.wrong(&format!("`{name}` must be an expression in quotes"));
            return None;
        };
        Some(self.compiler.program(text, tree.0.span(), scope, self.path))
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.get(name).map(|tree| tree.0.get_ref()) {
            None => false,
            Some(Branch::Scalar(Json::Bool(flag))) => *flag,
            Some(_) => {
                self.wrong(&format!("`{name}` must be true or false"));
                false
            }
        }
    }

    fn needed(&mut self, name: &str, scope: &Scope) -> Node {
        let Some(tree) = self.get(name) else {
            self.wrong(&format!("`{name}` is missing"));
            return Node::Const(Json::Null);
        };
        self.compiler.tree(tree, scope, self.path)
    }

    fn expr(&mut self, scope: &Scope) -> Node {
        let optional = self.flag("optional");
        let Some(program) = self.program("expr", scope) else {
            return Node::Const(Json::Null);
        };
        Node::Expr { program, optional }
    }

    fn each(&mut self, scope: &Scope) -> Node {
        let name = match self.get("as").map(|tree| tree.0.get_ref()) {
            Some(Branch::Text(name)) if !name.is_empty() => name.clone(),
            _ => {
                self.wrong("`as` must name the element, such as \"line\"");
                "it".to_owned()
            }
        };
        let index = match self.get("index").map(|tree| tree.0.get_ref()) {
            Some(Branch::Text(name)) if !name.is_empty() => Some(name.clone()),
            None => None,
            Some(_) => {
                self.wrong("`index` must name the element's number, from 0");
                None
            }
        };
        let list = self.program("each", scope);
        let mut inner = scope.clone().root(&name, Type::Dyn);
        if let Some(index) = &index {
            inner = inner.root(index, Type::Number);
        }
        let condition = self.program("when", &inner);
        let key = self.get("key").and_then(|tree| match tree.0.get_ref() {
            Branch::Text(text) => {
                Some(
                    self.compiler
                        .template_text(text, tree.0.span(), &inner, self.path),
                )
            }
            _ => None,
        });
        let flat = self.flag("flat");
        let value = self.needed("value", &inner);
        let Some(list) = list else {
            return Node::Const(Json::Null);
        };
        Node::Each(Box::new(Each {
            list,
            name,
            index,
            condition,
            key,
            flat,
            value,
        }))
    }

    fn when(&mut self, scope: &Scope) -> Node {
        let condition = self.program("when", scope);
        let value = Box::new(self.needed("value", scope));
        let otherwise = self
            .get("else")
            .map(|tree| Box::new(self.compiler.tree(tree, scope, self.path)));
        let Some(condition) = condition else {
            return Node::Const(Json::Null);
        };
        Node::When {
            condition,
            value,
            otherwise,
        }
    }

    fn names(&mut self, scope: &Scope) -> Node {
        let groups: Vec<&Tree> = match self.get("let") {
            None => Vec::new(),
            Some(tree) => match tree.0.get_ref() {
                Branch::List(items) => items.iter().collect(),
                _ => vec![tree],
            },
        };
        let mut inner = scope.clone();
        let mut names = Vec::new();
        for group in groups {
            let Branch::Table(entries) = group.0.get_ref() else {
                self.wrong("`let` must be a table of names and values, or a list of such tables");
                continue;
            };
            let outer = inner.clone();
            for (name, tree) in entries {
                names.push((name.clone(), self.compiler.tree(tree, &outer, self.path)));
                inner = inner.root(name, Type::Dyn);
            }
        }
        Node::Let {
            names,
            value: Box::new(self.needed("value", &inner)),
        }
    }

    fn literal(&mut self) -> Node {
        Node::Const(self.get("literal").map(plain).unwrap_or_default())
    }
}

/// A document as it is written, nothing computed.
fn plain(tree: &Tree) -> Json {
    match tree.0.get_ref() {
        Branch::Scalar(value) => value.clone(),
        Branch::Text(text) => text.as_str().into(),
        Branch::List(items) => items.iter().map(plain).collect(),
        Branch::Table(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect(),
    }
}

impl Node {
    /// The document; `None` when the whole of it is left out.
    pub(super) fn eval(&self, frame: &Frame<'_>) -> Result<Option<Json>, Trouble> {
        match self {
            Self::Const(value) => Ok(Some(value.clone())),
            Self::Text(template) => {
                let value = template.eval(frame).map_err(|error| Trouble::new(&error))?;
                Ok(Some(value.into_json()))
            }
            Self::Expr { program, optional } => match program.eval(frame) {
                Ok(value) if *optional && value.is_null() => Ok(None),
                Ok(value) => Ok(Some(value.into_json())),
                Err(error) => {
                    let trouble = Trouble::new(&error);
                    if *optional && trouble.missing {
                        Ok(None)
                    } else {
                        Err(trouble)
                    }
                }
            },
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (n, item) in items.iter().enumerate() {
                    let item = item
                        .eval(frame)
                        .map_err(|trouble| trouble.within(&format!("[{n}]")))?;
                    list.extend(item);
                }
                Ok(Some(list.into()))
            }
            Self::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    if let Some(value) = value.eval(frame).map_err(|trouble| trouble.within(key))? {
                        map.insert(key.clone(), value);
                    }
                }
                Ok(Some(map.into()))
            }
            Self::Each(each) => each.eval(frame).map(Some),
            Self::Let { names, value } => {
                let mut known: Vec<(&str, Json)> = Vec::with_capacity(names.len());
                for (name, node) in names {
                    let roots: Vec<(&str, &Json)> =
                        known.iter().map(|(name, it)| (*name, it)).collect();
                    let json = node
                        .json(&frame.with(&roots))
                        .map_err(|it| it.within(name))?;
                    known.push((name, json));
                }
                let roots: Vec<(&str, &Json)> =
                    known.iter().map(|(name, it)| (*name, it)).collect();
                value.eval(&frame.with(&roots))
            }
            Self::When {
                condition,
                value,
                otherwise,
            } => {
                let truth = condition
                    .eval_bool(frame)
                    .map_err(|error| Trouble::new(&error))?;
                match (truth, otherwise) {
                    (true, _) => value.eval(frame),
                    (false, Some(otherwise)) => otherwise.eval(frame),
                    (false, None) => Ok(None),
                }
            }
        }
    }

    /// The document, or null when the whole of it is left out.
    pub(super) fn json(&self, frame: &Frame<'_>) -> Result<Json, Trouble> {
        self.eval(frame).map(Option::unwrap_or_default)
    }
}

impl Each {
    fn eval(&self, frame: &Frame<'_>) -> Result<Json, Trouble> {
        let list = elements(&self.list, frame)?;
        let (mut values, mut map) = (Vec::with_capacity(list.len()), Map::new());
        for (n, item) in list.iter().enumerate() {
            let number = Json::from(n);
            let mut roots = vec![(self.name.as_str(), item)];
            roots.extend(self.index.as_deref().map(|index| (index, &number)));
            let inner = frame.with(&roots);
            let here = |trouble: Trouble| trouble.within(&format!("[{n}]"));
            if let Some(condition) = &self.condition {
                let kept = condition
                    .eval_bool(&inner)
                    .map_err(|error| here(Trouble::new(&error)))?;
                if !kept {
                    continue;
                }
            }
            let Some(value) = self.value.eval(&inner).map_err(here)? else {
                continue;
            };
            let Some(key) = &self.key else {
                match value {
                    Json::Array(inner) if self.flat => values.extend(inner),
                    value => values.push(value),
                }
                continue;
            };
            let key = key
                .eval_text(&inner)
                .map_err(|error| here(Trouble::new(&error)))?;
            if map.insert(key, value).is_some() {
                return Err(Trouble::told("two elements have the same key"));
            }
        }
        Ok(if self.key.is_some() {
            map.into()
        } else {
            values.into()
        })
    }
}

/// The elements of a list that an expression gives, or `{ key, value }` for each of a map; bounded.
pub(super) fn elements<'a>(
    list: &'a Program,
    frame: &'a Frame<'a>,
) -> Result<Cow<'a, [Json]>, Trouble> {
    let value = list.eval(frame).map_err(|error| Trouble::new(&error))?;
    let kind = value.kind();
    let entry = |(key, value)| json!({ "key": key, "value": value });
    let items: Cow<'a, [Json]> = match value {
        Value::List(items) => items.into_iter().map(Value::into_json).collect(),
        Value::Json(Json::Array(items)) => Cow::Borrowed(items),
        Value::Json(Json::Object(fields)) => fields.iter().map(entry).collect(),
        Value::Map(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(key, value)| json!({ "key": key, "value": value.into_json() }))
                .collect()
        }
        _ => return Err(Trouble::told(format!("expected a list, found {kind}"))),
    };
    if items.len() > MAX_EACH {
        return Err(Trouble::told(format!("more than {MAX_EACH} elements")));
    }
    Ok(items)
}
