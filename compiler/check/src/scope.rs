//! Which names a file may use: its own, those of the files it uses, the standard library's, in this order.

use crate::suggest::nearest;
use crate::{Modules, walk};
use bdl_grammar::ast::{self, Item, ItemKind, Use};
use bdl_grammar::{Diagnostic, FileId, Span};
use std::collections::{HashMap, HashSet};

/// A file of the program, by its position in [`Items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileAt(pub usize);

/// A definition and the file whose names its body sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Def<'a> {
    pub item: &'a Item,
    pub file: FileAt,
}

pub(crate) struct Items<'a> {
    files: Vec<FileItems<'a>>,
    /// `use std.nn` is allowed for these.
    std_names: HashSet<String>,
    /// Definitions that mention themselves, directly or through others.
    recursive: HashSet<(FileAt, String)>,
}

struct FileItems<'a> {
    id: FileId,
    stdlib: bool,
    names: HashMap<&'a str, &'a Item>,
    uses: Vec<FileAt>,
    items: &'a [Item],
}

/// The name that an item defines, where it defines one.
pub(crate) fn item_name(item: &Item) -> Option<&ast::Name> {
    match &item.kind {
        ItemKind::Fn(def) => Some(&def.name),
        ItemKind::Layer(def) | ItemKind::Model(def) => Some(&def.name),
        ItemKind::Optimizer(def) => Some(&def.name),
        ItemKind::Type(def) => Some(&def.name),
        ItemKind::Alphabet(def) => Some(&def.name),
        ItemKind::Const(def) => Some(&def.name),
        ItemKind::Let(def) => Some(&def.name),
        ItemKind::Data(_)
        | ItemKind::Train(_)
        | ItemKind::Tune(_)
        | ItemKind::Expect(_)
        | ItemKind::Use(_)
        | ItemKind::Error => None,
    }
}

impl<'a> Items<'a> {
    pub fn new(modules: &'a Modules, diagnostics: &mut Vec<Diagnostic>) -> Items<'a> {
        let mut items = Items { files: Vec::new(), std_names: HashSet::new(), recursive: HashSet::new() };
        items.add(&modules.main, false, diagnostics);
        for file in &modules.used {
            items.add(file, false, diagnostics);
        }
        for std in &modules.stdlib {
            items.add(&std.file, true, diagnostics);
            items.std_names.insert(std.name.clone());
        }
        items.link(modules, diagnostics);
        items.find_cycles(diagnostics);
        items.find_recursion(diagnostics);
        items.find_recursive_types(diagnostics);
        items
    }

    fn add(&mut self, file: &'a ast::File, stdlib: bool, diagnostics: &mut Vec<Diagnostic>) {
        let mut names: HashMap<&'a str, &'a Item> = HashMap::new();
        let mut data: HashMap<&'a str, &'a ast::Name> = HashMap::new();
        for item in &file.items {
            // Data blocks, and train blocks, are named apart from definitions.
            if let ItemKind::Data(def) = &item.kind {
                let name = &def.name;
                if let Some(first) = data.insert(&name.text, name) {
                    diagnostics.push(twice(name, first.span));
                }
                continue;
            }
            let Some(name) = item_name(item) else { continue };
            if name.text.is_empty() {
                continue;
            }
            match names.get(name.text.as_str()) {
                Some(first) => {
                    let span = item_name(first).map_or(first.span, |first| first.span);
                    diagnostics.push(twice(name, span));
                }
                None => {
                    names.insert(&name.text, item);
                }
            }
        }
        self.files.push(FileItems { id: file.span.file, stdlib, names, uses: Vec::new(), items: &file.items });
    }

    fn link(&mut self, modules: &Modules, diagnostics: &mut Vec<Diagnostic>) {
        for at in 0..self.files.len() {
            let mut uses = Vec::new();
            for item in self.files[at].items {
                let ItemKind::Use(used) = &item.kind else { continue };
                match used {
                    Use::File(path) => {
                        let link = modules.links.iter().find(|l| l.from == self.files[at].id && l.path == path.text);
                        let to = link.and_then(|link| self.files.iter().position(|file| file.id == link.to));
                        // Without a link the driver has said why.
                        uses.extend(to.map(FileAt));
                    }
                    Use::Module(path) => {
                        let known = match path.as_slice() {
                            [std] => std.text == "std",
                            [std, name] => std.text == "std" && self.std_names.contains(&name.text),
                            [] | [..] => false,
                        };
                        if !known {
                            let shown = path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".");
                            let mut names: Vec<&str> = self.std_names.iter().map(String::as_str).collect();
                            names.sort_unstable();
                            diagnostics.push(
                                Diagnostic::error("unknown-module", format!("there is no module `{shown}`"))
                                    .primary(item.span, "not a part of the standard library")
                                    .note(format!("the standard library has {}", names.join(", ")))
                                    .help("the standard library needs no `use`; a file is used by its path: `use \"./blocks.bdl\"`"),
                            );
                        }
                    }
                }
            }
            self.files[at].uses = uses;
        }
    }

