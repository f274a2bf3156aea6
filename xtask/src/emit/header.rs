//! The headers in `include/`, and the copies in the Go package: cgo finds no header outside of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Output;
use crate::api::{Api, Callback, Enum, Header, Item, Parameter, Section, Struct};
use crate::text;

/// No line of a header is longer.
const WIDTH: usize = 100;

const ENUM_MACRO: &str = "
/** Begins an enumeration, whose type is fixed where the language can say so. */
#if defined(__cplusplus)
#define REPLICATION_ENUM(name, type) enum name : type
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
#define REPLICATION_ENUM(name, type) enum name : type; typedef enum name name; enum name : type
#else
#define REPLICATION_ENUM(name, type) typedef type name; enum name
#endif
";

pub fn outputs(root: &Path, api: &Api) -> Result<Vec<Output>> {
    let overview = fs::read_to_string(root.join("src/ffi/overview.txt"))?;
    let mut outputs = Vec::new();
    for header in &api.headers {
        let text = if is_main(header) { main(api, header, &overview) } else { part(api, header) };
        outputs.push(Output::new(format!("bindings/go/{}", header.file), text.clone()));
        outputs.push(Output::new(format!("include/{}", header.file), text));
    }
    Ok(outputs)
}

fn is_main(header: &Header) -> bool {
    header.file == "replication.h"
}

/// The handles that a header declares: those of its sections, and in the main one those of others that it names.
fn handles(api: &Api, header: &Header) -> String {
    let named = api.headers.iter().filter(|header| is_main(header)).map(|main| sections(&main.sections)).next();
    let named = named.unwrap_or_default();
    let mut text = String::new();
    for other in &api.headers {
        for item in other.sections.iter().flat_map(|section| &section.items) {
            let Item::Handle(handle) = item else { continue };
            let in_main = is_main(other) || named.contains(&format!("{} *", handle.name));
            if in_main == is_main(header) && (in_main || other.file == header.file) {
                text.push('\n');
                text += &declaration(item);
            }
        }
    }
    text
}

fn main(api: &Api, header: &Header, overview: &str) -> String {
    let mut text = overview.to_owned();
    text += &opening(&header.file);
    text += "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\n";
    text += &version(api);
    text += ENUM_MACRO;
    text += "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n";
    text += &handles(api, header);
    text += &sections(&header.sections);
    text += "\n#ifdef __cplusplus\n}\n#endif\n";
    if api.headers.len() > 1 {
        text.push('\n');
    }
    for other in &api.headers {
        if other.file != header.file {
            let _ = writeln!(text, "#include \"{}\"", other.file);
        }
    }
    text + "\n#endif\n"
}

fn part(api: &Api, header: &Header) -> String {
    let title = header.sections.first().map_or("", |section| section.title.as_str());
    let mut text = format!("/**\n * {title}: a part of replication.h, which includes it.\n */\n");
    text += &opening(&header.file);
    text += "#include \"replication.h\"\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n";
    text += &handles(api, header);
    text += &sections(&header.sections);
    text + "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
}

fn opening(file: &str) -> String {
    let guard = file.replace('.', "_").to_uppercase();
    format!(
        "#ifndef {guard}\n#define {guard}\n\n\
         /* Generated from src/ffi. Change the text there, then run `make header`. */\n\n"
    )
}

fn version(api: &Api) -> String {
    let parts: Vec<u64> = api.version.split('.').filter_map(|part| part.parse().ok()).collect();
    let [major, minor, patch] = parts[..] else { panic!("the version {} has not three numbers", api.version) };
    format!(
        "/** The version of this header. The number is major * 1000000 + minor * 1000 + patch. */\n\
         #define REPLICATION_VERSION_MAJOR {major}\n\
         #define REPLICATION_VERSION_MINOR {minor}\n\
         #define REPLICATION_VERSION_PATCH {patch}\n\
         #define REPLICATION_VERSION_NUMBER {}\n",
        major * 1_000_000 + minor * 1_000 + patch
    )
}

