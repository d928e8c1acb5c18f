//! Text to instructions, one statement a line, as `bdl-ptx` writes it. What is not understood is an error.

mod operands;
mod operations;

use crate::Fault;
use crate::instruction::{Class, Constant, Declared, Function, Instruction, Op, Register, Type};
use crate::launch::SHARED_ALIGNMENT;
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
struct Parser {
    /// With the type that each was declared with.
    registers: HashMap<String, (Type, Register)>,
    words: usize,
    longs: usize,
    truths: usize,
    /// Of words and of long ones, behind those that are declared.
    word_constants: RefCell<Constants>,
    long_constants: RefCell<Constants>,
    shared: HashMap<String, u64>,
    shared_bytes: usize,
    /// Of what the launch says the size: it lies behind the rest, whatever it is called.
    dynamic_shared: Vec<String>,
    dynamic_alignment: usize,
    version: (u32, u32),
    target: u32,
    only: bool,
    parameters: Vec<String>,
    labels: HashMap<String, usize>,
    line: usize,
}

/// What stands in registers that nobody writes, each once.
#[derive(Default)]
struct Constants {
    numbers: HashMap<Constant, Register>,
    in_order: Vec<Constant>,
}

impl Constants {
    fn number(&mut self, constant: Constant) -> Register {
        *self.numbers.entry(constant).or_insert_with(|| {
            self.in_order.push(constant);
            self.in_order.len() as Register - 1
        })
    }
}

type Parsed<T> = Result<T, Fault>;

/// Shared memory that a text can declare; there may be more if the launch says its size.
const STATIC_SHARED: usize = 48 << 10;

/// Where instructions begin to exist: what their names begin with, `.version` and `.target`.
const SINCE: [(&str, (u32, u32), u32); 8] = [
    ("ldmatrix.", (6, 5), 75),
    ("cp.async.", (7, 0), 80),
    ("mma.", (7, 0), 80),
    ("redux.", (7, 0), 80),
    ("cvt.rna.tf32.", (7, 0), 80),
    ("cvt.rn.bf16", (7, 0), 80),
    ("fence.proxy.async", (8, 0), 90),
    ("wgmma.", (8, 0), 90),
];

/// Those that exist for one processor only, whose name ends with an `a`.
const ONLY: [&str; 1] = ["wgmma."];

/// The function of a module.
pub fn parse(text: &str) -> Parsed<Function> {
    let mut p = Parser::default();
    let (mut threads, mut name) = (0, None);
    let mut statements: Vec<(usize, String)> = Vec::new();
    let mut in_body = false;
    for (i, line) in text.lines().enumerate() {
        p.line = i + 1;
        let line = without_comments(line);
        let line = line.trim();
        if line.is_empty() || line == ")" {
            continue;
        }
        if let Some(rest) = line.strip_prefix(".version ") {
            let (major, minor) = rest.split_once('.').ok_or(p.fault("a version has two numbers"))?;
            p.version = (p.number(major)? as u32, p.number(minor)? as u32);
        } else if let Some(rest) = line.strip_prefix(".target sm_") {
            p.only = rest.ends_with('a');
            p.target = p.number(rest.trim_end_matches('a'))? as u32;
        } else if line == ".address_size 64" {
        } else if let Some(rest) = line.strip_prefix(".visible .entry ") {
            if name.is_some() {
                return Err(p.fault("a second function"));
            }
            name = Some(rest.trim_end_matches('(').trim().to_string());
        } else if let Some(rest) = line.strip_prefix(".param .u64 ") {
            p.parameters.push(rest.trim_end_matches(',').trim().to_string());
        } else if let Some(rest) = line.strip_prefix(".maxntid ") {
            threads = p.number(rest.split(',').next().unwrap_or(""))? as u32;
        } else if let Some(rest) = line.strip_prefix(".minnctapersm ") {
            // How many blocks run at a time changes nothing here.
            p.number(rest)?;
        } else if line == "{" {
            in_body = true;
        } else if line == "}" {
            in_body = false;
        } else if let (true, Some(rest)) = (in_body, line.strip_prefix(".reg ")) {
            p.declare(rest)?;
        } else if let (true, Some(rest)) = (in_body, line.strip_prefix(".shared .align 16 ")) {
            p.share(rest)?;
        } else if let (false, Some(rest)) = (in_body, line.strip_prefix(".extern .shared .align ")) {
            let (alignment, array) = rest.split_once(" .b8 ").ok_or(p.fault("bytes of shared memory"))?;
            let array = array.strip_suffix("[];").ok_or(p.fault("a name without a size"))?;
            p.dynamic_alignment = p.dynamic_alignment.max(p.number(alignment)? as usize);
            p.dynamic_shared.push(array.to_string());
        } else if let (true, Some(label)) = (in_body, line.strip_suffix(':')) {
            p.labels.insert(label.to_string(), statements.len());
        } else if let (true, Some(statement)) = (in_body, line.strip_suffix(';')) {
            statements.push((p.line, statement.trim().to_string()));
        } else {
            return Err(p.fault(format!("`{line}` is not understood")));
        }
    }
    if p.shared_bytes > STATIC_SHARED {
        return Err(p.fault(format!("{} bytes of shared memory, of {STATIC_SHARED} at most", p.shared_bytes)));
    }
    let dynamic_alignment = p.dynamic_alignment.max(SHARED_ALIGNMENT);
    let behind = p.shared_bytes.next_multiple_of(dynamic_alignment) as u64;
    p.shared.extend(p.dynamic_shared.iter().map(|name| (name.clone(), behind)));
    let mut code = Vec::new();
    for (line, statement) in statements {
        p.line = line;
        code.push(p.instruction(&statement)?);
    }
    Ok(Function {
        name: name.ok_or(Fault::new("no function"))?,
        version: p.version,
        target: p.target,
        only: p.only,
        parameters: p.parameters,
        words: Declared { declared: p.words, constants: p.word_constants.into_inner().in_order },
        longs: Declared { declared: p.longs, constants: p.long_constants.into_inner().in_order },
        truths: p.truths,
        has_products: code.iter().any(|instruction: &Instruction| matches!(instruction.op, Op::OfWarpgroup(_))),
        code,
        shared: p.shared_bytes,
        has_dynamic_shared: !p.dynamic_shared.is_empty(),
        dynamic_alignment,
        threads,
    })
}

