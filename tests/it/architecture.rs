//! The map in `src/lib.rs` says which module uses which; here it is compared with what the sources say.

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
}

impl Uses {
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
            let mut uses = Uses { module: module.clone(), paths: BTreeSet::new(), exports: BTreeMap::new() };
            uses.visit_file(&parsed);
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
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
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

/// In no room do files use one another in a circle. A part may use what the face of its room, which has the room's name,
/// defines.
#[test]
fn no_room_has_a_circle() {
    let found = circles(&Sources::read());
    assert!(found.is_empty(), "{found:#?}");
}
