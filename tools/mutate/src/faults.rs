//! Finds places in a source file where a small fault can be put, and writes the file with all of them, each behind a
//! switch.
//!
//! Text is only inserted, never on a line of its own: line numbers stay those of the source. What a fault repeats of the
//! source is written without comments on one line.

use std::ops::Range;

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Block, Expr, ExprBinary, ImplItemFn, ItemConst, ItemFn, ItemMod, ItemStatic, Lit, Meta, Pat,
    ReturnType, Signature, Stmt, Type, UnOp,
};

/// One fault that can be switched on.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Where it is, as bytes of the source.
    pub(crate) span: Range<usize>,
    /// The line on which it starts.
    pub(crate) line: usize,
    /// The function around it.
    pub(crate) function: String,
    /// For people.
    pub(crate) what: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Another expression in place of the one that is there.
    Instead(String),
    /// The statement is left out.
    LeftOut,
    /// The function returns at once.
    ReturnAtOnce(String),
}

/// Finds the faults of a source file, in the order of their places.
pub(crate) fn find(source: &str) -> syn::Result<Vec<Fault>> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder { functions: Vec::new(), faults: Vec::new() };
    finder.visit_file(&file);
    Ok(finder.faults)
}

/// Text to insert at a place, and the fault that it belongs to.
struct Insert {
    at: usize,
    order: (u8, i64, i64),
    text: String,
    fault: usize,
}

/// The source with faults, and where in it each of the faults lies.
pub(crate) struct Mutated {
    pub(crate) text: String,
    /// Bytes of `text`, from the beginning of the switch to the end of what it switches; by fault.
    pub(crate) places: Vec<(usize, Range<usize>)>,
}

/// Writes a source with those of its faults that are given as (index, id).
pub(crate) fn apply(source: &str, faults: &[Fault], chosen: &[(usize, u32)]) -> Mutated {
    let mut inserts = Vec::new();
    for (rank, &(index, id)) in chosen.iter().enumerate() {
        let fault = &faults[index];
        let (before, after) = match &fault.kind {
            Kind::Instead(other) => (format!("(if crate::mutation::on({id}) {{ {other} }} else {{ "), " })".to_owned()),
            Kind::LeftOut => (format!("if !crate::mutation::on({id}) {{ "), " }".to_owned()),
            Kind::ReturnAtOnce(value) => {
                (format!(" if crate::mutation::on({id}) {{ return {value}; }} "), String::new())
            }
        };
        let (len, rank) = (fault.span.len() as i64, rank as i64);
        // At one place: what ends there first, the inner before the outer; then what begins, the outer first.
        inserts.push(Insert { at: fault.span.end, order: (0, len, -rank), text: after, fault: index });
        inserts.push(Insert { at: fault.span.start, order: (1, -len, rank), text: before, fault: index });
    }
    inserts.sort_by(|a, b| (a.at, a.order).cmp(&(b.at, b.order)));
    let mut text = String::with_capacity(source.len() * 4);
    let mut places: Vec<(usize, Range<usize>)> = Vec::new();
    let mut at = 0;
    for insert in inserts {
        text.push_str(&source[at..insert.at]);
        at = insert.at;
        let start = text.len();
        text.push_str(&insert.text);
        match places.iter_mut().find(|(index, _)| *index == insert.fault) {
            Some((_, place)) => place.end = place.end.max(text.len()),
            None => places.push((insert.fault, start..text.len())),
        }
    }
    text.push_str(&source[at..]);
    Mutated { text, places }
}

struct Finder {
    functions: Vec<String>,
    faults: Vec<Fault>,
}

impl Finder {
    fn add(&mut self, span: Span, what: impl Into<String>, kind: Kind) {
        let Some(function) = self.functions.last().cloned() else { return };
        let what = what.into();
        self.faults.push(Fault { span: span.byte_range(), line: span.start().line, function, what, kind });
    }

    fn instead(&mut self, expr: &Expr, other: String) {
        let what = format!("`{}` instead of `{}`", short(&other), short(&text(expr)));
        self.add(expr.span(), what, Kind::Instead(other));
    }

    /// A condition that no `let` belongs to is forced both ways.
    fn force(&mut self, condition: &Expr) {
        if holds_let(condition) {
            return;
        }
        self.instead(condition, "true".into());
        self.instead(condition, "false".into());
    }

    /// Looks into a condition that is forced already: to negate it as a whole would add nothing.
    fn visit_forced(&mut self, condition: &Expr) {
        match condition {
            Expr::MethodCall(_) => visit::visit_expr(self, condition),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => visit::visit_expr(self, &unary.expr),
            Expr::Macro(_) => {}
            _ => self.visit_expr(condition),
        }
    }

