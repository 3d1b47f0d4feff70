//! Which modules of a crate use which, read from its sources with `syn`.
//!
//! A module is a file. It uses another module if one of its paths leads to an item that the other
//! defines: `use crate::b::Thing`, `super::b::thing()`, or `b::Thing` after `use crate::b`. Paths
//! are followed through re-exports to the definition. A re-export (`pub use`) is not itself a use:
//! a `mod.rs` is a door. Code under `#[cfg(test)]` is left out. What macros and attributes hold is
//! read as tokens, because only their own parsers know more. Types that the compiler infers, and
//! methods called on them, are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// For each module the siblings that it uses, and for each sibling the ties: file, name, file.
pub type Uses = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// One file of a crate. Its number is its index in [`Crate::modules`].
struct Module {
    file: PathBuf,
    /// As `crate::a::b`.
    path: String,
    /// The number of the module above. The root's parent is itself.
    parent: usize,
    /// Items of its own.
    defines: BTreeSet<String>,
    /// Modules in files below it.
    children: BTreeMap<String, usize>,
    /// Names that `use` brings in, with their paths.
    imports: BTreeMap<String, Vec<String>>,
    /// Paths of `use path::*`.
    globs: Vec<Vec<String>>,
    /// Paths in its code, and of its private `use` items.
    paths: BTreeSet<Vec<String>>,
    /// Names alone in its code, which may be local variables. Those that `use` brought in count.
    names: BTreeSet<String>,
}

/// The modules of one crate; the first is its root.
struct Crate {
    modules: Vec<Module>,
    /// Names of the crate itself: `extern crate self as name`.
    own_names: BTreeSet<String>,
}

/// Reads the crate whose root is `root` (`src/lib.rs` or `src/main.rs`).
///
/// # Panics
/// If a source cannot be read or parsed.
pub fn uses(root: &Path) -> Uses {
    let mut crate_ = Crate { modules: Vec::new(), own_names: BTreeSet::new() };
    crate_.read(root, root.parent().unwrap(), 0, "crate".to_owned());
    let mut uses = Uses::new();
    for (at, module) in crate_.modules.iter().enumerate() {
        let imported = module.names.iter().filter(|name| module.imports.contains_key(*name));
        let imported: Vec<Vec<String>> = imported.map(|name| vec![name.clone()]).collect();
        for path in module.paths.iter().chain(&imported) {
            let Some(to) = crate_.definer(at, path, 0) else { continue };
            let Some((from, sibling)) = crate_.siblings(at, to) else { continue };
            let files = [&module.file, &crate_.modules[to].file].map(|file| {
                file.strip_prefix(root.parent().unwrap()).unwrap().display().to_string()
            });
            let tie = format!("{} uses {} of {}", files[0], path.last().unwrap(), files[1]);
            let ties = uses.entry(crate_.modules[from].path.clone()).or_default();
            ties.entry(crate_.modules[sibling].path.clone()).or_default().insert(tie);
        }
    }
    uses
}

