//! Gives the declarations their types in C: what cbindgen makes of the sources.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::api::{Api, Callback, Constant, Direction, Enum, Function, Handle, Item, Parameter, Struct};
use crate::names;

/// What cbindgen makes of the sources: results and parameters by function or callback, fields by structure.
#[derive(Default)]
struct Declarations {
    functions: HashMap<String, (String, Vec<(String, String)>)>,
    structures: HashMap<String, Vec<(String, String)>>,
}

/// Gives every declaration the types that cbindgen finds for it.
pub fn declare(root: &Path, files: &BTreeSet<PathBuf>, api: &mut Api) -> Result<()> {
    let declarations = declarations(&bindings(root, files, api)?)?;
    for section in api.headers.iter_mut().flat_map(|header| &mut header.sections) {
        for item in &mut section.items {
            match item {
                Item::Function(Function { name, returns, parameters, doc, .. })
                | Item::Callback(Callback { name, returns, parameters, doc }) => {
                    let (result, declared) =
                        declarations.functions.get(name).with_context(|| format!("cbindgen does not know {name}"))?;
                    *returns = result.clone();
                    *parameters = declared.iter().map(|(kind, of)| parameter(kind, of, doc, name)).collect();
                }
                Item::Struct(structure) => {
                    let name = &structure.name;
                    let declared =
                        declarations.structures.get(name).with_context(|| format!("cbindgen does not know {name}"))?;
                    ensure!(declared.len() == structure.fields.len(), "{name}: cbindgen finds other fields");
                    for (field, (kind, name)) in structure.fields.iter_mut().zip(declared) {
                        ensure!(field.name == *name, "{name}: cbindgen finds other fields");
                        field.r#type.clone_from(kind);
                    }
                }
                Item::Constant(_) | Item::Enum(_) | Item::Handle(_) => {}
            }
        }
    }
    Ok(())
}

/// A pointer is for a result when it leads to another pointer or to something that is neither const, an object nor the
/// host's own. NULL has a meaning where the list item about the parameter says so, for the host's data, and where an object
/// is freed.
fn parameter(kind: &str, name: &str, doc: &[String], function: &str) -> Parameter {
    let frees = function.ends_with("_free");
    let of_host = name == "user_data" || name == "user_data_free";
    let is_object = kind.starts_with("replication_") && kind.matches('*').count() == 1;
    let writable = kind.ends_with("**") || (kind.ends_with('*') && !kind.starts_with("const ") && !is_object);
    let mentioned = format!("`{name}`");
    let told = doc.iter().filter(|block| {
        block.starts_with("- ") && block.split(": ").next().is_some_and(|names| names.contains(&mentioned))
    });
    let says_null = told.flat_map(|block| block.split_once(": ")).any(|(_, text)| text.contains("NULL"));
    Parameter {
        nullable: (kind.ends_with('*') || kind.ends_with("_fn")) && (says_null || of_host || frees),
        direction: if writable && !of_host && !frees { Direction::Out } else { Direction::In },
        name: name.to_owned(),
        r#type: kind.to_owned(),
    }
}

/// The declarations as cbindgen writes them, each on one line, without comments.
fn bindings(root: &Path, files: &BTreeSet<PathBuf>, api: &Api) -> Result<String> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Type,
        usize_is_size_t: true,
        no_includes: true,
        documentation: false,
        line_length: usize::MAX,
        ..Default::default()
    };
    config.function.args = cbindgen::Layout::Horizontal;
    let mut builder = cbindgen::Builder::new();
    for file in files {
        builder = builder.with_src(file);
        for item in syn::parse_file(&fs::read_to_string(file)?)?.items {
            let ident = match &item {
                syn::Item::Enum(item) => &item.ident,
                syn::Item::Struct(item) => &item.ident,
                syn::Item::Type(item) => &item.ident,
                _ => continue,
            };
            let name = names::c_type(&ident.to_string());
            if api.items().any(|item| item_name(item) == name) {
                config.export.include.push(ident.to_string());
                config.export.rename.insert(ident.to_string(), name);
            }
        }
    }
    let mut text = Vec::new();
    let generated = builder.with_config(config).generate();
    generated.with_context(|| format!("cbindgen on {}", root.display()))?.write(&mut text);
    Ok(String::from_utf8(text)?)
}

fn item_name(item: &Item) -> &str {
    match item {
        Item::Constant(Constant { name, .. })
        | Item::Enum(Enum { name, .. })
        | Item::Handle(Handle { name, .. })
        | Item::Struct(Struct { name, .. })
        | Item::Callback(Callback { name, .. })
        | Item::Function(Function { name, .. }) => name,
    }
}

/// Reads what cbindgen wrote: `type name(type name, …);`, `typedef type (*name)(…);`, and structures with a field a line.
fn declarations(text: &str) -> Result<Declarations> {
    let mut found = Declarations::default();
    let mut fields = None;
    for line in text.lines() {
        if line.starts_with("typedef struct") && line.ends_with('{') {
            fields = Some(Vec::new());
        } else if let Some(name) = line.strip_prefix("} ") {
            if let Some(fields) = fields.take() {
                found.structures.insert(name.trim_end_matches(';').to_owned(), fields);
            }
        } else if let Some(fields) = &mut fields {
            fields.push(typed(line.trim().trim_end_matches(';'))?);
        } else if let Some((before, parameters)) = line.strip_suffix(");").and_then(|line| {
            let callback = line.strip_prefix("typedef ").and_then(|line| line.split_once(")("));
            callback.or_else(|| line.split_once('('))
        }) {
            let (result, name) = typed(&before.replacen("(*", "", 1))?;
            let parameters = parameters.split(", ").filter(|parameter| *parameter != "void");
            found.functions.insert(name, (result, parameters.map(typed).collect::<Result<_>>()?));
        }
    }
    Ok(found)
}

/// `const char *name` as `const char *` and `name`.
fn typed(text: &str) -> Result<(String, String)> {
    let at = text.rfind([' ', '*']).with_context(|| format!("cbindgen wrote {text:?}"))? + 1;
    Ok((text[..at].trim_end().to_owned(), text[at..].to_owned()))
}