    fn find_cycles(&self, diagnostics: &mut Vec<Diagnostic>) {
        // Depth first; a file that is met again while it is open closes a cycle.
        fn visit(
            items: &Items,
            at: usize,
            open: &mut Vec<usize>,
            done: &mut Vec<bool>,
            diagnostics: &mut Vec<Diagnostic>,
        ) {
            if done[at] {
                return;
            }
            open.push(at);
            let used = items.files[at]
                .items
                .iter()
                .filter_map(|item| if let ItemKind::Use(Use::File(path)) = &item.kind { Some(path) } else { None });
            for (path, to) in used.zip(items.files[at].uses.clone()) {
                if open.contains(&to.0) {
                    diagnostics.push(
                        Diagnostic::error("use-cycle", format!("`{}` uses this file in turn", path.text))
                            .primary(path.span, "this closes a circle of files")
                            .help("move what both need into a file of its own"),
                    );
                } else {
                    visit(items, to.0, open, done, diagnostics);
                }
            }
            open.pop();
            done[at] = true;
        }
        let mut done = vec![false; self.files.len()];
        for at in 0..self.files.len() {
            visit(self, at, &mut Vec::new(), &mut done, diagnostics);
        }
    }

    /// A function or layer that reaches itself would be unrolled for ever.
    fn find_recursion(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        // Which definitions each definition mentions, and where.
        let mut mentions: HashMap<Place, Vec<(Place, Span)>> = HashMap::new();
        for (at, file) in self.files.iter().enumerate().filter(|(_, file)| !file.stdlib) {
            for (name, item) in &file.names {
                let (body, inputs, hyper): (_, &[ast::Param], &[ast::Param]) = if let ItemKind::Fn(def) = &item.kind {
                    (&def.body, &def.inputs, &[])
                } else if let ItemKind::Layer(def) | ItemKind::Model(def) = &item.kind {
                    (&def.body, &def.inputs, &def.hyper)
                } else {
                    continue;
                };
                let mut own: HashSet<&str> = inputs.iter().chain(hyper).map(|p| p.name.text.as_str()).collect();
                for stmt in &body.stmts {
                    if let ast::StmtKind::Let(ast::Let { name, .. }) | ast::StmtKind::Fn(ast::Fn { name, .. }) =
                        &stmt.kind
                    {
                        own.insert(&name.text);
                    }
                }
                let mut found = Vec::new();
                walk::block(body, &mut |mentioned| {
                    if own.contains(mentioned.text.as_str()) {
                        return;
                    }
                    if let Some(def) = self.find(FileAt(at), &mentioned.text)
                        && matches!(def.item.kind, ItemKind::Fn(_) | ItemKind::Layer(_) | ItemKind::Model(_))
                    {
                        found.push(((def.file, mentioned.text.as_str()), mentioned.span));
                    }
                });
                mentions.insert((FileAt(at), name), found);
            }
        }
        for (name, span, circle) in self.circles(&mentions) {
            diagnostics.push(recursion(name, span));
            self.recursive.extend(circle);
        }
    }

    /// A type that holds itself has no size.
    fn find_recursive_types(&mut self, diagnostics: &mut Vec<Diagnostic>) {
        let mut mentions: HashMap<Place, Vec<(Place, Span)>> = HashMap::new();
        for (at, file) in self.files.iter().enumerate().filter(|(_, file)| !file.stdlib) {
            for (name, item) in &file.names {
                let ItemKind::Type(alias) = &item.kind else { continue };
                let mut found = Vec::new();
                walk::type_words(&alias.ty, &mut |word| {
                    if let Some(def) = self.find(FileAt(at), &word.text)
                        && matches!(def.item.kind, ItemKind::Type(_))
                    {
                        found.push(((def.file, word.text.as_str()), word.span));
                    }
                });
                mentions.insert((FileAt(at), name), found);
            }
        }
        for (name, span, circle) in self.circles(&mentions) {
            diagnostics.push(made_of_itself(name, span));
            self.recursive.extend(circle);
        }
    }

