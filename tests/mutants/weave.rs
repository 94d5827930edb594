//! Weaves the mutants that cargo-mutants lists into the sources, each behind a switch.
//!
//! `weave SRC LIST LEFT_OUT` rewrites the files below SRC in place. LIST is what `cargo mutants --list --json`
//! prints; a mutant's number is its place there, from 1. LEFT_OUT names the numbers, one a line, that do not compile.
//! What cannot be woven is printed, a number a line, with a minus before those that would not compile either.
//!
//! Nothing that stands in the source is written twice, so mutants nest: an operator becomes a match over its operands
//! with one arm for each mutant. `/*[17,18*/` and `/*]*/` stand around what belongs to mutants, so that an error of the
//! compiler is traced to them.
//!
//! Unlike cargo-mutants, which replaces text, an operator keeps its operands: `a - b * c` becomes `a - (b + c)`.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

/// What is replaced: genre, and line and column where it begins.
type Place = (String, usize, usize);
/// The number of each mutant at a place, and what it puts there.
type Mutants = Vec<(usize, String)>;

fn main() {
    let args: Vec<String> = env::args().collect();
    let [_, src, list, left_out] = args.as_slice() else {
        panic!("weave SRC LIST LEFT_OUT")
    };
    let listed: Vec<Value> = serde_json::from_str(&fs::read_to_string(list).unwrap()).unwrap();
    let left_out = fs::read_to_string(left_out).unwrap_or_default();
    let left_out: BTreeSet<usize> = left_out.lines().map(|line| line.parse().unwrap()).collect();
    let mut files: BTreeMap<String, BTreeMap<Place, Mutants>> = BTreeMap::new();
    for (at, mutant) in listed.iter().enumerate() {
        if left_out.contains(&(at + 1)) {
            continue;
        }
        let text = |of: &Value| of.as_str().unwrap().to_owned();
        let start = &mutant["span"]["start"];
        let number = |of: &Value| usize::try_from(of.as_u64().unwrap()).unwrap();
        let place = (
            text(&mutant["genre"]),
            number(&start["line"]),
            number(&start["column"]),
        );
        let places = files.entry(text(&mutant["file"])).or_default();
        places
            .entry(place)
            .or_default()
            .push((at + 1, text(&mutant["replacement"])));
    }
    for (file, places) in files {
        let path = format!("{src}/{}", file.trim_start_matches("src/"));
        let source = fs::read_to_string(&path).unwrap();
        let mut weaver = Weaver {
            source: &source,
            places,
            unviable: Vec::new(),
            edits: Vec::new(),
            depth: 0,
        };
        weaver.visit_file(&syn::parse_file(&source).unwrap());
        fs::write(&path, weaver.woven()).unwrap();
        for number in weaver.unviable {
            println!("-{number}");
        }
        for (number, _) in weaver.places.values().flatten() {
            println!("{number}");
        }
    }
}

/// Text for a range of the source; what stands around a node is two empty ranges.
struct Edit {
    start: usize,
    end: usize,
    /// At one offset what closes comes first, innermost first; then what opens, outermost first.
    order: i64,
    text: String,
}

struct Weaver<'s> {
    source: &'s str,
    /// What was not woven yet.
    places: BTreeMap<Place, Mutants>,
    unviable: Vec<usize>,
    edits: Vec<Edit>,
    depth: i64,
}

