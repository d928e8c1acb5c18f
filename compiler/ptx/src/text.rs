//! A function's text while it is written: registers, labels, lines.
//!
//! ```text
//! .visible .entry kernel$relu(
//!     .param .u64 x_0,
//!     ..
//! {
//!     .reg .f32 %v0, %v1;          registers, declared as they were asked for
//!     ld.param.u64 ..              the head: arguments and sizes, each once
//!     ..                           the body
//! }
//! ```
//!
//! Sizes are found to be needed while the body is written, but their lines belong before it: hence two texts.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// What a register holds; integers and bits are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Pred,
    B16,
    B32,
    B64,
    F32,
    F64,
}

impl Class {
    pub fn declared(self) -> &'static str {
        match self {
            Class::Pred => ".pred",
            Class::B16 => ".b16",
            Class::B32 => ".b32",
            Class::B64 => ".b64",
            Class::F32 => ".f32",
            Class::F64 => ".f64",
        }
    }

    /// First letters of registers that have no name of their own, as in text of other compilers.
    fn prefix(self) -> &'static str {
        match self {
            Class::Pred => "%p",
            Class::B16 => "%h",
            Class::B32 => "%r",
            Class::B64 => "%rd",
            Class::F32 => "%f",
            Class::F64 => "%fd",
        }
    }
}

/// The oldest language version and processor that the text so far needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    pub version: (u32, u32),
    pub target: u32,
    /// Exactly that processor: what it has, no later one need have.
    pub only: bool,
}

impl Needs {
    /// What every kernel needs: `shfl.sync` and `bar.warp.sync` are of 6.0, and today's drivers know processors from 5.0 on.
    pub const LEAST: Needs = Needs { version: (6, 0), target: 50, only: false };

    /// The first lines of a module.
    pub fn header(self) -> String {
        let ((major, minor), target) = (self.version, self.target);
        let only = if self.only { "a" } else { "" };
        format!(".version {major}.{minor}\n.target sm_{target}{only}\n.address_size 64\n")
    }
}

#[derive(Default)]
pub struct Writer {
    counts: BTreeMap<Class, u32>,
    named: BTreeMap<Class, Vec<String>>,
    names: HashSet<String>,
    labels: u32,
    shared: Vec<String>,
    /// The name of shared memory that the launch sizes, and its alignment.
    launch_shared: Option<(String, u32)>,
    takes_registers: bool,
    head: String,
    body: String,
    depth: usize,
    /// What names of registers begin with.
    prefix: String,
}

/// What was written before a part of a function with a head of its own.
pub struct Before {
    head: String,
    body: String,
    prefix: String,
}

impl Writer {
    /// A register without a name.
    pub fn temp(&mut self, class: Class) -> String {
        let count = self.counts.entry(class).or_insert(0);
        let name = format!("{}{count}", class.prefix());
        *count += 1;
        name
    }

    /// A register with a name, which gets a number where another one has it.
    pub fn named(&mut self, class: Class, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        let mut new = format!("%{name}");
        let mut number = 0;
        while !self.names.insert(new.clone()) {
            number += 1;
            new = format!("%{name}_{number}");
        }
        self.named.entry(class).or_default().push(new.clone());
        new
    }

    /// A label that no other is like.
    pub fn label(&mut self, what: &str) -> String {
        self.labels += 1;
        format!("${what}_{}", self.labels)
    }

    /// Shared memory of a block; the same one for the same name.
    pub fn shared(&mut self, name: &str, class: Class, count: u32) {
        let line = format!(".shared .align 16 {} {name}[{count}];", class.declared());
        if !self.shared.contains(&line) {
            self.shared.push(line);
        }
    }

    /// Shared memory of a block, as much as the launch asks for.
    pub fn shared_by_launch(&mut self, name: &str, alignment: u32) {
        self.launch_shared = Some((name.to_string(), alignment));
    }

    /// A thread may have as many registers as it likes: few blocks at a time are enough.
    pub fn take_registers(&mut self) {
        self.takes_registers = true;
    }

    /// From here on heads are those of a part, and names of registers begin with `prefix`.
    pub fn begin_part(&mut self, prefix: &str) -> Before {
        Before {
            head: std::mem::take(&mut self.head),
            body: std::mem::take(&mut self.body),
            prefix: std::mem::replace(&mut self.prefix, prefix.to_string()),
        }
    }

    /// The part's head and body follow what was written before.
    pub fn end_part(&mut self, before: Before) {
        let part = std::mem::replace(&mut self.head, before.head) + &self.body;
        self.body = before.body + &part;
        self.prefix = before.prefix;
    }

    /// A line of the head.
    pub fn head(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.head, "    {}", line.as_ref());
    }

    /// A line of the body.
    pub fn line(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.body, "    {:1$}{2}", "", 2 * self.depth, line.as_ref());
    }

    pub fn comment(&mut self, what: &str) {
        self.line(format!("// {what}"));
    }

    /// Where a jump to the label leads.
    pub fn place(&mut self, label: &str) {
        let _ = writeln!(self.body, "  {label}:");
    }

    pub fn deeper(&mut self) {
        self.depth += 1;
    }

    pub fn shallower(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A new register with the result of one operation: `op new, operands`.
    pub fn set(&mut self, class: Class, op: &str, operands: &[&str]) -> String {
        let new = self.temp(class);
        self.line(format!("{op} {new}, {};", operands.join(", ")));
        new
    }

    /// The module: `comments`, then the function.
    pub fn module(self, comments: &[String], entry: &str, parameters: &[String], threads: u32, needs: Needs) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}", needs.header());
        for comment in comments {
            let _ = writeln!(text, "// {comment}");
        }
        if let Some((name, alignment)) = &self.launch_shared {
            let _ = writeln!(text, ".extern .shared .align {alignment} .b8 {name}[];");
        }
        let _ = writeln!(text, ".visible .entry {entry}(\n    {}\n)", parameters.join(",\n    "));
        let _ = writeln!(text, ".maxntid {threads}, 1, 1");
        if self.takes_registers {
            let _ = writeln!(text, ".minnctapersm 1");
        }
        let _ = writeln!(text, "{{");
        for (class, count) in &self.counts {
            let _ = writeln!(text, "    .reg {} {}<{count}>;", class.declared(), class.prefix());
        }
        for (class, names) in &self.named {
            for names in names.chunks(8) {
                let _ = writeln!(text, "    .reg {} {};", class.declared(), names.join(", "));
            }
        }
        for shared in &self.shared {
            let _ = writeln!(text, "    {shared}");
        }
        let _ = write!(text, "\n{}\n{}", self.head, self.body);
        text.push_str("    ret;\n}\n");
        text
    }
}

/// A name as PTX allows it: letters, digits and `_`.
pub fn identifier(name: &str) -> String {
    let mut made: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !made.starts_with(|c: char| c.is_ascii_alphabetic()) {
        made.insert(0, 'k');
    }
    made
}

/// A number of f32 exactly.
pub fn f32_literal(value: f32) -> String {
    format!("0f{:08X}", value.to_bits())
}

/// A number of f64 exactly.
pub fn f64_literal(value: f64) -> String {
    format!("0d{:016X}", value.to_bits())
}
