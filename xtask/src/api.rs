//! The description of the interface, as `include/replication.api.json` has it.

use serde::Serialize;

/// Everything that the library shows to C.
#[derive(Serialize)]
pub struct Api {
    pub version: String,
    pub abi_version: u64,
    pub soname: String,
    pub headers: Vec<Header>,
    pub statistics: Vec<Statistics>,
}

/// The keys of a JSON object that a function gives out.
#[derive(Serialize)]
pub struct Statistics {
    pub title: String,
    pub doc: Vec<String>,
    pub keys: Vec<Key>,
}

/// `type` is JSON's: number, boolean, text, time or objects.
#[derive(Serialize)]
pub struct Key {
    pub name: String,
    pub r#type: String,
    pub nullable: bool,
    pub doc: Vec<String>,
}

/// One header file, with its sections in order.
#[derive(Serialize)]
pub struct Header {
    pub file: String,
    pub sections: Vec<Section>,
}

#[derive(Serialize)]
pub struct Section {
    pub title: String,
    pub items: Vec<Item>,
}

impl Section {
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.items.iter().filter_map(|item| if let Item::Function(function) = item { Some(function) } else { None })
    }
}

/// A declaration. `doc` is what its comment says, in Markdown, one string for each paragraph or list item.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    Constant(Constant),
    Enum(Enum),
    Handle(Handle),
    Struct(Struct),
    Callback(Callback),
    Function(Function),
}

#[derive(Serialize)]
pub struct Constant {
    pub name: String,
    pub value: u64,
    pub doc: Vec<String>,
}

/// `name` is the type's name in C; a member's is `prefix`, `_` and its own.
#[derive(Serialize)]
pub struct Enum {
    pub name: String,
    pub prefix: String,
    pub r#type: String,
    pub doc: Vec<String>,
    pub members: Vec<Member>,
}

#[derive(Serialize)]
pub struct Member {
    pub name: String,
    pub value: i64,
    pub doc: Vec<String>,
    /// Of a kind of event: when a sender and a receiver report it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
}

/// What an event says, and when it comes. Parts that say nothing are empty.
#[derive(Default, Serialize)]
pub struct Report {
    pub at: String,
    pub when: String,
    pub status: String,
    pub sequence: String,
    pub detail: String,
}

/// A type whose contents are the library's.
#[derive(Serialize)]
pub struct Handle {
    pub name: String,
    pub doc: Vec<String>,
}

#[derive(Serialize)]
pub struct Struct {
    pub name: String,
    pub doc: Vec<String>,
    pub fields: Vec<Field>,
}

#[derive(Serialize)]
pub struct Field {
    pub name: String,
    pub r#type: String,
    pub doc: Vec<String>,
}

/// A pointer to a function of the host.
#[derive(Serialize)]
pub struct Callback {
    pub name: String,
    pub doc: Vec<String>,
    pub returns: String,
    pub parameters: Vec<Parameter>,
}

#[derive(Serialize)]
pub struct Function {
    pub name: String,
    pub doc: Vec<String>,
    /// Of an option: when to change it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    pub returns: String,
    pub parameters: Vec<Parameter>,
    /// The statuses that its comment names, without the prefix. Every function with a handle may also return those that
    /// the overview names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
}

#[derive(Serialize)]
pub struct Parameter {
    pub name: String,
    pub r#type: String,
    pub direction: Direction,
    /// Whether NULL has a meaning. Elsewhere it is refused with INVALID_ARGUMENT.
    pub nullable: bool,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    In,
    Out,
}

impl Api {
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.headers.iter().flat_map(|header| &header.sections)
    }

    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.sections().flat_map(|section| &section.items)
    }

    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.sections().flat_map(Section::functions)
    }

    pub fn callbacks(&self) -> impl Iterator<Item = &Callback> {
        self.items().filter_map(|item| if let Item::Callback(callback) = item { Some(callback) } else { None })
    }

    pub fn enums(&self) -> impl Iterator<Item = &Enum> {
        self.items().filter_map(|item| if let Item::Enum(of) = item { Some(of) } else { None })
    }

    pub fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.items().filter_map(|item| if let Item::Struct(of) = item { Some(of) } else { None })
    }

    pub fn constants(&self) -> impl Iterator<Item = &Constant> {
        self.items().filter_map(|item| if let Item::Constant(constant) = item { Some(constant) } else { None })
    }

    /// The enumeration with this name in C.
    ///
    /// # Panics
    /// When there is none: a generator that asks for it cannot go on.
    pub fn enum_named(&self, name: &str) -> &Enum {
        self.enums().find(|of| of.name == name).unwrap_or_else(|| panic!("src/ffi has no enumeration {name}"))
    }
}
