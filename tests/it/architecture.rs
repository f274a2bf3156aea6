//! The map in `src/lib.rs` says which module uses which; here it is compared with what the sources say. And what is to
//! be pure is kept so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module, by its path from the crate's root; empty for the root itself.
type Module = Vec<String>;

/// What one file uses of the crate: whole paths from the root.
struct Uses {
    module: Module,
    paths: BTreeSet<Vec<String>>,
    /// Names that it re-exports, each with where they come from.
    exports: BTreeMap<String, Vec<String>>,
    /// What it names that reads a clock, shares state, or reaches the world outside.
    impure: BTreeSet<String>,
    /// The types and traits that it defines.
    types: BTreeSet<String>,
}

impl Uses {
    fn of(module: Module, file: &syn::File) -> Self {
        let (paths, exports, impure, types) = Default::default();
        let mut uses = Self { module, paths, exports, impure, types };
        uses.visit_file(file);
        uses
    }

    /// The path from the root. One that names another crate leads nowhere from here, and is of this module itself.
    fn resolve(&self, path: &[String]) -> Vec<String> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match path.first().map(String::as_str) {
            Some("crate") => (&[][..], &path[1..]),
            Some("self") => (&self.module[..], &path[1..]),
            _ => (&self.module[..self.module.len() - ups], &path[ups..]),
        };
        [base, rest].concat()
    }

    fn take(&mut self, path: &[String]) {
        self.paths.insert(self.resolve(path));
        if is_impure(path) {
            self.impure.insert(path.join("::"));
        }
    }

    fn take_tree(&mut self, tree: &syn::UseTree, prefix: &[String], exported: bool) {
        let with = |name: String| [prefix, &[name]].concat();
        match tree {
            syn::UseTree::Path(path) => self.take_tree(&path.tree, &with(path.ident.to_string()), exported),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.take_tree(item, prefix, exported));
            }
            syn::UseTree::Glob(_) => self.take(prefix),
            syn::UseTree::Name(syn::UseName { ident }) | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                let path = if ident == "self" { prefix.to_vec() } else { with(ident.to_string()) };
                if exported {
                    self.exports.insert(ident.to_string(), self.resolve(&path));
                }
                self.take(&path);
            }
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let texts =
        conditions.filter_map(|attribute| attribute.meta.require_list().ok()).map(|list| list.tokens.to_string());
    // `not(test)` is for what is shipped.
    texts.into_iter().any(|text| text.split("not").next().is_some_and(|text| text.contains("test")))
}