impl Weaver<'_> {
    fn take(&mut self, genre: &str, span: proc_macro2::Span) -> Option<Mutants> {
        let start = span.start();
        self.places
            .remove(&(genre.to_owned(), start.line, start.column + 1))
    }

    fn put_back(&mut self, genre: &str, span: proc_macro2::Span, mutants: Mutants) {
        let start = span.start();
        self.places
            .insert((genre.to_owned(), start.line, start.column + 1), mutants);
    }

    fn around(&mut self, span: proc_macro2::Span, mutants: &Mutants, before: &str, after: &str) {
        let range = span.byte_range();
        let numbers: Vec<String> = mutants
            .iter()
            .map(|(number, _)| number.to_string())
            .collect();
        let opened = format!("/*[{}*/{before}", numbers.join(","));
        self.edit(range.start, range.start, self.depth, opened);
        self.edit(range.end, range.end, -self.depth, format!("{after}/*]*/"));
    }

    fn instead(&mut self, span: proc_macro2::Span, text: &str) {
        let range = span.byte_range();
        self.edit(range.start, range.end, 0, text.to_owned());
    }

    fn edit(&mut self, start: usize, end: usize, order: i64, text: String) {
        self.edits.push(Edit {
            start,
            end,
            order,
            text,
        });
    }

    fn woven(&mut self) -> String {
        self.edits.sort_by_key(|edit| (edit.start, edit.order));
        let (mut woven, mut at) = (String::new(), 0);
        for edit in &self.edits {
            woven += &self.source[at..edit.start];
            woven += &edit.text;
            at = edit.end;
        }
        woven + &self.source[at..]
    }

    fn binary(&mut self, i: &syn::ExprBinary, mutants: &Mutants) {
        let op = &self.source[i.op.span().byte_range()];
        let one = mutants[0].0;
        match i.op {
            BinOp::Eq(_) | BinOp::Ne(_) => {
                self.around(i.span(), mutants, "((", &format!(") != {})", switch(one)));
            }
            // Both are "look at the other side if this one is so", and the mutant if it is not so.
            BinOp::And(_) | BinOp::Or(_) => {
                let is = if matches!(i.op, BinOp::And(_)) {
                    "!="
                } else {
                    "=="
                };
                let then = format!("; if __l {is} {} {{ ", switch(one));
                self.around(
                    i.span(),
                    mutants,
                    "({ let __l: bool = ",
                    " } else { __l } })",
                );
                self.instead(i.op.span(), &then);
            }
            _ if is_assignment(&i.op) => {
                let range = i.left.span().byte_range().start..i.op.span().byte_range().end;
                // The place is written once for each mutant, so nothing may be woven into it.
                if self.edits.iter().any(|edit| range.contains(&edit.start)) {
                    return self.put_back("BinaryOperator", i.op.span(), mutants.clone());
                }
                let place = &self.source[i.left.span().byte_range()];
                let after = format!("; {} }}", choice(mutants, op, place));
                self.around(i.span(), mutants, "{ let __r = ", &after);
                self.edit(range.start, range.end, self.depth + 1, String::new());
            }
            _ => {
                let by_reference = matches!(
                    i.op,
                    BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
                );
                let (open, between) = if by_reference {
                    ("&(", "), &(")
                } else {
                    ("(", "), (")
                };
                let after = format!(")) {{ (__l, __r) => {} }})", choice(mutants, op, "__l"));
                self.around(i.span(), mutants, &format!("(match ({open}"), &after);
                self.instead(i.op.span(), between);
            }
        }
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (Some(first), None) = (block.stmts.first(), signature.constness) else {
            return;
        };
        let Some(mutants) = self.take("FnValue", first.span()) else {
            return;
        };
        let braces = block.brace_token.span;
        let open = braces.open().byte_range().end;
        let close = braces.close().byte_range().start;
        // `impl Iterator` is one type, so what any of them returns is chained.
        if let syn::ReturnType::Type(_, kind) = &signature.output
            && let syn::Type::ImplTrait(_) = &**kind
        {
            let mut after = String::from("};");
            let on: Vec<String> = mutants.iter().map(|(number, _)| switch(*number)).collect();
            after += &format!(
                "(!({})).then(__whole).into_iter().flatten()",
                on.join(" || ")
            );
            for (number, value) in &mutants {
                let then = format!("{}.then(|| {value}).into_iter().flatten()", switch(*number));
                after += &format!(".chain(/*[{number}*/ {then} /*]*/)");
            }
            self.edit(open, open, 0, String::from(" let __whole = move || {"));
            return self.edit(close, close, 0, after);
        }
        let mut text = String::new();
        for (number, value) in &mutants {
            let when = switch(*number);
            text += &format!(" /*[{number}*/ if {when} {{ return {value}; }} /*]*/");
        }
        self.edit(open, open, 0, text);
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_item_fn(&mut self, i: &'ast syn::ItemFn) {
        self.body(&i.sig, &i.block);
        if i.sig.constness.is_some() {
            return;
        }
        visit::visit_item_fn(self, i);
    }

    fn visit_impl_item_fn(&mut self, i: &'ast syn::ImplItemFn) {
        self.body(&i.sig, &i.block);
        if i.sig.constness.is_some() {
            return;
        }
        visit::visit_impl_item_fn(self, i);
    }

    fn visit_trait_item_fn(&mut self, i: &'ast syn::TraitItemFn) {
        if let Some(block) = &i.default {
            self.body(&i.sig, block);
        }
        visit::visit_trait_item_fn(self, i);
    }

    fn visit_expr(&mut self, i: &'ast Expr) {
        self.depth += 1;
        visit::visit_expr(self, i);
        self.depth -= 1;
    }

    fn visit_expr_binary(&mut self, i: &'ast syn::ExprBinary) {
        visit::visit_expr_binary(self, i);
        let Some(mutants) = self.take("BinaryOperator", i.op.span()) else {
            return;
        };
        // `if let A(b) = c && d`: with `||` it does not compile.
        if binds(&i.left) || binds(&i.right) {
            self.unviable
                .extend(mutants.iter().map(|(number, _)| *number));
        } else {
            self.binary(i, &mutants);
        }
    }

    fn visit_expr_unary(&mut self, i: &'ast syn::ExprUnary) {
        visit::visit_expr_unary(self, i);
        let Some(mutants) = self.take("UnaryOperator", i.op.span()) else {
            return;
        };
        let op = if matches!(i.op, UnOp::Not(_)) {
            "!"
        } else {
            "-"
        };
        let number = mutants[0].0;
        let after =
            format!(") {{ __v => if crate::mutant({number}) {{ __v }} else {{ {op}__v }} }})");
        self.around(i.span(), &mutants, "(match (", &after);
        let op = i.op.span().byte_range();
        self.edit(op.start, op.end, self.depth + 1, String::new());
    }

    /// Without an arm for everything else no other arm can be missing.
    fn visit_expr_match(&mut self, i: &'ast syn::ExprMatch) {
        let is_rest = |arm: &syn::Arm| arm.guard.is_none() && matches!(arm.pat, syn::Pat::Wild(_));
        if !i.arms.iter().any(is_rest) {
            for arm in &i.arms {
                let mutants = self.take("MatchArm", arm.span());
                self.unviable
                    .extend(mutants.iter().flatten().map(|(number, _)| *number));
            }
        }
        visit::visit_expr_match(self, i);
    }

    fn visit_arm(&mut self, i: &'ast syn::Arm) {
        visit::visit_arm(self, i);
        if let Some(mutants) = self.take("MatchArm", i.span()) {
            let at = i.pat.span().byte_range().end;
            let number = mutants[0].0;
            self.edit(
                at,
                at,
                0,
                format!(" if /*[{number}*/ !crate::mutant({number}) /*]*/"),
            );
        }
        let Some((_, guard)) = &i.guard else { return };
        let Some(mutants) = self.take("MatchArmGuard", guard.span()) else {
            return;
        };
        if binds(guard) {
            return self.put_back("MatchArmGuard", guard.span(), mutants);
        }
        let mut before = String::new();
        for (number, replacement) in &mutants {
            let so = if replacement == "true" { "||" } else { "&&" };
            let not = if replacement == "true" { "" } else { "!" };
            before += &format!("{not}crate::mutant({number}) {so} (");
        }
        let after = ")".repeat(mutants.len());
        self.around(guard.span(), &mutants, &before, &after);
    }

    fn visit_expr_struct(&mut self, i: &'ast syn::ExprStruct) {
        visit::visit_expr_struct(self, i);
        let whole = i.span().byte_range();
        let mut before = String::new();
        let mut mutants = Mutants::new();
        for pair in i.fields.pairs() {
            let Some(mutant) = self.take("StructField", pair.value().span()) else {
                continue;
            };
            let number = mutant[0].0;
            let start = &self.source[whole.start..pair.value().span().byte_range().start];
            let end = &self.source[pair.span().byte_range().end..whole.end];
            let when = switch(number);
            before += &format!("if {when} {{ /*[{number}*/ {start} {end} /*]*/ }} else ");
            mutants.extend(mutant);
        }
        if !mutants.is_empty() {
            self.around(i.span(), &mutants, &format!("({before}{{ "), " })");
        }
    }

    /// Switches are no constants.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
}