    fn function(
        &mut self,
        attributes: &[Attribute],
        signature: &Signature,
        body: &Block,
        visit: impl FnOnce(&mut Self),
    ) {
        if is_for_tests(attributes) || signature.constness.is_some() {
            return;
        }
        self.functions.push(signature.ident.to_string());
        for value in early_values(&signature.output) {
            let open = body.brace_token.span.open().byte_range().end;
            let line = signature.ident.span().start().line;
            let function = signature.ident.to_string();
            let what = format!("`{function}` returns `{value}` at once");
            self.faults.push(Fault { span: open..open, line, function, what, kind: Kind::ReturnAtOnce(value) });
        }
        visit(self);
        self.functions.pop();
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_const(&mut self, _: &'ast ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast ItemStatic) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.attrs, &item.sig, &item.block, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for (index, stmt) in block.stmts.iter().enumerate() {
            let leaves_out = match stmt {
                Stmt::Expr(Expr::Return(_) | Expr::Break(_) | Expr::Continue(_) | Expr::Macro(_), _) => false,
                Stmt::Expr(_, Some(_)) => true,
                Stmt::Expr(_, None) => index + 1 < block.stmts.len(),
                Stmt::Local(_) | Stmt::Item(_) | Stmt::Macro(_) => false,
            };
            if leaves_out {
                let what = format!("without `{}`", short(&text(stmt)));
                self.add(stmt.span(), what, Kind::LeftOut);
            }
        }
        visit::visit_block(self, block);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Binary(binary) => {
                if let Some(other) = other_operator(binary) {
                    self.instead(expr, other);
                }
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                self.instead(expr, text(&unary.expr));
                // Negating what is negated is the same fault.
                visit::visit_expr(self, &unary.expr);
                return;
            }
            Expr::MethodCall(call) if asks(&call.method.to_string()) => {
                self.instead(expr, format!("!({})", text(expr)))
            }
            Expr::Macro(call) if call.mac.path.is_ident("matches") => self.instead(expr, format!("!{}", text(expr))),
            Expr::If(branch) => {
                self.force(&branch.cond);
                self.visit_forced(&branch.cond);
                self.visit_block(&branch.then_branch);
                if let Some((_, other)) = &branch.else_branch {
                    self.visit_expr(other);
                }
                return;
            }
            Expr::Match(choice) => {
                let is_bool =
                    choice.arms.iter().any(|arm| matches!(&arm.pat, Pat::Lit(lit) if matches!(lit.lit, Lit::Bool(_))));
                if is_bool {
                    self.force(&choice.expr);
                    self.visit_forced(&choice.expr);
                } else {
                    self.visit_expr(&choice.expr);
                }
                for arm in &choice.arms {
                    if let Some((_, guard)) = &arm.guard {
                        self.force(guard);
                        self.visit_forced(guard);
                    }
                    self.visit_expr(&arm.body);
                }
                return;
            }
            Expr::Lit(lit) => match &lit.lit {
                Lit::Bool(value) => self.instead(expr, (!value.value).to_string()),
                Lit::Int(value) if value.base10_digits() == "0" => self.instead(expr, format!("1{}", value.suffix())),
                Lit::Int(value) if value.base10_digits() == "1" => self.instead(expr, format!("0{}", value.suffix())),
                _ => {}
            },
            Expr::Repeat(repeat) => return self.visit_expr(&repeat.expr),
            Expr::Const(_) => return,
            _ => {}
        }
        visit::visit_expr(self, expr);
    }
}

fn text(tokens: &impl ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

fn short(text: &str) -> String {
    let mut short: String = text.replace(" . ", ".").replace(" (", "(").replace("& ", "&").replace(" :: ", "::");
    short = short.replace("( ", "(").replace(" )", ")").replace(" ?", "?").replace(" ,", ",").replace(" ;", ";");
    short = short.replace('|', "¦").replace(['\n', '\t', '`'], " ");
    match short.char_indices().nth(90) {
        Some((at, _)) => format!("{}…", &short[..at]),
        None => short,
    }
}

fn holds_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(ExprBinary { left, right, .. }) => holds_let(left) || holds_let(right),
        _ => false,
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::NameValue(_) => false,
    })
}

fn asks(method: &str) -> bool {
    method.starts_with("is_")
        || matches!(method, "contains" | "contains_key" | "any" | "all" | "starts_with" | "ends_with" | "overlaps")
}

fn other_operator(binary: &ExprBinary) -> Option<String> {
    let other = match binary.op {
        BinOp::Eq(_) => "!=",
        BinOp::Ne(_) => "==",
        BinOp::Lt(_) => "<=",
        BinOp::Le(_) => "<",
        BinOp::Gt(_) => ">=",
        BinOp::Ge(_) => ">",
        BinOp::And(_) => "||",
        BinOp::Or(_) => "&&",
        BinOp::Add(_) => "-",
        BinOp::Sub(_) => "+",
        BinOp::Mul(_) => "/",
        BinOp::Div(_) => "*",
        _ => return None,
    };
    if holds_let(&binary.left) || holds_let(&binary.right) {
        return None;
    }
    Some(format!("({}) {other} ({})", text(&binary.left), text(&binary.right)))
}

/// What a function of this type can return without doing anything.
fn early_values(output: &ReturnType) -> Vec<String> {
    let ReturnType::Type(_, output) = output else { return vec![String::new()] };
    values(output)
}

fn values(of: &Type) -> Vec<String> {
    let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    match of {
        Type::Tuple(tuple) if tuple.elems.is_empty() => owned(&["()"]),
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return Vec::new() };
            let first_argument = match &last.arguments {
                syn::PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|a| match a {
                    syn::GenericArgument::Type(of) => Some(of),
                    _ => None,
                }),
                _ => None,
            };
            match last.ident.to_string().as_str() {
                "bool" => owned(&["true", "false"]),
                "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => owned(&["0"]),
                "String" | "Vec" | "BTreeMap" | "BTreeSet" | "Marks" | "ConsumedSet" => owned(&["Default::default()"]),
                "Option" => owned(&["None"]),
                "Result" => first_argument.map(values).unwrap_or_default().iter().map(|v| format!("Ok({v})")).collect(),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
