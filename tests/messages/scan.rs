//! What the product says, read out of its sources.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Expr, Lit, Pat};

use super::advice::Advices;
use super::wording::{Argument, has_words, name_of_type, split, wording};

/// One message in the sources.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// From the repository's top.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// As the catalogue writes it.
    pub(crate) text: String,
    /// What the code itself says to do about it.
    pub(crate) advice: Vec<String>,
}

/// Everything that is said in the sources below `top`.
pub(crate) fn scan(top: &Path) -> Vec<Said> {
    let mut files = Vec::new();
    for part in ["proto/src", "engine/src", "cli/src"] {
        sources(&top.join(part), &mut files);
    }
    files.sort();
    let parsed: Vec<_> = files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("a readable source");
            let file = syn::parse_file(&text).expect("a source the compiler reads");
            let name = path.strip_prefix(top).expect("below the top");
            (name.display().to_string(), file)
        })
        .collect();
    read(&parsed)
}

/// Everything that is said in sources, given by name.
pub(crate) fn read(parsed: &[(String, syn::File)]) -> Vec<Said> {
    let mut said = Vec::new();
    let mut variants = HashMap::new();
    for (name, file) in parsed {
        let mut scan = Scan::new(name);
        scan.visit_file(file);
        for (key, index) in scan.variants {
            let indexes: &mut Vec<usize> = variants.entry(key).or_default();
            indexes.push(said.len() + index);
        }
        said.extend(scan.said);
    }
    for (name, file) in parsed {
        let mut advices = Advices::default();
        advices.visit_file(file);
        for (variant, texts) in advices.found {
            let indexes = variants.get(&variant).map_or(&[][..], Vec::as_slice);
            // Two enums may have one name: the one in the same file is meant.
            let near = indexes
                .iter()
                .copied()
                .filter(|&index| said[index].file == *name);
            let meant = match near.collect::<Vec<_>>() {
                near if near.is_empty() => indexes.to_vec(),
                near => near,
            };
            for index in meant {
                said[index].advice.extend(texts.iter().cloned());
            }
        }
    }
    said
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if path.is_dir() && name != "tests" {
            sources(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
}

pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Path>()
                    .is_ok_and(|path| path.is_ident("test"))
    })
}

/// Collects what one file says.
struct Scan<'a> {
    file: &'a str,
    said: Vec<Said>,
    /// Type and variant, and the place in `said`; a struct is its own variant.
    variants: Vec<((String, String), usize)>,
    /// What local names hold.
    locals: BTreeMap<String, Vec<String>>,
    /// Hints by the place of the call they are appended to.
    hints: HashMap<(usize, usize), Vec<String>>,
    /// The type whose functions are being read.
    kind: String,
    /// Within the `Display` of a type that is a message by itself.
    shows: bool,
}

/// The macros of tracing that an operator reads without asking for more.
const LEVELS: [&str; 3] = ["warn", "error", "info"];

/// Types whose field `what` or `why` is a message.
const RECORDS: [&str; 4] = ["Warning", "Alarm", "Failure", "Value"];

/// Types that write whole messages by hand.
const SHOWN: [&str; 2] = ["Concern", "Recovery"];