/// The circles: sets of modules of which each reaches every other one.
pub fn circles(uses: &Uses) -> Vec<BTreeSet<&str>> {
    let reached = |from: &str| {
        let (mut reached, mut next) = (BTreeSet::<&str>::new(), vec![from]);
        while let Some(at) = next.pop() {
            for to in uses.get(at).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&str, _> = uses.keys().map(|at| (at.as_str(), reached(at))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (at, reached) in &reach {
        if reached.contains(at) && !circles.iter().any(|circle| circle.contains(at)) {
            let back = |to: &&str| reach.get(to).is_some_and(|reached| reached.contains(at));
            circles.push(reached.iter().copied().filter(back).collect());
        }
    }
    circles
}

impl Crate {
    /// Reads `file`, whose modules lie in `folder`, and what lies below it. Returns its number.
    fn read(&mut self, file: &Path, folder: &Path, parent: usize, path: String) -> usize {
        let text = std::fs::read_to_string(file)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let number = self.modules.len();
        self.modules.push(Module {
            file: file.to_path_buf(),
            path,
            parent,
            defines: BTreeSet::new(),
            children: BTreeMap::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            paths: BTreeSet::new(),
            names: BTreeSet::new(),
        });
        self.items(number, &parsed.items, folder, 0);
        let mut paths = Paths::default();
        paths.visit_file(&parsed);
        self.modules[number].paths.extend(paths.found);
        self.modules[number].names.extend(paths.names);
        number
    }

    /// Adds items to module `at`, `depth` inline modules within it. These are part of the file.
    fn items(&mut self, at: usize, items: &[syn::Item], folder: &Path, depth: usize) {
        for item in items {
            if attributes(item).is_some_and(only_for_tests) {
                continue;
            }
            match item {
                syn::Item::Mod(inner) => match &inner.content {
                    Some((_, items)) => {
                        self.modules[at].defines.insert(inner.ident.to_string());
                        self.items(at, items, folder, depth + 1);
                    }
                    None => {
                        let name = inner.ident.to_string();
                        let (file, below) = place(folder, &name, &inner.attrs);
                        let path = format!("{}::{name}", self.modules[at].path);
                        let child = self.read(&file, &below, at, path);
                        self.modules[at].children.insert(name, child);
                    }
                },
                syn::Item::Use(use_) => {
                    let mut leaves = Vec::new();
                    flatten(&use_.tree, &mut Vec::new(), &mut leaves);
                    for (name, path) in leaves {
                        let path = in_file(path, depth);
                        let module = &mut self.modules[at];
                        match name {
                            Some(name) => _ = module.imports.insert(name, path),
                            None => module.globs.push(path),
                        }
                    }
                }
                syn::Item::ExternCrate(own) if own.ident == "self" => {
                    self.own_names.extend(own.rename.as_ref().map(|(_, name)| name.to_string()));
                }
                _ => _ = name(item).map(|name| self.modules[at].defines.insert(name)),
            }
        }
    }

    /// Under the lowest module above both `a` and `b`: its child that holds `a`, and its child that
    /// holds `b`. None if `a` lies above `b` or the other way round: a folder's head and the
    /// modules in the folder are one family, and may use each other.
    fn siblings(&self, a: usize, b: usize) -> Option<(usize, usize)> {
        let above = |mut at: usize| {
            let mut above = vec![at];
            while at != 0 {
                at = self.modules[at].parent;
                above.push(at);
            }
            above.reverse();
            above
        };
        above(a).into_iter().zip(above(b)).find(|(a, b)| a != b)
    }

    /// The module that defines what `path` leads to from module `at`, if it is of this crate.
    fn definer(&self, at: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => 0,
            "self" => at,
            "super" => self.modules[at].parent,
            own if self.own_names.contains(own) => 0,
            _ => return self.member(at, first, rest, depth),
        };
        match rest {
            [] => None,
            [next, ..] if next == "super" => self.definer(start, rest, depth),
            [next, rest @ ..] => self.member(start, next, rest, depth),
        }
    }

    /// The module that defines `name::rest` as seen in module `at`.
    fn member(&self, at: usize, name: &str, rest: &[String], depth: usize) -> Option<usize> {
        let module = &self.modules[at];
        if let Some(child) = module.children.get(name) {
            return match rest {
                // A module without an item: its items count where they are used.
                [] => None,
                // An item without a definition in sight is made by a macro of that module.
                [next, rest @ ..] => self.member(*child, next, rest, depth).or_else(|| {
                    let known = &self.modules[*child];
                    let elsewhere =
                        known.children.contains_key(next) || known.imports.contains_key(next);
                    (!elsewhere && known.globs.is_empty() && next != "self").then_some(*child)
                }),
            };
        }
        if module.defines.contains(name) {
            return Some(at);
        }
        // Two imports may name each other. Such a path leads nowhere.
        if depth > 16 {
            return None;
        }
        if let Some(import) = module.imports.get(name) {
            let whole: Vec<String> = import.iter().chain(rest).cloned().collect();
            return match import.first().map(String::as_str) {
                // `use std::x` or `use other_crate::x`, unless a module here has that name.
                Some(first) if first == name && import.len() == 1 => None,
                _ => self.definer(at, &whole, depth + 1),
            };
        }
        module.globs.iter().find_map(|glob| {
            let whole: Vec<String> =
                glob.iter().cloned().chain([name.to_owned()]).chain(rest.iter().cloned()).collect();
            (glob.first().map(String::as_str) != Some(name))
                .then(|| self.definer(at, &whole, depth + 1))
                .flatten()
        })
    }
}

/// The file of module `name` in `folder`, and the folder of the modules below it.
fn place(folder: &Path, name: &str, attrs: &[syn::Attribute]) -> (PathBuf, PathBuf) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("path")) {
        if let syn::Meta::NameValue(pair) = &attr.meta
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value
        {
            let file = folder.join(path.value());
            return (file.clone(), file.parent().unwrap().to_path_buf());
        }
    }
    let below = folder.join(name);
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { (file, below) } else { (below.join("mod.rs"), below) }
}