fn without_comments(line: &str) -> String {
    let line = line.split("//").next().unwrap_or("");
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

impl Parser {
    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::at(self.line, what)
    }

    fn number(&self, text: &str) -> Parsed<u64> {
        text.trim().parse().map_err(|_| self.fault(format!("`{text}` is no number")))
    }

    fn declare(&mut self, text: &str) -> Parsed<()> {
        let text = text.trim_end_matches(';');
        let (class, names) = text.split_once(' ').ok_or(self.fault("a class and names"))?;
        for name in names.split(',').map(str::trim) {
            match name.split_once('<') {
                Some((prefix, count)) => {
                    for i in 0..self.number(count.trim_end_matches('>'))? {
                        self.new_register(class, &format!("{prefix}{i}"))?;
                    }
                }
                None => self.new_register(class, name)?,
            }
        }
        Ok(())
    }

    fn new_register(&mut self, class: &str, name: &str) -> Parsed<()> {
        let ty = match class {
            ".pred" => Type::Pred,
            ".b16" => Type::B16,
            ".b32" => Type::U32,
            ".f32" => Type::F32,
            ".b64" => Type::U64,
            ".f64" => Type::F64,
            _ => return Err(self.fault(format!("registers of {class}"))),
        };
        let count = match ty.class() {
            Class::Word => &mut self.words,
            Class::Long => &mut self.longs,
            Class::Truth => &mut self.truths,
        };
        let number = *count as Register;
        *count += 1;
        if self.registers.insert(name.to_string(), (ty, number)).is_some() {
            return Err(self.fault(format!("`{name}` is declared twice")));
        }
        Ok(())
    }

    fn share(&mut self, text: &str) -> Parsed<()> {
        let (class, array) = text.trim_end_matches(';').split_once(' ').ok_or(self.fault("a class and a name"))?;
        let (name, count) = array.split_once('[').ok_or(self.fault("a number of elements"))?;
        let bytes = match class {
            ".f32" | ".b32" => 4,
            ".f64" | ".b64" => 8,
            ".b16" => 2,
            ".b8" => 1,
            _ => return Err(self.fault(format!("shared memory of {class}"))),
        };
        let count = self.number(count.trim_end_matches(']'))? as usize;
        self.shared_bytes = self.shared_bytes.next_multiple_of(SHARED_ALIGNMENT);
        self.shared.insert(name.to_string(), self.shared_bytes as u64);
        self.shared_bytes += count * bytes;
        Ok(())
    }

    fn instruction(&self, text: &str) -> Parsed<Instruction> {
        let (guard, text) = match text.strip_prefix('@') {
            None => (None, text),
            Some(rest) => {
                let (guard, text) = rest.split_once(' ').ok_or(self.fault("a guarded instruction"))?;
                let (holds, name) = match guard.strip_prefix('!') {
                    Some(name) => (false, name),
                    None => (true, guard),
                };
                (Some((self.register(name, Type::Pred)?, holds)), text.trim())
            }
        };
        let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
        if let Some((_, version, target)) = SINCE.iter().find(|(prefix, ..)| name.starts_with(prefix))
            && (self.version < *version || self.target < *target)
        {
            let (major, minor) = version;
            return Err(self.fault(format!("`{name}` needs .version {major}.{minor} and .target sm_{target}")));
        }
        if ONLY.iter().any(|prefix| name.starts_with(prefix)) && !self.only {
            return Err(self.fault(format!("`{name}` needs a .target of one processor, sm_{}a", self.target)));
        }
        let words: Vec<&str> = name.split('.').collect();
        let operands = split_operands(operands);
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        Ok(Instruction { guard, op: self.op(name, &words, &operands)?, line: self.line })
    }
}

/// Operands between commas, a list in braces being one.
fn split_operands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut own) = (0, String::new());
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(std::mem::take(&mut own).trim().to_string());
                continue;
            }
            _ => {}
        }
        own.push(c);
    }
    if !own.trim().is_empty() {
        found.push(own.trim().to_string());
    }
    found
}

/// `{a, b}`
fn list(text: &str) -> Vec<String> {
    text.trim_start_matches('{').trim_end_matches('}').split(',').map(|name| name.trim().to_string()).collect()
}