impl<'a> Scan<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            said: Vec::new(),
            variants: Vec::new(),
            locals: BTreeMap::new(),
            hints: HashMap::new(),
            kind: String::new(),
            shows: false,
        }
    }

    fn add(&mut self, line: usize, text: String, advice: &[String]) {
        if has_words(&text) || text.contains("{action}") {
            self.said.push(Said {
                file: self.file.to_owned(),
                line,
                text,
                advice: advice.to_vec(),
            });
        }
    }

    /// An `#[error("...")]` on a variant or a struct.
    fn add_error(
        &mut self,
        kind: &str,
        variant: &str,
        attributes: &[syn::Attribute],
        fields: &syn::Fields,
    ) {
        let Some(error) = attributes.iter().find(|a| a.path().is_ident("error")) else {
            return;
        };
        let Ok(list) = error.meta.require_list() else {
            return;
        };
        let names: Vec<String> = fields.iter().map(|field| name_of_type(&field.ty)).collect();
        let Some(text) = format_text(list.tokens.clone(), &names) else {
            return;
        };
        let line = line_of(error);
        let before = self.said.len();
        self.add(line, text, &[]);
        if self.said.len() > before {
            self.variants
                .push(((kind.to_owned(), variant.to_owned()), before));
        }
    }

    /// A call of one of tracing's macros.
    fn add_logged(&mut self, name: &syn::Ident, tokens: &TokenStream) {
        let parts = split(tokens.clone());
        let literal = |part: &TokenStream| syn::parse2::<syn::LitStr>(part.clone()).ok();
        let format = parts
            .iter()
            .enumerate()
            .find_map(|(at, part)| Some((at, literal(part)?)));
        let Some((at, format)) = format else {
            return;
        };
        let arguments: Vec<_> = parts[at + 1..]
            .iter()
            .flat_map(|part| Argument::read(part.clone(), &[]))
            .collect();
        self.add(
            line_of(name),
            wording(&format.value(), &arguments, &[]),
            &[],
        );
    }

    /// What a macro holds that is no expression by itself, `tokio::select!` for one.
    fn look_into(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let whole = TokenStream::from(token.clone());
                    match syn::parse2::<syn::Block>(whole) {
                        Ok(block) => self.visit_block(&block),
                        Err(_) => self.look_into(group.stream()),
                    }
                }
                TokenTree::Ident(name) if LEVELS.iter().any(|level| name == level) => {
                    if let [_, TokenTree::Punct(_), TokenTree::Group(group), ..] = &tokens[at..] {
                        self.add_logged(name, &group.stream());
                    }
                }
                _ => {}
            }
        }
    }

    fn texts(&self, expr: &Expr) -> Vec<String> {
        texts(expr, &self.locals)
    }
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.locals.clear();
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.locals.clear();
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        self.kind = name_of_self(&item.self_ty);
        let shown = SHOWN.contains(&self.kind.as_str());
        let of_display = |(path, _): &(syn::Path, _)| token_text(path).ends_with("Display");
        self.shows = shown && item.trait_.as_ref().is_some_and(of_display);
        visit::visit_item_impl(self, item);
        self.shows = false;
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        for variant in &item.variants {
            let (kind, name) = (item.ident.to_string(), variant.ident.to_string());
            self.add_error(&kind, &name, &variant.attrs, &variant.fields);
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let name = item.ident.to_string();
        self.add_error(&name, &name, &item.attrs, &item.fields);
        visit::visit_item_struct(self, item);
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        if !is_test(&branch.attrs) {
            visit::visit_expr_if(self, branch);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let name = match &local.pat {
            Pat::Ident(name) => &name.ident,
            Pat::Type(typed) => match &*typed.pat {
                Pat::Ident(name) => &name.ident,
                _ => return,
            },
            // `let (whose, what) = if ...`: each name has its place in the branches' tuples.
            Pat::Tuple(tuple) => {
                if let Some(init) = &local.init {
                    for (place, pat) in tuple.elems.iter().enumerate() {
                        if let Pat::Ident(name) = pat {
                            let found = tuple_texts(&init.expr, place, &self.locals);
                            self.locals.insert(name.ident.to_string(), found);
                        }
                    }
                }
                return;
            }
            _ => return,
        };
        if let Some(init) = &local.init {
            let found = self.texts(&init.expr);
            self.locals.insert(name.to_string(), found);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let Some(name) = call.path.segments.last() else {
            return;
        };
        if name.ident == "write" && self.shows {
            let format = split(call.tokens.clone()).into_iter().skip(1);
            let mut tokens = TokenStream::new();
            for part in format {
                tokens.extend(part);
                tokens.extend(quote::quote!(,));
            }
            if let Some(text) = format_text(tokens, &[]) {
                self.add(line_of(&name.ident), text, &[]);
            }
        }
        if LEVELS.iter().any(|level| name.ident == level) {
            self.add_logged(&name.ident, &call.tokens);
        } else if name.ident != "format" {
            self.look_into(call.tokens.clone());
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "hint" || call.method == "advice" {
            if let (Some(base), Some(hint)) = (base_call(&call.receiver), call.args.first()) {
                let found = self.texts(hint);
                self.hints.entry(place_of(base)).or_default().extend(found);
            }
        } else if call.method == "ok_or" || call.method == "ok_or_else" {
            for text in call
                .args
                .iter()
                .flat_map(|arg| self.texts(arg))
                .collect::<Vec<_>>()
            {
                self.add(line_of(&call.method), text, &[]);
            }
        } else if call.method == "write_str" && self.shows {
            for text in call
                .args
                .iter()
                .flat_map(|arg| self.texts(arg))
                .collect::<Vec<_>>()
            {
                self.add(line_of(&call.method), text, &[]);
            }
        } else if call.method == "push"
            && let Expr::Path(_) | Expr::Field(_) = &*call.receiver
            && token_text(&call.receiver).ends_with("warnings")
        {
            for text in call
                .args
                .iter()
                .flat_map(|arg| self.texts(arg))
                .collect::<Vec<_>>()
            {
                self.add(line_of(&call.method), text, &[]);
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let said = match token_text(&call.func).as_str() {
            "Failure :: new" | "Self :: new" if self.file.starts_with("cli") => call.args.get(1),
            "Failure :: usage" | "Err" | "io :: Error :: other" | "std :: io :: Error :: other" => {
                call.args.first()
            }
            "Diagnosis :: fault"
            | "Refused :: new"
            | "io :: Error :: new"
            | "std :: io :: Error :: new" => call.args.get(1),
            _ => None,
        };
        if let Some(said) = said {
            let hints = self.hints.remove(&place_of(call)).unwrap_or_default();
            for text in self.texts(said) {
                self.add(line_of(call), text, &hints);
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        let kind = literal
            .path
            .segments
            .last()
            .map(|last| last.ident.to_string());
        let kind = match kind.as_deref() {
            Some("Self") => &self.kind,
            Some(other) => other,
            None => "",
        };
        if RECORDS.contains(&kind) {
            let field = |name: &str| {
                literal.fields.iter().find(
                    |field| matches!(&field.member, syn::Member::Named(named) if named == name),
                )
            };
            let advice = field("advice").map_or_else(Vec::new, |field| self.texts(&field.expr));
            for field in [field("what"), field("why")].into_iter().flatten() {
                for text in self.texts(&field.expr) {
                    self.add(line_of(&field.expr), text, &advice);
                }
            }
        }
        visit::visit_expr_struct(self, literal);
    }
}

/// The texts an expression may give: its literals and format strings, whichever way it goes.
pub(crate) fn texts(expr: &Expr, locals: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => vec![wording(&escaped(&text.value()), &[], &[])],
            _ => Vec::new(),
        },
        Expr::Macro(call) if call.mac.path.is_ident("format") => {
            let Some(text) = format_text(call.mac.tokens.clone(), &[]) else {
                return Vec::new();
            };
            if has_words(&text) {
                return vec![text];
            }
            // `{what}; more` only adds to what was made before.
            let literal = call.mac.tokens.clone().into_iter().next();
            let literal = literal.map_or_else(String::new, |literal| literal.to_string());
            let first = literal
                .strip_prefix("\"{")
                .and_then(|rest| rest.split_once('}'));
            first
                .and_then(|(name, _)| locals.get(name))
                .cloned()
                .unwrap_or_default()
        }
        Expr::Path(path) => path
            .path
            .get_ident()
            .and_then(|name| locals.get(&name.to_string()))
            .cloned()
            .unwrap_or_default(),
        Expr::MethodCall(call)
            if ["into", "to_owned", "to_string", "unwrap_or_else"]
                .iter()
                .any(|method| call.method == method) =>
        {
            let mut found = texts(&call.receiver, locals);
            found.extend(call.args.iter().flat_map(|arg| texts(arg, locals)));
            found
        }
        Expr::Call(call) if token_text(&call.func) == "Some" => call
            .args
            .iter()
            .flat_map(|arg| texts(arg, locals))
            .collect(),
        Expr::Closure(closure) => texts(&closure.body, locals),
        Expr::Reference(inner) => texts(&inner.expr, locals),
        Expr::Paren(inner) => texts(&inner.expr, locals),
        Expr::Block(block) => block_texts(&block.block, locals),
        Expr::If(branch) => {
            let mut found = block_texts(&branch.then_branch, locals);
            if let Some((_, otherwise)) = &branch.else_branch {
                found.extend(texts(otherwise, locals));
            }
            found
        }
        Expr::Match(matched) => {
            let arms = matched.arms.iter();
            arms.flat_map(|arm| texts(&arm.body, locals)).collect()
        }
        Expr::Return(inner) => inner
            .expr
            .iter()
            .flat_map(|inner| texts(inner, locals))
            .collect(),
        _ => Vec::new(),
    }
}

fn block_texts(block: &syn::Block, locals: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    match block.stmts.last() {
        Some(syn::Stmt::Expr(expr, None)) => texts(expr, locals),
        _ => Vec::new(),
    }
}

fn tuple_texts(expr: &Expr, place: usize, locals: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let in_block = |block: &syn::Block| match block.stmts.last() {
        Some(syn::Stmt::Expr(expr, None)) => tuple_texts(expr, place, locals),
        _ => Vec::new(),
    };
    match expr {
        Expr::Tuple(tuple) => tuple
            .elems
            .get(place)
            .map_or_else(Vec::new, |e| texts(e, locals)),
        Expr::If(branch) => {
            let mut found = in_block(&branch.then_branch);
            if let Some((_, otherwise)) = &branch.else_branch {
                found.extend(tuple_texts(otherwise, place, locals));
            }
            found
        }
        Expr::Match(matched) => {
            let arms = matched.arms.iter();
            arms.flat_map(|arm| tuple_texts(&arm.body, place, locals))
                .collect()
        }
        Expr::Block(block) => in_block(&block.block),
        _ => Vec::new(),
    }
}

/// A plain literal as a format string that shows it.
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// The wording of a macro's or attribute's tokens that begin with a format string.
fn format_text(tokens: TokenStream, fields: &[String]) -> Option<String> {
    let mut tokens = tokens.into_iter();
    let Some(TokenTree::Literal(first)) = tokens.next() else {
        return None;
    };
    let format = syn::parse2::<syn::LitStr>(TokenTree::from(first).into()).ok()?;
    let arguments = Argument::read(tokens.collect(), fields);
    Some(wording(&format.value(), &arguments, fields))
}

/// The `Failure::...` or `Diagnosis::...` call under a chain of methods.
fn base_call(expr: &Expr) -> Option<&syn::ExprCall> {
    match expr {
        Expr::MethodCall(call) => base_call(&call.receiver),
        Expr::Call(call) => Some(call),
        _ => None,
    }
}

pub(crate) fn name_of_self(kind: &syn::Type) -> String {
    match kind {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |last| last.ident.to_string()),
        _ => String::new(),
    }
}

pub(crate) fn token_text(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

fn line_of(spanned: &impl syn::spanned::Spanned) -> usize {
    spanned.span().start().line
}

fn place_of(spanned: &impl syn::spanned::Spanned) -> (usize, usize) {
    let start = spanned.span().start();
    (start.line, start.column)
}
