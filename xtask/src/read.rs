//! Reads the interface from `src/ffi`: order, names and comments from the sources, and the types of C from cbindgen.
//!
//! - A module of `src/ffi/mod.rs` whose documentation begins with a heading begins a section; one without goes on with the
//!   section before. The line ``In `FILE`.`` below the heading names its header file, `replication.h` if left out.
//! - A `pub use crate::…` shows an enumeration or a constant of the core in that section.
//! - Documented `pub const`s are constants, `pub enum`s enumerations, `pub type`s callbacks, `#[repr(C)]` structs
//!   structures, structs named `…Handle` handles, and `extern "C"` functions functions.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use syn::{Attribute, Expr, ItemMod, Lit, Meta, UseTree, Visibility};

use crate::api::{
    Api, Callback, Constant, Enum, Field, Function, Handle, Header, Item, Key, Member, Report, Section, Statistics,
    Struct,
};
use crate::{declare, names, text};

const MAIN_HEADER: &str = "replication.h";

/// The structures that are given out as JSON, each with its title.
const STATISTICS: [(&str, &str, &str); 4] = [
    ("Sender", "src/sender/stats.rs", "SenderStats"),
    ("Readers of a sender", "src/sender/stats.rs", "ReaderStats"),
    ("Slots of a sender", "src/engine/writer/slots.rs", "SlotStats"),
    ("Receiver", "src/receiver/stats.rs", "ReceiverStats"),
];

/// Reads the interface of the tree at `root`.
pub fn api(root: &Path) -> Result<Api> {
    let mut reader = Reader { root, files: BTreeSet::new(), headers: Vec::new(), file: MAIN_HEADER.to_owned() };
    let modules = reader.parse(&root.join("src/ffi/mod.rs"))?;
    for item in &modules.items {
        if let syn::Item::Mod(ItemMod { vis: Visibility::Public(_), ident, .. }) = item {
            reader.module(&root.join(format!("src/ffi/{ident}.rs")))?;
        }
    }
    let (version, soname) = version(root)?;
    let statistics = STATISTICS.map(|(title, file, name)| statistics(root, title, file, name));
    let statistics = statistics.into_iter().collect::<Result<_>>()?;
    let mut api = Api { version, abi_version: 0, soname, headers: reader.headers, statistics };
    declare::declare(root, &reader.files, &mut api)?;
    find_statuses(&mut api);
    let abi_version = api.constants().find(|constant| constant.name == "REPLICATION_ABI_VERSION");
    api.abi_version = abi_version.context("src/ffi has no constant ABI_VERSION")?.value;
    Ok(api)
}

/// The version in Cargo.toml, and the library's SONAME: every minor version may break hosts before 1.0.
fn version(root: &Path) -> Result<(String, String)> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \"")).context("Cargo.toml: no version")?;
    let version = line.trim_end_matches('"').to_owned();
    let mut parts = version.split('.');
    let abi = match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => format!("0.{minor}"),
        (Some(major), Some(_)) => major.to_owned(),
        _ => bail!("Cargo.toml: the version is {version}"),
    };
    Ok((version, format!("libreplication.so.{abi}")))
}

struct Reader<'a> {
    root: &'a Path,
    /// Every file with a declaration, for cbindgen.
    files: BTreeSet<PathBuf>,
    headers: Vec<Header>,
    /// The header of the module that is read.
    file: String,
}