    /// Each circle of definitions once: its first one's name, where that is mentioned, and all that are on it.
    fn circles<'n>(
        &self,
        mentions: &HashMap<Place<'n>, Vec<(Place<'n>, Span)>>,
    ) -> Vec<(&'n str, Span, Vec<(FileAt, String)>)> {
        let mut starts: Vec<_> = mentions.keys().copied().collect();
        starts.sort_by_key(|(file, name)| (file.0, self.files[file.0].names[name].span.start));
        let mut known: HashSet<Place> = HashSet::new();
        let mut found = Vec::new();
        for start in starts {
            if known.contains(&start) {
                continue;
            }
            if let Some((circle, span)) = circle(mentions, start) {
                known.extend(&circle);
                found.push((start.1, span, circle.into_iter().map(|(file, name)| (file, name.to_string())).collect()));
            }
        }
        found
    }

    pub fn main(&self) -> FileAt {
        FileAt(0)
    }

    pub fn is_stdlib(&self, file: FileId) -> bool {
        self.files.iter().any(|f| f.id == file && f.stdlib)
    }

    /// Files that are not the standard library's.
    pub fn users(&self) -> impl Iterator<Item = FileAt> {
        self.files.iter().enumerate().filter(|(_, file)| !file.stdlib).map(|(at, _)| FileAt(at))
    }

    pub fn of(&self, file: FileAt) -> &'a [Item] {
        self.files[file.0].items
    }

    pub fn is_recursive(&self, file: FileAt, name: &str) -> bool {
        self.recursive.contains(&(file, name.to_string()))
    }

    /// What `name` means in a file.
    pub fn find(&self, from: FileAt, name: &str) -> Option<Def<'a>> {
        let own = |file: FileAt| self.files[file.0].names.get(name).map(|&item| Def { item, file });
        if let Some(def) = own(from) {
            return Some(def);
        }
        if name.starts_with('_') {
            return None;
        }
        let used = self.files[from.0].uses.iter().find_map(|&file| own(file));
        used.or_else(|| (0..self.files.len()).filter(|&at| self.files[at].stdlib).find_map(|at| own(FileAt(at))))
    }

    /// A used file's private name, if that is what `name` is.
    pub fn find_private(&self, from: FileAt, name: &str) -> Option<&'a ast::Name> {
        let used = self.files[from.0].uses.iter();
        used.filter(|_| name.starts_with('_'))
            .find_map(|&file| self.files[file.0].names.get(name).and_then(|item| item_name(item)))
    }

    /// A data block of this file or of those it uses.
    pub fn find_data(&self, from: FileAt, name: &str) -> Option<&'a ast::Data> {
        let files = std::iter::once(from).chain(self.files[from.0].uses.iter().copied());
        files.into_iter().find_map(|file| {
            let blocks = self.files[file.0].items.iter();
            let mut blocks =
                blocks.filter_map(|item| if let ItemKind::Data(data) = &item.kind { Some(data) } else { None });
            blocks.find(|data| data.name.text == name)
        })
    }

    /// Every name that `from` sees.
    pub fn visible(&self, from: FileAt) -> Vec<&'a str> {
        let mut names = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            let own = FileAt(at) == from;
            if own || file.stdlib || self.files[from.0].uses.contains(&FileAt(at)) {
                names.extend(file.names.keys().copied().filter(|name| own || !name.starts_with('_')));
            }
        }
        names.sort_unstable();
        names
    }

    pub fn suggestion(&self, from: FileAt, name: &str) -> Option<&'a str> {
        nearest(name, self.visible(from))
    }
}

/// A definition: its file and its name.
type Place<'n> = (FileAt, &'n str);

/// The definitions on a way from `start` back to it, and where the last of them mentions it.
fn circle<'n>(
    mentions: &HashMap<Place<'n>, Vec<(Place<'n>, Span)>>,
    start: Place<'n>,
) -> Option<(Vec<Place<'n>>, Span)> {
    let mut came_from: HashMap<Place, Place> = HashMap::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for (to, span) in mentions.get(&at).into_iter().flatten() {
            if *to == start {
                let mut circle = vec![at];
                while let Some(before) =
                    circle.last().filter(|last| **last != start).and_then(|last| came_from.get(last))
                {
                    circle.push(*before);
                }
                return Some((circle, *span));
            }
            if !came_from.contains_key(to) {
                came_from.insert(*to, at);
                open.push(*to);
            }
        }
    }
    None
}

pub(crate) fn twice(name: &ast::Name, first: Span) -> Diagnostic {
    Diagnostic::error("duplicate-name", format!("`{name}` is defined twice"))
        .primary(name.span, "here again")
        .secondary(first, "first here")
        .help("give one of them another name")
}

pub(crate) fn recursion(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("recursion", format!("`{name}` applies itself"))
        .primary(span, "this would go on for ever")
        .help("repeat a layer with `chain(_ in n: ..)`, and a step with `scan` or `iterate`")
}

/// Of a constant or a type.
pub(crate) fn made_of_itself(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("recursion", format!("`{name}` is made of itself"))
        .primary(span, "this would go on for ever")
        .help("a constant and a type stand for what is written in their place, so neither may mention itself, directly or through others")
}