/// The name of the type or trait that this item defines. An alias with the name of its target defines none.
fn defined_type(item: &syn::Item) -> Option<&syn::Ident> {
    let (attributes, name) = match item {
        syn::Item::Struct(item) => (&item.attrs, &item.ident),
        syn::Item::Enum(item) => (&item.attrs, &item.ident),
        syn::Item::Union(item) => (&item.attrs, &item.ident),
        syn::Item::Trait(item) => (&item.attrs, &item.ident),
        syn::Item::Type(item) => match &*item.ty {
            syn::Type::Path(target) if target.path.segments.last().is_some_and(|last| last.ident == item.ident) => {
                return None;
            }
            _ => (&item.attrs, &item.ident),
        },
        _ => return None,
    };
    (!is_for_tests(attributes)).then_some(name)
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            let exported = !matches!(item.vis, syn::Visibility::Inherited);
            self.take_tree(&item.tree, &[], exported);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let path_of: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&path_of);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        visit::visit_macro(self, called);
        // What a macro is given need not be an expression: it is looked at as words.
        let text = called.tokens.to_string().replace(" :: ", "::");
        for words in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let path: Vec<_> = words.split("::").map(str::to_owned).collect();
            if is_impure(&path) {
                self.impure.insert(words.to_owned());
            }
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "elapsed" {
            self.impure.insert("elapsed".into());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.impure.insert("unsafe".into());
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.unsafety.is_some() {
            self.impure.insert("unsafe".into());
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.impure.insert("unsafe".into());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.types.extend(defined_type(item).map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        if matches!(item.mutability, syn::StaticMutability::Mut(_)) {
            self.impure.insert("static mut".into());
        }
        visit::visit_item_static(self, item);
    }
}

/// What no pure state machine names: runtimes, networks, threads, files, clocks, randomness, and state that is shared.
const IMPURE: &[&str] = &[
    "tokio",
    "std::net",
    "std::os",
    "std::thread",
    "std::fs",
    "std::sync",
    "std::time::SystemTime",
    "SystemTime",
    "Instant::now",
    "clock::now",
    "clock::instant",
    "clock::since",
    "clock::boot_us",
    "clock::unix_time_us",
    "getrandom",
    "random",
    "Mutex",
    "Condvar",
    "RwLock",
    "OnceLock",
    "Cell",
    "RefCell",
    "thread_local",
    "unsafe",
];

fn is_impure(path: &[String]) -> bool {
    // Values, which do nothing.
    let is_value = [["std", "sync", "Arc"], ["std", "net", "IpAddr"]]
        .iter()
        .any(|value| path.starts_with(&value.map(str::to_owned)));
    if is_value {
        return false;
    }
    let names = |what: &str| {
        let what: Vec<_> = what.split("::").collect();
        path.windows(what.len()).any(|window| window == what)
    };
    IMPURE.iter().any(|what| names(what)) || path.iter().any(|name| name.starts_with("Atomic"))
}

/// Every source of the library but tests, by its module.
struct Sources(BTreeMap<Module, Uses>);

impl Sources {
    fn read() -> Self {
        let mut sources = Self(BTreeMap::new());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let main = syn::parse_file(&std::fs::read_to_string(root.join("lib.rs")).unwrap()).unwrap();
        sources.read_modules(&main.items, &root, &[]);
        sources
    }

    /// Reads the files of the modules that `items` declare, which lie in `dir`.
    fn read_modules(&mut self, items: &[syn::Item], dir: &Path, parent: &[String]) {
        for item in items {
            let syn::Item::Mod(declared) = item else { continue };
            let name = declared.ident.to_string();
            if declared.content.is_some() || is_for_tests(&declared.attrs) {
                continue;
            }
            let at = [dir.join(format!("{name}.rs")), dir.join(&name).join("mod.rs")];
            let file: &PathBuf = at.iter().find(|file| file.exists()).unwrap_or_else(|| panic!("no file of {name}"));
            let parsed = syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap();
            let module = [parent, std::slice::from_ref(&name)].concat();
            let uses = Uses::of(module.clone(), &parsed);
            self.0.insert(module.clone(), uses);
            self.read_modules(&parsed.items, &dir.join(name), &module);
        }
    }

    /// The file in which what has this path is defined, as far as re-exports tell.
    fn home(&self, path: &[String]) -> Option<&Module> {
        let known = (1..=path.len()).rev().find_map(|length| self.0.get_key_value(&path[..length]));
        let (module, uses) = known?;
        match path.get(module.len()).and_then(|name| uses.exports.get(name)) {
            Some(from) if from != path => self.home(from),
            _ => Some(module),
        }
    }

    /// Which file uses which others.
    fn arrows(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let arrows = self.0.iter().map(|(module, uses)| {
            let homes = uses.paths.iter().filter_map(|path| self.home(path));
            (module, homes.filter(|home| *home != module).collect())
        });
        arrows.collect()
    }
}

/// The map: for each module those that it may use.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../src/lib.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("// | `"));
    let row = |row: &str| {
        let (module, used) = row.split_once('|').unwrap();
        // Names stand between backquotes, so every second part is one.
        let used = used.split('`').skip(1).step_by(2).map(str::to_owned);
        (module.trim().trim_end_matches('`').to_owned(), used.collect())
    };
    rows.map(row).collect()
}

/// Every module of the first floor uses those that the map allows, and all of those.
#[test]
fn the_map_tells_which_module_uses_which() {
    let sources = Sources::read();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, homes) in sources.arrows() {
        let used = found.entry(module[0].clone()).or_default();
        used.extend(homes.into_iter().map(|home| home[0].clone()).filter(|home| *home != module[0]));
    }
    assert_eq!(map(), found, "the table in src/lib.rs on the left, the sources on the right");
}

/// The map has no circle: what is used lies below.
#[test]
fn the_map_has_no_circle() {
    let mut left = map();
    assert!(left.len() > 10, "{left:?}");
    while !left.is_empty() {
        let ground: Vec<_> = left.iter().filter(|(_, used)| !used.iter().any(|name| left.contains_key(name))).collect();
        let ground: Vec<_> = ground.into_iter().map(|(name, _)| name.clone()).collect();
        assert!(!ground.is_empty(), "a circle among {:?}", left.keys());
        ground.iter().for_each(|name| drop(left.remove(name)));
    }
}