fn switch(number: usize) -> String {
    format!("crate::mutant({number})")
}

/// The operation as it stands, then those of the mutants: where types differ, the mutant's is the wrong one.
fn choice(mutants: &Mutants, op: &str, left: &str) -> String {
    let on: Vec<String> = mutants.iter().map(|(number, _)| switch(*number)).collect();
    let mut text = format!("if !({}) {{ {left} {op} __r }}", on.join(" || "));
    for (at, (number, replacement)) in mutants.iter().enumerate() {
        let last = at + 1 == mutants.len();
        let when = if last {
            String::new()
        } else {
            format!("if {} ", on[at])
        };
        text += &format!(" else {when}{{ /*[{number}*/ {left} {replacement} __r /*]*/ }}");
    }
    text
}

/// It binds a name with `let`, so that what comes after it may need that.
fn binds(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

fn is_assignment(op: &BinOp) -> bool {
    use BinOp::{AddAssign, BitAndAssign, BitOrAssign, BitXorAssign, DivAssign};
    use BinOp::{MulAssign, RemAssign, ShlAssign, ShrAssign, SubAssign};
    matches!(
        op,
        AddAssign(_)
            | SubAssign(_)
            | MulAssign(_)
            | DivAssign(_)
            | RemAssign(_)
            | BitXorAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
    )
}