fn sections(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let _ = writeln!(text, "\n/* {} {} */", section.title, "-".repeat(WIDTH - 7 - section.title.len()));
        let mut after_constant = false;
        // Handles stand at the beginning of a header: callbacks of other sections name them.
        for item in section.items.iter().filter(|item| !matches!(item, Item::Handle(_))) {
            let is_constant = matches!(item, Item::Constant(_));
            // Constants stand together.
            if !(after_constant && is_constant) {
                text.push('\n');
            }
            after_constant = is_constant;
            text += &declaration(item);
        }
    }
    text
}

fn declaration(item: &Item) -> String {
    match item {
        Item::Handle(handle) => comment(&handle.doc, "") + &format!("typedef struct {0} {0};\n", handle.name),
        Item::Constant(constant) => {
            comment(&constant.doc, "") + &format!("#define {} {}\n", constant.name, constant.value)
        }
        Item::Enum(item) => enumeration(item),
        Item::Struct(item) => structure(item),
        Item::Callback(Callback { name, doc, returns, parameters }) => {
            comment(doc, "") + &prototype(&format!("typedef {}(*{name})(", spaced(returns)), parameters)
        }
        Item::Function(function) => {
            let before = format!("{}{}(", spaced(&function.returns), function.name);
            comment(&function.doc, "") + &prototype(&before, &function.parameters)
        }
    }
}

fn enumeration(item: &Enum) -> String {
    let mut text = comment(&item.doc, "") + &format!("REPLICATION_ENUM({}, {}) {{\n", item.name, item.r#type);
    for member in &item.members {
        let declared = format!("    {}_{} = {},", item.prefix, member.name, member.value);
        match &member.doc[..] {
            [line] if declared.len() + line.chars().count() + 10 <= WIDTH => {
                let _ = writeln!(text, "{declared} /**< {line} */");
            }
            doc => {
                text += &comment(doc, "    ");
                text += &declared;
                text.push('\n');
            }
        }
    }
    text + "};\n"
}

fn structure(item: &Struct) -> String {
    let mut text = comment(&item.doc, "") + &format!("typedef struct {} {{\n", item.name);
    for field in &item.fields {
        text += &comment(&field.doc, "    ");
        let _ = writeln!(text, "    {}{};", spaced(&field.r#type), field.name);
    }
    text + &format!("}} {};\n", item.name)
}

/// A type before a name: `int ` and `char *`.
fn spaced(kind: &str) -> String {
    if kind.ends_with('*') { kind.to_owned() } else { format!("{kind} ") }
}

/// The parameters on the same line if they fit there, on lines of their own below otherwise.
fn prototype(before: &str, parameters: &[Parameter]) -> String {
    let declared: Vec<String> =
        parameters.iter().map(|parameter| format!("{}{}", spaced(&parameter.r#type), parameter.name)).collect();
    let list = if declared.is_empty() { "void".to_owned() } else { declared.join(", ") };
    if before.len() + list.len() + 2 <= WIDTH {
        return format!("{before}{list});\n");
    }
    let mut text = before.to_owned();
    let mut line = String::new();
    for (at, parameter) in declared.iter().enumerate() {
        let parameter = format!("{parameter}{}", if at + 1 == declared.len() { ");" } else { "," });
        if line.is_empty() || line.len() + 1 + parameter.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = format!("    {parameter}");
        } else {
            line.push(' ');
            line += &parameter;
        }
    }
    text + &line + "\n"
}

/// A comment on one line if it fits there.
fn comment(doc: &[String], indent: &str) -> String {
    let lines = text::comment(doc, WIDTH - indent.len() - 3);
    match &lines[..] {
        [line] if indent.len() + line.chars().count() + 7 <= WIDTH => format!("{indent}/** {line} */\n"),
        _ => {
            let mut text = format!("{indent}/**\n");
            for line in lines {
                let _ = writeln!(text, "{}", format!("{indent} * {line}").trim_end());
            }
            text + indent + " */\n"
        }
    }
}