/// Files that use one another in a circle, of each room.
fn circles(sources: &Sources) -> Vec<BTreeSet<String>> {
    let arrows = sources.arrows();
    let reach = |from: &Module| -> BTreeSet<&Module> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = arrows.keys().copied().filter(|module| *module == from).collect();
        while let Some(at) = next.pop() {
            next.extend(
                arrows[at].iter().copied().filter(|to| to[0] == from[0] && !at.starts_with(to) && seen.insert(*to)),
            );
        }
        seen
    };
    let reached: BTreeMap<_, _> = arrows.keys().map(|module| (*module, reach(module))).collect();
    let mut found = BTreeSet::new();
    for (module, seen) in &reached {
        let circle: BTreeSet<_> = seen.iter().filter(|other| reached[**other].contains(module)).collect();
        if circle.len() > 1 {
            found.insert(circle.into_iter().map(|module| module.join("/")).collect::<BTreeSet<_>>());
        }
    }
    found.into_iter().collect()
}

/// In no room do files use one another in a circle. A part may use what the face of its room, which has the room's
/// name, defines.
#[test]
fn no_room_has_a_circle() {
    let found = circles(&Sources::read());
    assert!(found.is_empty(), "{found:#?}");
}

/// What users of the crate get in the place of a part of the core, with its name: the part itself is hidden from them.
const FACES: [&str; 7] = ["Entry", "Handler", "Quorum", "Receiver", "Secret", "Sender", "Token"];

/// No name stands for two types. Exempt are what a simulation puts in the place of something, which keeps that one's name,
/// the faces of the crate, and the names that every module may use for its own: its state, its error, its result.
#[test]
fn a_type_name_stands_for_one_type() {
    let sources = Sources::read();
    let mut homes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (module, uses) in sources.0.iter().filter(|(module, _)| module[0] != "simulation") {
        let is_face = |name: &String| module[0] == "api" && FACES.contains(&name.as_str());
        let types = uses.types.iter().filter(|name| !is_face(name));
        types.for_each(|name| homes.entry(name).or_default().push(module.join("/")));
    }
    assert!(homes.len() > 100, "{homes:?}");
    homes.retain(|name, homes| homes.len() > 1 && !["Error", "Result", "State"].contains(name));
    assert!(homes.is_empty(), "{homes:#?}");
}

#[test]
fn every_kind_of_type_definition_is_found() {
    let source =
        "struct A; enum B {} pub trait C {} type D = u8; union E { a: u8 } type F = other::F<u8>; mod m { struct G; }
        fn f() { struct H; } impl C for A { type I = u8; } #[cfg(test)] struct J; #[cfg(test)] mod tests { struct K; }";
    let found = Uses::of(vec!["module".into()], &syn::parse_file(source).unwrap()).types;
    assert_eq!(found.into_iter().collect::<String>(), "ABCDEGH");
}

fn impure(source: &str) -> BTreeSet<String> {
    Uses::of(vec!["engine".into()], &syn::parse_file(source).unwrap()).impure
}

/// The engine decides by what it is given alone.
#[test]
fn the_engine_is_pure() {
    let sources = Sources::read();
    let engine = sources.0.iter().filter(|(module, _)| module[0] == "engine");
    let found: Vec<_> = engine.map(|(module, uses)| (module.join("/"), &uses.impure)).collect();
    assert!(found.len() > 5, "{found:?}");
    assert!(found.iter().all(|(_, impure)| impure.is_empty()), "{found:#?}");
}

#[test]
fn whatever_is_impure_is_found() {
    for (source, name) in [
        ("use std::{net::TcpStream, time::Duration};", "std::net::TcpStream"),
        ("use std::sync::atomic::AtomicU64;", "std::sync::atomic::AtomicU64"),
        ("use crate::sync::Mutex;", "crate::sync::Mutex"),
        ("use crate::{clock, random};", "crate::random"),
        ("fn f() { let at = std::time::Instant::now(); }", "std::time::Instant::now"),
        ("fn f() { crate::clock::since(at); }", "crate::clock::since"),
        ("fn f() { println!(\"{:?}\", clock::now()); }", "clock::now"),
        ("fn f() { at.elapsed(); }", "elapsed"),
        ("impl S { fn f() { tokio::spawn(async {}); } }", "tokio::spawn"),
        ("struct S(std::cell::RefCell<u8>);", "std::cell::RefCell"),
        ("thread_local!(static S: u8 = 0);", "thread_local"),
        ("static mut S: u8 = 0;", "static mut"),
        ("unsafe fn f() {}", "unsafe"),
        ("fn f() { unsafe { g() } }", "unsafe"),
        ("unsafe impl Send for S {}", "unsafe"),
    ] {
        assert!(impure(source).contains(name), "{source} gives {:?}", impure(source));
    }
    let pure =
        "use std::{net::IpAddr, sync::Arc, time::{Duration, Instant}}; fn f(now: Instant) { now.duration_since(now); }
        #[cfg(test)] mod tests { use std::fs; fn f() { Instant::now(); } }";
    assert!(impure(pure).is_empty(), "{:?}", impure(pure));
}
