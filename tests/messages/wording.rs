//! A format string as the manual page shows it: every placeholder has a name that says something.

use syn::parse::Parser as _;
use syn::{Expr, Member, Token};

/// A format string with its arguments, each `{}` replaced by the name of what stands there.
///
/// `fields` are names for `{0}`, `{1}`, ...: the types of a variant without field names.
pub(crate) fn wording(format: &str, arguments: &[Argument], fields: &[String]) -> String {
    let mut text = String::new();
    let mut rest = format;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{").or(rest.strip_prefix("}}")) {
            text.push_str(&rest[..1]);
            rest = after;
            continue;
        }
        let end = rest
            .find('}')
            .expect("the compiler read this format string");
        let name = rest[1..end].split(':').next().unwrap_or("").trim();
        rest = &rest[end + 1..];
        let positional = |index: usize| {
            let unnamed = arguments.iter().filter(|a| a.key.is_none());
            let given = unnamed.map(|a| a.name.clone()).nth(index);
            given.or_else(|| fields.get(index).cloned())
        };
        let name = if name.is_empty() {
            next += 1;
            positional(next - 1).unwrap_or_default()
        } else if let Ok(index) = name.parse() {
            positional(index).unwrap_or_default()
        } else {
            plain(name)
        };
        text.push('{');
        text.push_str(if name.is_empty() { "text" } else { &name });
        text.push('}');
    }
    text.push_str(rest);
    // A long literal is broken in the source.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a message has words of its own, and is more than what others said.
pub(crate) fn has_words(wording: &str) -> bool {
    let mut depth = 0;
    let own = |c: char| match c {
        '{' => {
            depth += 1;
            false
        }
        '}' => {
            depth -= 1;
            false
        }
        _ => depth == 0 && c.is_alphabetic(),
    };
    wording.chars().any(own)
}

/// One argument of a format string.
pub(crate) struct Argument {
    key: Option<String>,
    name: String,
}

impl Argument {
    /// Reads what follows a format string, `fields` as in [`wording`].
    pub(crate) fn read(tokens: proc_macro2::TokenStream, fields: &[String]) -> Vec<Self> {
        split(tokens)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| Self::one(part, fields))
            .collect()
    }

    fn one(part: proc_macro2::TokenStream, fields: &[String]) -> Self {
        let text = part.to_string();
        // thiserror writes a field as `.0`.
        let text = text.replace("(.", "(self.");
        let text = match text.strip_prefix('.') {
            Some(field) => format!("self.{field}"),
            None => text,
        };
        let keyed = |input: syn::parse::ParseStream<'_>| {
            let key =
                if input.peek(syn::Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
                    let key: syn::Ident = input.parse()?;
                    input.parse::<Token![=]>()?;
                    Some(key.to_string())
                } else {
                    None
                };
            Ok((key, input.parse::<Expr>()?))
        };
        match keyed.parse_str(&text) {
            Ok((key, expr)) => Self {
                name: name_of(&expr, fields),
                key,
            },
            Err(_) => Self {
                key: None,
                name: String::new(),
            },
        }
    }
}

/// The parts between commas.
pub(crate) fn split(tokens: proc_macro2::TokenStream) -> Vec<proc_macro2::TokenStream> {
    let mut parts = vec![proc_macro2::TokenStream::new()];
    for token in tokens {
        match &token {
            proc_macro2::TokenTree::Punct(comma) if comma.as_char() == ',' => {
                parts.push(proc_macro2::TokenStream::new());
            }
            _ => parts.last_mut().expect("one at least").extend([token]),
        }
    }
    parts
}

/// What an argument is, in a word or two.
fn name_of(expr: &Expr, fields: &[String]) -> String {
    match expr {
        Expr::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident != "self" => plain(&last.ident.to_string()),
            _ => String::new(),
        },
        Expr::Field(field) => match &field.member {
            // Whose path it is says more.
            Member::Named(name) if name == "path" => match name_of(&field.base, fields) {
                base if base.is_empty() => "path".into(),
                base => base,
            },
            Member::Named(name) => plain(&name.to_string()),
            Member::Unnamed(index) => match name_of(&field.base, fields) {
                base if base.is_empty() => {
                    let index = usize::try_from(index.index).expect("a small number");
                    fields.get(index).cloned().unwrap_or_default()
                }
                base => base,
            },
        },
        Expr::MethodCall(call) => match name_of(&call.receiver, fields) {
            of if of.is_empty() => plain(&call.method.to_string()),
            of => of,
        },
        Expr::Call(call) => match call.args.first().map(|first| name_of(first, fields)) {
            Some(of) if !of.is_empty() => of,
            _ => name_of(&call.func, fields),
        },
        Expr::Reference(inner) => name_of(&inner.expr, fields),
        Expr::Unary(inner) => name_of(&inner.expr, fields),
        Expr::Paren(inner) => name_of(&inner.expr, fields),
        Expr::Binary(inner) => name_of(&inner.left, fields),
        Expr::Cast(inner) => name_of(&inner.expr, fields),
        Expr::Index(inner) => name_of(&inner.expr, fields),
        _ => String::new(),
    }
}

/// The name of a type, for a field that has none.
pub(crate) fn name_of_type(kind: &syn::Type) -> String {
    match kind {
        syn::Type::Path(path) => path.path.segments.last().map_or_else(String::new, |last| {
            // What a box holds is meant.
            if let syn::PathArguments::AngleBracketed(inner) = &last.arguments
                && let Some(syn::GenericArgument::Type(inner)) = inner.args.first()
            {
                return name_of_type(inner);
            }
            plain(&last.ident.to_string())
        }),
        syn::Type::Reference(inner) => name_of_type(&inner.elem),
        _ => String::new(),
    }
}

/// An identifier in lower case, with `reason` for everything that holds another message.
fn plain(name: &str) -> String {
    let mut snake = String::new();
    let shouted = name.chars().all(|c| !c.is_lowercase());
    for c in name.chars() {
        if c.is_uppercase() && !shouted && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    match snake.as_str() {
        "error" | "source" | "why" | "fault" | "err" => "reason".into(),
        "path_buf" => "path".into(),
        "str" | "string" => "text".into(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "number".into(),
        other if other.ends_with("_error") || other.ends_with("_fault") => "reason".into(),
        other => other.to_owned(),
    }
}
