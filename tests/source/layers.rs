//! The modules of `src/` form layers: docs/architecture.md says what each module may use, and no
//! two files depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

/// A module, by its path below the crate: `["kernel", "facts"]`.
type Module = Vec<String>;

/// The non-test modules of the program.
struct Program {
    files: BTreeMap<Module, syn::File>,
    /// The re-exports of a module: the name, and the module that defines it.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

/// The module of a file below `src/`; `None` for the crate's roots.
fn module_of(path: &Path) -> Option<Module> {
    let mut parts: Module = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (!["lib", "main"].contains(&parts.join("/").as_str())).then_some(parts)
}

impl Program {
    /// From paths below `src/` and their texts.
    fn new<'a>(texts: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Self {
        let mut files = BTreeMap::new();
        for (path, text) in texts {
            if let Some(module) = module_of(path) {
                files.insert(module, syn::parse_file(text).expect("Rust"));
            }
        }
        let mut exports = BTreeMap::new();
        for (module, file) in &files {
            let mut names = BTreeMap::new();
            for item in &file.items {
                if let syn::Item::Use(item) = item
                    && is_export(item)
                {
                    for path in flatten(&item.tree) {
                        let (Some(child), Some(name)) = (path.first(), path.last()) else {
                            continue;
                        };
                        let defining = [module.as_slice(), std::slice::from_ref(child)].concat();
                        if files.contains_key(&defining) {
                            names.insert(name.clone(), defining);
                        }
                    }
                }
            }
            exports.insert(module.clone(), names);
        }
        Self { files, exports }
    }

    fn here() -> Self {
        let sources: Vec<_> = crate::sources()
            .into_iter()
            .filter(|source| source.path.starts_with("src") && !source.is_test())
            .collect();
        Self::new(sources.iter().map(|source| {
            let path = source.path.strip_prefix("src").expect("under src");
            (path, source.text.as_str())
        }))
    }

    /// The module that a path in the module `from` refers to.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut at: Module = match path.first()?.as_str() {
            "crate" | "netatop" => Vec::new(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            _ => return None,
        };
        for name in path.iter().skip(1) {
            if name == "super" {
                at.pop()?;
                continue;
            }
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.files.contains_key(&child) {
                at = child;
            } else if let Some(defining) = self.exports.get(&at).and_then(|names| names.get(name)) {
                return Some(defining.clone());
            } else {
                break;
            }
        }
        (!at.is_empty()).then_some(at)
    }

    /// Which files use which others.
    fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut uses = BTreeMap::new();
        for (module, file) in &self.files {
            let mut paths = Paths::default();
            paths.visit_file(file);
            let used = paths.0.iter().filter_map(|path| self.resolve(module, path));
            let used: BTreeSet<Module> = used.filter(|used| used != module).collect();
            uses.insert(module.clone(), used);
        }
        uses
    }

    /// Which top-level modules use which others.
    fn layers(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut layers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, used) in self.uses() {
            let layer = layers.entry(module[0].clone()).or_default();
            let used = used.iter().map(|used| used[0].clone());
            layer.extend(used.filter(|used| *used != module[0]));
        }
        layers
    }
}

/// All paths of a `use` item.
fn flatten(tree: &syn::UseTree) -> Vec<Vec<String>> {
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree)
            .into_iter()
            .map(|rest| [vec![path.ident.to_string()], rest].concat())
            .collect(),
        syn::UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        syn::UseTree::Rename(name) => vec![vec![name.ident.to_string()]],
        syn::UseTree::Glob(_) => vec![Vec::new()],
        syn::UseTree::Group(group) => group.items.iter().flat_map(flatten).collect(),
    }
}

/// Collects the paths of a file, except in its tests.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