/// Whether `#[cfg(test)]` is among these attributes.
fn only_for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg")
                && attr.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    })
}

/// The attributes of an item.
fn attributes(item: &syn::Item) -> Option<&[syn::Attribute]> {
    Some(match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => return None,
    })
}

/// The name that an item defines in its module.
fn name(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(i) => i.ident.to_string(),
        syn::Item::Enum(i) => i.ident.to_string(),
        syn::Item::Fn(i) => i.sig.ident.to_string(),
        syn::Item::Macro(i) => i.ident.as_ref()?.to_string(),
        syn::Item::Static(i) => i.ident.to_string(),
        syn::Item::Struct(i) => i.ident.to_string(),
        syn::Item::Trait(i) => i.ident.to_string(),
        syn::Item::Type(i) => i.ident.to_string(),
        syn::Item::Union(i) => i.ident.to_string(),
        _ => return None,
    })
}

/// The leaves of a `use`: the name that each gets here (none for `*`), and its path.
fn flatten(
    tree: &syn::UseTree,
    path: &mut Vec<String>,
    leaves: &mut Vec<(Option<String>, Vec<String>)>,
) {
    match tree {
        syn::UseTree::Path(step) => {
            path.push(step.ident.to_string());
            flatten(&step.tree, path, leaves);
            path.pop();
        }
        syn::UseTree::Name(leaf) if leaf.ident == "self" => {
            leaves.push((path.last().cloned(), path.clone()));
        }
        syn::UseTree::Name(leaf) => {
            let name = leaf.ident.to_string();
            leaves.push((Some(name.clone()), path.iter().cloned().chain([name]).collect()));
        }
        syn::UseTree::Rename(leaf) => {
            let own = Some(leaf.ident.to_string()).filter(|name| name != "self");
            let whole = path.iter().cloned().chain(own).collect();
            leaves.push((Some(leaf.rename.to_string()), whole));
        }
        syn::UseTree::Glob(_) => leaves.push((None, path.clone())),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, leaves);
            }
        }
    }
}

/// A path of an inline module, `depth` modules within a file, as it would be in the file itself.
fn in_file(path: Vec<String>, depth: usize) -> Vec<String> {
    let supers = path.iter().take_while(|step| *step == "super").count().min(depth);
    let own = (supers > 0 && supers < path.len()).then(|| "self".to_owned());
    own.into_iter().chain(path.into_iter().skip(supers)).collect()
}

/// Collects the paths of a file outside of its tests.
#[derive(Default)]
struct Paths {
    found: BTreeSet<Vec<String>>,
    /// Names alone that may be local variables.
    names: BTreeSet<String>,
    /// The number of inline modules around the code.
    depth: usize,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        match &path[..] {
            [] => {}
            // A type, a constant or a variant: never a local variable.
            [name] if !name.starts_with(char::is_uppercase) => _ = self.names.insert(name.clone()),
            _ => _ = self.found.insert(in_file(path, self.depth)),
        }
    }

    /// Adds the paths in tokens: names with `::` between them.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.add(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add(std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Group(group) => self.add_tokens(group.stream()),
                        // As in `#[serde(default = "crate::seconds")]`.
                        TokenTree::Literal(literal) => self.add_text(&literal.to_string()),
                        _ => {}
                    }
                }
            }
        }
        self.add(path);
    }

    fn add_text(&mut self, literal: &str) {
        if let Ok(text) = syn::parse_str::<syn::LitStr>(literal)
            && text.value().contains("::")
            && let Ok(path) = text.parse::<syn::Path>()
        {
            self.visit_path(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).is_some_and(only_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    /// A `use`, also in a function.
    fn visit_item_use(&mut self, use_: &'ast syn::ItemUse) {
        if matches!(use_.vis, syn::Visibility::Inherited) {
            let mut leaves = Vec::new();
            flatten(&use_.tree, &mut Vec::new(), &mut leaves);
            self.found.extend(leaves.into_iter().map(|(_, path)| in_file(path, self.depth)));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|s| s.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// A called function is no local variable, unless it is a closure.
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && let Some(name) = function.path.get_ident()
        {
            self.found.insert(vec![name.to_string()]);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }
}