impl Reader<'_> {
    fn parse(&mut self, path: &Path) -> Result<syn::File> {
        let source = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        syn::parse_file(&source).with_context(|| path.display().to_string())
    }

    fn module(&mut self, path: &Path) -> Result<()> {
        let file = self.parse(path)?;
        let doc = doc_lines(&file.attrs);
        if let Some(title) = doc.first().and_then(|line| line.trim().strip_prefix("# ")) {
            let named = doc.iter().find_map(|line| line.trim().strip_prefix("In `")?.strip_suffix("`."));
            self.file = named.unwrap_or(MAIN_HEADER).to_owned();
            let section = Section { title: title.to_owned(), items: Vec::new() };
            match self.headers.iter_mut().find(|header| header.file == self.file) {
                Some(header) => header.sections.push(section),
                None => self.headers.push(Header { file: self.file.clone(), sections: vec![section] }),
            }
        }
        self.files.insert(path.to_owned());
        for item in &file.items {
            self.item(item).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn push(&mut self, item: Item) -> Result<()> {
        let header = self.headers.iter_mut().find(|header| header.file == self.file);
        let section = header.and_then(|header| header.sections.last_mut());
        section.context("a declaration before the first section")?.items.push(item);
        Ok(())
    }

    fn item(&mut self, item: &syn::Item) -> Result<()> {
        match item {
            syn::Item::Use(syn::ItemUse { vis: Visibility::Public(_), tree, .. }) => {
                for path in paths(tree) {
                    self.core_item(&path)?;
                }
            }
            syn::Item::Const(syn::ItemConst { vis: Visibility::Public(_), ident, attrs, expr, .. }) => {
                let name = format!("REPLICATION_{ident}");
                let value = number(expr).with_context(|| format!("{name} is not a number"))?;
                self.push(Item::Constant(Constant { value: value.try_into()?, doc: doc(&name, attrs)?, name }))?;
            }
            syn::Item::Enum(item) if is_public(&item.vis) => self.push(Item::Enum(enumeration(item)?))?,
            syn::Item::Struct(item) if is_public(&item.vis) => {
                if let Some(item) = structure(item)? {
                    self.push(item)?;
                }
            }
            syn::Item::Type(syn::ItemType { vis: Visibility::Public(_), ident, attrs, .. }) => {
                let name = names::c_type(&ident.to_string());
                let doc = doc(&name, attrs)?;
                self.push(Item::Callback(Callback { name, doc, returns: String::new(), parameters: Vec::new() }))?;
            }
            syn::Item::Fn(item) if item.sig.abi.is_some() && is_public(&item.vis) => {
                let name = item.sig.ident.to_string();
                let doc = doc(&name, &item.attrs)?;
                self.push(Item::Function(Function {
                    name,
                    doc,
                    advice: text::blocks(&doc_lines(&item.attrs), Some("When to change it")),
                    returns: String::new(),
                    parameters: Vec::new(),
                    statuses: Vec::new(),
                }))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// An enumeration or a constant of the core: `crate::protocol::control::AckLevel` is in `src/protocol/control.rs`, or
    /// where a `pub use` there says.
    fn core_item(&mut self, path: &[String]) -> Result<()> {
        let [modules @ .., name] = path else { bail!("{path:?}: not a path") };
        ensure!(modules.first().is_some_and(|start| start == "crate"), "{path:?} does not begin with crate");
        let file = self.root.join(format!("src/{}.rs", modules[1..].join("/")));
        let file = if file.exists() { file } else { file.with_extension("").join("mod.rs") };
        for item in self.parse(&file)?.items {
            match &item {
                syn::Item::Enum(found) if found.ident == name => {}
                syn::Item::Const(found) if found.ident == name => {}
                syn::Item::Use(found) if is_public(&found.vis) => {
                    let shown = paths(&found.tree).into_iter().find(|path| path.last() == Some(name));
                    let Some(shown) = shown else { continue };
                    return self.core_item(&[modules, &shown].concat());
                }
                _ => continue,
            }
            self.files.insert(file);
            return self.item(&item);
        }
        bail!("{} has no {name}", file.display())
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn paths(tree: &UseTree) -> Vec<Vec<String>> {
    match tree {
        UseTree::Path(path) => {
            let mut below = paths(&path.tree);
            for path_below in &mut below {
                path_below.insert(0, path.ident.to_string());
            }
            below
        }
        UseTree::Group(group) => group.items.iter().flat_map(paths).collect(),
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        UseTree::Glob(_) => Vec::new(),
    }
}

fn doc_lines(attributes: &[Attribute]) -> Vec<String> {
    let texts = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    texts.flat_map(|text| text.split('\n').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn doc(name: &str, attributes: &[Attribute]) -> Result<Vec<String>> {
    let blocks = text::blocks(&doc_lines(attributes), None);
    ensure!(!blocks.is_empty(), "{name} has no comment");
    Ok(blocks)
}

fn number(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Binary(binary) => match binary.op {
            syn::BinOp::Shl(_) => Some(number(&binary.left)? << number(&binary.right)?),
            _ => None,
        },
        _ => None,
    }
}

fn enumeration(item: &syn::ItemEnum) -> Result<Enum> {
    let name = names::c_type(&item.ident.to_string());
    let repr = item.attrs.iter().find(|attribute| attribute.path().is_ident("repr"));
    let repr: syn::Ident = repr.with_context(|| format!("{name} has no repr"))?.parse_args()?;
    let members = item.variants.iter().map(|variant| {
        let name = names::snake(&variant.ident.to_string()).to_uppercase();
        let value = variant.discriminant.as_ref().and_then(|(_, value)| number(value));
        let value = value.with_context(|| format!("{name} has no number"))?;
        let reports = reports(&variant.attrs).with_context(|| name.clone())?;
        Ok(Member { value, doc: doc(&name, &variant.attrs)?, name, reports })
    });
    Ok(Enum {
        r#type: match repr.to_string().as_str() {
            "i32" => "int32_t".to_owned(),
            "u32" => "uint32_t".to_owned(),
            other => bail!("{name} has the representation {other}"),
        },
        prefix: name.to_uppercase(),
        doc: doc(&name, &item.attrs)?,
        members: members.collect::<Result<_>>()?,
        name,
    })
}

/// What stands below the headings `# At a sender` and `# At a receiver`: list items `- when: …`, `- status: …`,
/// `- sequence: …` and `- detail: …`.
fn reports(attributes: &[Attribute]) -> Result<Vec<Report>> {
    let lines = doc_lines(attributes);
    let mut reports = Vec::new();
    for at in ["sender", "receiver"] {
        let items = text::blocks(&lines, Some(&format!("At a {at}")));
        if items.is_empty() {
            continue;
        }
        let mut report = Report { at: at.to_owned(), ..Report::default() };
        for item in items {
            let part = item.strip_prefix("- ").and_then(|item| item.split_once(": "));
            let (part, text) = part.with_context(|| format!("{item:?} is no list item with a name"))?;
            let place = match part {
                "when" => &mut report.when,
                "status" => &mut report.status,
                "sequence" => &mut report.sequence,
                "detail" => &mut report.detail,
                _ => bail!("{part:?} is no part of an event"),
            };
            text.clone_into(place);
        }
        ensure!(!report.when.is_empty(), "it is not said when a {at} reports it");
        reports.push(report);
    }
    Ok(reports)
}

/// A structure of C or a handle; `None` for what stays in Rust.
fn structure(item: &syn::ItemStruct) -> Result<Option<Item>> {
    let rust = item.ident.to_string();
    let name = names::c_type(&rust);
    let is_c = item.attrs.iter().any(|attribute| {
        attribute.path().is_ident("repr") && attribute.parse_args::<syn::Ident>().is_ok_and(|repr| repr == "C")
    });
    if is_c {
        let fields = item.fields.iter().map(|field| {
            let name = field.ident.as_ref().context("a field without a name")?.to_string();
            Ok(Field { doc: doc(&name, &field.attrs)?, r#type: String::new(), name })
        });
        let fields = fields.collect::<Result<_>>()?;
        return Ok(Some(Item::Struct(Struct { doc: doc(&name, &item.attrs)?, fields, name })));
    }
    if !rust.ends_with("Handle") {
        return Ok(None);
    }
    Ok(Some(Item::Handle(Handle { doc: doc(&name, &item.attrs)?, name })))
}

/// The fields of a structure that serde writes as JSON.
fn statistics(root: &Path, title: &str, path: &str, name: &str) -> Result<Statistics> {
    let source = fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
    let found = syn::parse_file(&source)?.items.into_iter().find_map(|item| match item {
        syn::Item::Struct(item) if item.ident == name => Some(item),
        _ => None,
    });
    let found = found.with_context(|| format!("{path} has no structure {name}"))?;
    let keys = found.fields.iter().map(|field| {
        let name = field.ident.as_ref().context("a field without a name")?.to_string();
        let (kind, nullable) = json_type(&name, &field.ty).with_context(|| format!("{path}: the type of {name}"))?;
        Ok(Key { doc: doc(&name, &field.attrs)?, name, r#type: kind.to_owned(), nullable })
    });
    Ok(Statistics { title: title.to_owned(), doc: doc(name, &found.attrs)?, keys: keys.collect::<Result<_>>()? })
}

/// The type of a field in JSON, and whether it may be null.
fn json_type(name: &str, kind: &syn::Type) -> Option<(&'static str, bool)> {
    let segment = match kind {
        syn::Type::Path(path) => path.path.segments.last()?,
        syn::Type::Reference(_) => return Some(("text", false)),
        _ => return None,
    };
    if segment.ident == "Option" {
        let syn::PathArguments::AngleBracketed(inside) = &segment.arguments else { return None };
        let Some(syn::GenericArgument::Type(inner)) = inside.args.first() else { return None };
        return Some((json_type(name, inner)?.0, true));
    }
    let is_time = name.ends_with("_time") || name.ends_with("_since") || name == "updated";
    let json = match segment.ident.to_string().as_str() {
        "bool" => "boolean",
        "u8" | "u32" | "u64" | "usize" | "f64" => "number",
        "String" if is_time => "time",
        "String" => "text",
        "Vec" => "objects",
        _ => return None,
    };
    Some((json, false))
}

/// The statuses that a function's comment names from the word `Returns` on, and those of the function of which it says
/// `Returns what NAME() returns`.
fn find_statuses(api: &mut Api) {
    let known: Vec<String> =
        api.enum_named("replication_status").members.iter().map(|member| member.name.clone()).collect();
    let mut of_function: HashMap<String, Vec<String>> = HashMap::new();
    for section in api.headers.iter_mut().flat_map(|header| &mut header.sections) {
        for item in &mut section.items {
            let Item::Function(function) = item else { continue };
            if function.returns != "replication_status" {
                continue;
            }
            let told: Vec<&String> = function.doc.iter().skip_while(|block| !block.contains("Returns")).collect();
            let same = told.iter().find_map(|block| block.split_once("Returns what ")?.1.split_once("() returns"));
            let mut statuses = same.and_then(|(name, _)| of_function.get(name).cloned()).unwrap_or_default();
            for word in told.iter().flat_map(|block| block.split('`').skip(1).step_by(2)) {
                if known.iter().any(|name| name == word) && !statuses.iter().any(|name| name == word) {
                    statuses.push(word.to_owned());
                }
            }
            function.statuses.clone_from(&statuses);
            of_function.insert(function.name.clone(), statuses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Direction;

    /// A tree with this interface.
    fn tree(module: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("src/ffi")).unwrap();
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
        write("Cargo.toml", "[package]\nversion = \"0.3.7\"\n");
        write("src/ffi/mod.rs", "mod private;\npub mod first;\n");
        write(
            "src/error.rs",
            "/// Results.\n#[repr(i32)]\npub enum Status {\n    /// Good.\n    Ok = 0,\n    /// Not.\n    NotFound = 12,\n}\n",
        );
        write("src/ffi/first.rs", module);
        for (_, path, name) in STATISTICS {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            let mut text = fs::read_to_string(root.path().join(path)).unwrap_or_default();
            text +=
                &format!("/// What is known.\nstruct {name} {{\n    /// Why.\n    last_error: Option<String>,\n}}\n");
            write(path, &text);
        }
        root
    }

    const HEAD: &str = "//! # First\n//!\n//! In `replication.h`.\n\npub use crate::error::Status;\n\n/// The ABI.\npub const ABI_VERSION: u32 = 4;\n";

    #[test]
    fn a_function_is_described() {
        let root = tree(&format!(
            "{HEAD}/// An object.\npub struct ThingHandle {{ inner: u8 }}\n\
             /// Called.\npub type CallFn = Option<unsafe extern \"C\" fn(user_data: *mut c_void, len: usize) -> i32>;\n\
             /// Does it.\n///\n/// - `out_port`: the port; may be NULL.\n///\n/// Returns `OK`; `NOT_FOUND` for `RUST`.\n///\n\
             /// # Safety\n/// `thing` is alive, or `INVALID`.\n#[unsafe(no_mangle)]\n\
             pub unsafe extern \"C\" fn thing_do(thing: *mut ThingHandle, name: *const c_char, call: CallFn,\n\
                 user_data: *mut c_void, out_port: *mut u16) -> Status {{ Status::Ok }}\n\
             fn private() {{}}\n"
        ));
        let api = api(root.path()).unwrap();
        assert_eq!((api.abi_version, api.soname.as_str()), (4, "libreplication.so.0.3"));
        let function = api.functions().next().unwrap();
        assert_eq!(function.doc.last().unwrap(), "Returns `OK`; `NOT_FOUND` for `RUST`.");
        assert_eq!(
            (function.returns.as_str(), &function.statuses[..]),
            ("replication_status", &["OK".to_owned(), "NOT_FOUND".to_owned()][..])
        );
        let parameters: Vec<_> = function
            .parameters
            .iter()
            .map(|p| (p.r#type.as_str(), p.direction == Direction::Out, p.nullable))
            .collect();
        assert_eq!(
            parameters,
            [
                ("replication_thing *", false, false),
                ("const char *", false, false),
                ("replication_call_fn", false, false),
                ("void *", false, true),
                ("uint16_t *", true, true),
            ]
        );
        let key = &api.statistics[0].keys[0];
        assert_eq!((key.name.as_str(), key.r#type.as_str(), key.nullable), ("last_error", "text", true));
        let callback = api.callbacks().next().unwrap();
        assert_eq!((callback.returns.as_str(), callback.parameters.len()), ("int32_t", 2));
    }

    #[test]
    fn what_has_no_comment_or_no_section_is_refused() {
        let undocumented = format!("{HEAD}#[unsafe(no_mangle)]\npub extern \"C\" fn thing_count() -> usize {{ 0 }}\n");
        let error = api(tree(&undocumented).path()).err().unwrap();
        assert!(format!("{error:#}").contains("thing_count has no comment"), "{error:#}");
        let error = api(tree(&HEAD.replace("# First", "First")).path()).err().unwrap();
        assert!(format!("{error:#}").contains("before the first section"), "{error:#}");
        let error = api(tree(&HEAD.replace("Status;", "Other;")).path()).err().unwrap();
        assert!(format!("{error:#}").contains("has no Other"), "{error:#}");
    }
}
