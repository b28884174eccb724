//! What the code itself says to do about its errors.

use std::collections::BTreeMap;

use syn::Pat;
use syn::visit::{self, Visit};

use super::scan::{is_test, name_of_self, texts, token_text};

/// What the functions `advice` and `hint` of errors say, by type and variant.
#[derive(Default)]
pub(crate) struct Advices {
    kind: Option<String>,
    pub(crate) found: Vec<((String, String), Vec<String>)>,
}

impl<'ast> Visit<'ast> for Advices {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.kind = Some(name_of_self(&item.self_ty));
        visit::visit_item_impl(self, item);
        self.kind = None;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if (item.sig.ident == "advice" || item.sig.ident == "hint")
            && let Some(kind) = self.kind.clone()
        {
            Arms {
                kind: &kind,
                found: &mut self.found,
            }
            .visit_block(&item.block);
        }
    }
}

/// Reads the arms of `match self`.
struct Arms<'a> {
    kind: &'a str,
    found: &'a mut Vec<((String, String), Vec<String>)>,
}

impl<'ast> Visit<'ast> for Arms<'_> {
    fn visit_expr_match(&mut self, matched: &'ast syn::ExprMatch) {
        if token_text(&matched.expr) != "self" {
            return visit::visit_expr_match(self, matched);
        }
        for arm in &matched.arms {
            let texts = texts(&arm.body, &BTreeMap::new());
            let mut named = Vec::new();
            variants_of(&arm.pat, self.kind, &mut named);
            for variant in named {
                self.found.push((variant, texts.clone()));
            }
        }
    }
}

/// The variants that a pattern names: the innermost, whose message is the one that is read.
fn variants_of(pat: &Pat, kind: &str, named: &mut Vec<(String, String)>) {
    let path_of = |path: &syn::Path| {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        match segments.as_slice() {
            [.., of, variant] => {
                let of = if of == "Self" { kind } else { of };
                Some((of.to_owned(), variant.clone()))
            }
            _ => None,
        }
    };
    match pat {
        Pat::Or(or) => or
            .cases
            .iter()
            .for_each(|case| variants_of(case, kind, named)),
        Pat::Paren(inner) => variants_of(&inner.pat, kind, named),
        Pat::Path(path) => named.extend(path_of(&path.path)),
        Pat::Struct(of) => {
            let before = named.len();
            of.fields
                .iter()
                .for_each(|field| variants_of(&field.pat, kind, named));
            if named.len() == before {
                named.extend(path_of(&of.path));
            }
        }
        Pat::TupleStruct(of) => {
            let before = named.len();
            of.elems
                .iter()
                .for_each(|elem| variants_of(elem, kind, named));
            if named.len() == before {
                named.extend(path_of(&of.path));
            }
        }
        Pat::Reference(inner) => variants_of(&inner.pat, kind, named),
        _ => {}
    }
}