fn is_export(item: &syn::ItemUse) -> bool {
    !matches!(item.vis, syn::Visibility::Inherited)
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|argument| argument == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // A module within the file has its own `super`: the file itself.
        if !is_for_tests(&item.attrs)
            && let Some((_, items)) = &item.content
        {
            let mut inner = Self::default();
            for item in items {
                // A re-export of the file's children is not a use of the children.
                if !matches!(item, syn::Item::Use(item) if is_export(item)) {
                    inner.visit_item(item);
                }
            }
            for mut path in inner.0 {
                match path.first().map(String::as_str) {
                    Some("super") => path[0] = "self".to_owned(),
                    Some("crate" | "netatop") => {}
                    _ => continue,
                }
                self.0.push(path);
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_for_tests(&item.attrs) {
            return;
        }
        // A module that re-exports its children does not depend on them.
        let exports = is_export(item);
        let paths = flatten(&item.tree).into_iter();
        self.0.extend(paths.filter(|path| {
            !exports
                || path
                    .first()
                    .is_some_and(|first| first == "crate" || first == "super")
        }));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is a visibility: `pub(super)`.
        if path.segments.len() > 1 {
            let names = path.segments.iter().map(|part| part.ident.to_string());
            self.0.push(names.collect());
        }
        visit::visit_path(self, path);
    }
}

/// A cycle of dependencies, if there is one: the path from a file back to itself.
fn cycle(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn search(
        at: &Module,
        uses: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = way.iter().position(|before| before == at) {
            way.drain(..start);
            return true;
        }
        if !done.insert(at.clone()) {
            return false;
        }
        way.push(at.clone());
        let found = uses
            .get(at)
            .is_some_and(|used| used.iter().any(|used| search(used, uses, way, done)));
        if !found {
            way.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| {
        let mut way = Vec::new();
        search(module, uses, &mut way, &mut done).then_some(way)
    })
}

/// The table in docs/architecture.md: each module, and the modules that it may use. Lower modules
/// come first.
fn allowed() -> Vec<(String, BTreeSet<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(page).expect("docs/architecture.md");
    let (_, rest) = text.split_once("<!-- layers -->").expect("its beginning");
    let (table, _) = rest.split_once("<!-- /layers -->").expect("its end");
    let names = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let [module] = names(cells[1]).try_into().expect("one module");
            (module, names(cells[2]).into_iter().collect())
        })
        .collect()
}

#[test]
fn a_module_uses_only_what_the_architecture_allows() {
    let allowed: BTreeMap<_, _> = allowed().into_iter().collect();
    let mut wrong = Vec::new();
    for (module, used) in Program::here().layers() {
        let may = allowed.get(&module);
        let may = may.unwrap_or_else(|| panic!("docs/architecture.md lacks the module {module}"));
        let more: Vec<_> = used.difference(may).collect();
        if !more.is_empty() {
            wrong.push(format!("{module} uses {more:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/architecture.md does not allow it: {wrong:#?}"
    );
}

#[test]
fn allowed_dependencies_point_downwards() {
    let mut lower = BTreeSet::new();
    for (module, may) in allowed() {
        let upwards: Vec<_> = may.difference(&lower).collect();
        assert!(
            upwards.is_empty(),
            "{module} may use {upwards:?}, which are not below it"
        );
        assert!(lower.insert(module.clone()), "{module} is there twice");
    }
    let there: BTreeSet<_> = Program::here().layers().into_keys().collect();
    assert_eq!(
        lower, there,
        "the modules of src/ and those of docs/architecture.md"
    );
}

#[test]
fn no_two_files_depend_on_each_other() {
    if let Some(cycle) = cycle(&Program::here().uses()) {
        let names: Vec<_> = cycle.iter().map(|module| module.join("::")).collect();
        panic!("a cycle: {}", names.join(" -> "));
    }
}

#[test]
fn a_dependency_is_found_however_it_is_written() {
    let program = |text| {
        Program::new([
            (Path::new("low.rs"), text),
            (
                Path::new("high/mod.rs"),
                "mod one; pub use one::Thing; pub fn other() {}",
            ),
            (
                Path::new("high/one.rs"),
                "pub struct Thing; use super::two::x;",
            ),
            (Path::new("high/two.rs"), "pub fn x() {}"),
        ])
    };
    for text in [
        "use crate::high::Thing;",
        "use crate::{high::{one, two}};",
        "use super::high;",
        "fn f() { crate::high::other() }",
        "fn f(x: crate::high::Thing) {}",
        "mod inner { use crate::high::Thing; }",
    ] {
        let uses = program(text).layers();
        assert!(uses["low"].contains("high"), "{text}");
    }
    for text in [
        "#[cfg(test)] mod tests { use crate::high::Thing; }",
        "use std::fmt;",
    ] {
        assert!(program(text).layers()["low"].is_empty(), "{text}");
    }
    let uses = program("use crate::high::Thing;").uses();
    let of = |name: &str| -> Module { name.split("::").map(str::to_owned).collect() };
    assert_eq!(uses[&of("low")], [of("high::one")].into());
    assert_eq!(uses[&of("high::one")], [of("high::two")].into());
    assert_eq!(cycle(&uses), None);
    let round = Program::new([
        (
            Path::new("high/mod.rs"),
            "mod one; mod two; pub use one::A;",
        ),
        (Path::new("high/one.rs"), "use super::two::B; pub struct A;"),
        (Path::new("high/two.rs"), "use super::A; pub struct B;"),
    ]);
    assert_eq!(cycle(&round.uses()).map(|way| way.len()), Some(2));
}
