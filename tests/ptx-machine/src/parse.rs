//! Text to instructions, one statement a line, as `bdl-ptx` writes it. What is not understood is an error.

use crate::Fault;
use crate::instruction::{
    Binary, Compare, Exchange, Function, Instruction, Join, Op, Operand, Rounding, Space, Special, Type, Unary,
};
use std::collections::HashMap;

#[derive(Default)]
struct Parser {
    registers: HashMap<String, u32>,
    /// The class that each register was declared with.
    classes: Vec<String>,
    shared: HashMap<String, u64>,
    shared_bytes: usize,
    parameters: Vec<String>,
    labels: HashMap<String, usize>,
    line: usize,
}

type Parsed<T> = Result<T, Fault>;

/// The function of a module.
pub fn parse(text: &str) -> Parsed<Function> {
    let mut p = Parser::default();
    let (mut version, mut target, mut threads) = ((0, 0), 0, 0);
    let mut name = None;
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
            version = (p.number(major)? as u32, p.number(minor)? as u32);
        } else if let Some(rest) = line.strip_prefix(".target sm_") {
            target = p.number(rest)? as u32;
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
        } else if line == "{" {
            in_body = true;
        } else if line == "}" {
            in_body = false;
        } else if let (true, Some(rest)) = (in_body, line.strip_prefix(".reg ")) {
            p.declare(rest)?;
        } else if let (true, Some(rest)) = (in_body, line.strip_prefix(".shared .align 16 ")) {
            p.share(rest)?;
        } else if let (true, Some(label)) = (in_body, line.strip_suffix(':')) {
            p.labels.insert(label.to_string(), statements.len());
        } else if let (true, Some(statement)) = (in_body, line.strip_suffix(';')) {
            statements.push((p.line, statement.trim().to_string()));
        } else {
            return Err(p.fault(format!("`{line}` is not understood")));
        }
    }
    let mut code = Vec::new();
    for (line, statement) in statements {
        p.line = line;
        code.push(p.instruction(&statement)?);
    }
    Ok(Function {
        name: name.ok_or(Fault::new("no function"))?,
        version,
        target,
        parameters: p.parameters,
        code,
        registers: p.classes.len(),
        shared: p.shared_bytes,
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
        let number = self.classes.len() as u32;
        if self.registers.insert(name.to_string(), number).is_some() {
            return Err(self.fault(format!("`{name}` is declared twice")));
        }
        self.classes.push(class.to_string());
        Ok(())
    }

    fn share(&mut self, text: &str) -> Parsed<()> {
        let (class, array) = text.trim_end_matches(';').split_once(' ').ok_or(self.fault("a class and a name"))?;
        let (name, count) = array.split_once('[').ok_or(self.fault("a number of elements"))?;
        let bytes = match class {
            ".f32" | ".b32" => 4,
            ".f64" | ".b64" => 8,
            ".b16" => 2,
            _ => return Err(self.fault(format!("shared memory of {class}"))),
        };
        let count = self.number(count.trim_end_matches(']'))? as usize;
        self.shared_bytes = self.shared_bytes.next_multiple_of(16);
        self.shared.insert(name.to_string(), self.shared_bytes as u64);
        self.shared_bytes += count * bytes;
        Ok(())
    }

    fn register(&self, name: &str, ty: Type) -> Parsed<u32> {
        let number = *self.registers.get(name).ok_or(self.fault(format!("no register `{name}`")))?;
        let class = self.classes[number as usize].as_str();
        let fits = match ty {
            Type::Pred => class == ".pred",
            Type::B16 => class == ".b16",
            Type::U32 | Type::S32 => class == ".b32",
            Type::U64 | Type::S64 => class == ".b64",
            Type::F32 => class == ".f32",
            Type::F64 => class == ".f64",
        };
        if !fits {
            return Err(self.fault(format!("`{name}` is a register of {class}, not of {ty:?}")));
        }
        Ok(number)
    }

    /// A register that holds bits of this width, of any class.
    fn bits(&self, name: &str, bytes: usize) -> Parsed<u32> {
        let number = *self.registers.get(name).ok_or(self.fault(format!("no register `{name}`")))?;
        let own = match self.classes[number as usize].as_str() {
            ".b16" => 2,
            ".b32" | ".f32" => 4,
            ".b64" | ".f64" => 8,
            _ => 0,
        };
        if own != bytes {
            return Err(self.fault(format!("`{name}` has not {bytes} bytes")));
        }
        Ok(number)
    }

    fn immediate(&self, text: &str, ty: Type) -> Parsed<u64> {
        let hex =
            |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| self.fault(format!("`{text}` is no number")));
        match ty {
            Type::F32 => hex(text.strip_prefix("0f").ok_or(self.fault(format!("`{text}` is no f32")))?),
            Type::F64 => hex(text.strip_prefix("0d").ok_or(self.fault(format!("`{text}` is no f64")))?),
            Type::U32 | Type::S32 | Type::U64 | Type::S64 | Type::B16 => {
                if let Some(digits) = text.strip_prefix("0x") {
                    return hex(digits);
                }
                let number: i128 = text.parse().map_err(|_| self.fault(format!("`{text}` is no number")))?;
                let mask = u64::MAX >> (64 - 8 * ty.bytes());
                let fits = number >= -(1i128 << (8 * ty.bytes() - 1)) && number <= i128::from(mask);
                if !fits {
                    return Err(self.fault(format!("`{text}` does not fit {ty:?}")));
                }
                Ok(number as u64 & mask)
            }
            Type::Pred => Err(self.fault("a truth value has no immediate form")),
        }
    }

    fn operand(&self, text: &str, ty: Type) -> Parsed<Operand> {
        match text {
            "%tid.x" => return Ok(Operand::Special(Special::Thread)),
            "%ctaid.x" => return Ok(Operand::Special(Special::BlockX)),
            "%ctaid.y" => return Ok(Operand::Special(Special::BlockY)),
            _ => {}
        }
        if let Some(address) = self.shared.get(text) {
            return Ok(Operand::Number(*address));
        }
        if text.starts_with('%') {
            return Ok(Operand::Register(self.register(text, ty)?));
        }
        Ok(Operand::Number(self.immediate(text, ty)?))
    }

    /// An operand whose bits are moved.
    fn bits_operand(&self, text: &str, bytes: usize) -> Parsed<Operand> {
        if text.starts_with('%') && !text.contains('.') {
            return Ok(Operand::Register(self.bits(text, bytes)?));
        }
        let ty = match bytes {
            2 => Type::B16,
            4 => Type::U32,
            _ => Type::U64,
        };
        self.operand(text, ty)
    }

    fn type_of(&self, word: &str) -> Parsed<Type> {
        Ok(match word {
            "pred" => Type::Pred,
            "b16" | "u16" => Type::B16,
            "b32" | "u32" => Type::U32,
            "s32" => Type::S32,
            "b64" | "u64" => Type::U64,
            "s64" => Type::S64,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => return Err(self.fault(format!("the type `{word}` is not known"))),
        })
    }

    /// `[base+offset]`
    fn address(&self, text: &str, space: Space) -> Parsed<(Operand, i64)> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(self.fault("an address"))?;
        let (base, offset) = match inner.split_once('+') {
            Some((base, offset)) => {
                (base, offset.parse::<i64>().map_err(|_| self.fault(format!("`{offset}` is no offset")))?)
            }
            None => (inner, 0),
        };
        let base = match space {
            Space::Parameter => {
                let at = self.parameters.iter().position(|p| p == base);
                Operand::Number(8 * at.ok_or(self.fault(format!("no parameter `{base}`")))? as u64)
            }
            Space::Global => Operand::Register(self.register(base, Type::U64)?),
            Space::Shared => Operand::Register(self.register(base, Type::U32)?),
        };
        Ok((base, offset))
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
        let words: Vec<&str> = name.split('.').collect();
        let operands = split_operands(operands);
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        Ok(Instruction { guard, op: self.op(name, &words, &operands)?, line: self.line })
    }

    fn op(&self, name: &str, words: &[&str], operands: &[&str]) -> Parsed<Op> {
        let unknown = || self.fault(format!("`{name}` with {} operands is not known", operands.len()));
        let binary = |op: Binary, ty: &str, operands: &[&str]| -> Parsed<Op> {
            let &[to, a, b] = operands else { return Err(unknown()) };
            let ty = self.type_of(ty)?;
            // A shift is by 32 bits whatever is shifted.
            let by = if matches!(op, Binary::ShiftLeft | Binary::ShiftRight) { Type::U32 } else { ty };
            let result = match op {
                Binary::MulWide => Type::U64,
                _ => ty,
            };
            let b = self.operand(b, by)?;
            Ok(Op::Binary { op, ty, to: self.register(to, result)?, a: self.operand(a, ty)?, b })
        };
        let is_real = |ty: &str| matches!(ty, "f32" | "f64");
        match (words, operands) {
            (["ret"], []) => Ok(Op::Return),
            (["bra"], &[label]) => {
                let to = self.labels.get(label).ok_or(self.fault(format!("no label `{label}`")))?;
                Ok(Op::Branch { to: *to })
            }
            (["bar", "sync"], &["0"]) => Ok(Op::Barrier),
            (["bar", "warp", "sync"], &["0xffffffff"]) => Ok(Op::WarpBarrier),
            (["shfl", "sync", mode, "b32"], &[to, a, which, "31", "0xffffffff"]) => {
                let exchange = match *mode {
                    "bfly" => Exchange::Butterfly,
                    "idx" => Exchange::Index,
                    _ => return Err(unknown()),
                };
                let (a, which) = (self.operand(a, Type::U32)?, self.operand(which, Type::U32)?);
                Ok(Op::Shuffle { exchange, to: self.register(to, Type::U32)?, a, which })
            }
            (["mov", "b64"], &[to, from]) if to.starts_with('{') => {
                let halves = list(to);
                let [low, high] = halves.as_slice() else { return Err(unknown()) };
                let (low, high) = (self.register(low, Type::U32)?, self.register(high, Type::U32)?);
                Ok(Op::Split { low, high, from: self.bits_operand(from, 8)? })
            }
            (["mov", "b64"], &[to, from]) if from.starts_with('{') => {
                let halves = list(from);
                let [low, high] = halves.as_slice() else { return Err(unknown()) };
                let (low, high) = (self.operand(low, Type::U32)?, self.operand(high, Type::U32)?);
                Ok(Op::Pair { to: self.bits(to, 8)?, low, high })
            }
            (["mov", ty], &[to, from]) => {
                let ty = self.type_of(ty)?;
                match ty {
                    Type::Pred | Type::F32 | Type::F64 => {
                        Ok(Op::Move { to: self.register(to, ty)?, from: self.operand(from, ty)? })
                    }
                    Type::B16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => {
                        let from = self.bits_operand(from, ty.bytes())?;
                        Ok(Op::Move { to: self.bits(to, ty.bytes())?, from })
                    }
                }
            }
            (["cvta", "to", "global", "u64"], &[to, from]) => {
                Ok(Op::Move { to: self.register(to, Type::U64)?, from: self.operand(from, Type::U64)? })
            }
            (["ld", space, rest @ .., ty], &[to, from]) => {
                let space = self.space(space)?;
                let (base, offset) = self.address(from, space)?;
                let (bytes, to) = self.elements(rest, ty, to)?;
                Ok(Op::Load { space, bytes, to, base, offset })
            }
            (["st", space, rest @ .., ty], &[to, from]) => {
                let space = self.space(space)?;
                let (base, offset) = self.address(to, space)?;
                let (bytes, from) = self.elements(rest, ty, from)?;
                Ok(Op::Store { space, bytes, from: from.into_iter().map(Operand::Register).collect(), base, offset })
            }
            (["neg", ty], &[to, a]) => self.unary(Unary::Neg, ty, to, a),
            (["abs", ty], &[to, a]) => self.unary(Unary::Abs, ty, to, a),
            (["sqrt", "rn", ty], &[to, a]) if is_real(ty) => self.unary(Unary::Sqrt, ty, to, a),
            (["not", ty], &[to, a]) => self.unary(Unary::Not, ty, to, a),
            (["add", "rn", ty], _) if is_real(ty) => binary(Binary::Add, ty, operands),
            (["sub", "rn", ty], _) if is_real(ty) => binary(Binary::Sub, ty, operands),
            (["mul", "rn", ty], _) if is_real(ty) => binary(Binary::Mul, ty, operands),
            (["div", "rn", ty], _) if is_real(ty) => binary(Binary::Div, ty, operands),
            (["add", ty], _) if !is_real(ty) => binary(Binary::Add, ty, operands),
            (["sub", ty], _) if !is_real(ty) => binary(Binary::Sub, ty, operands),
            (["mul", "lo", ty], _) if !is_real(ty) => binary(Binary::Mul, ty, operands),
            (["mul", "hi", ty], _) if !is_real(ty) => binary(Binary::MulHigh, ty, operands),
            (["mul", "wide", ty @ "u32"], _) => binary(Binary::MulWide, ty, operands),
            (["div", ty], _) if !is_real(ty) => binary(Binary::Div, ty, operands),
            (["rem", ty], _) if !is_real(ty) => binary(Binary::Rem, ty, operands),
            (["min", ty], _) if !is_real(ty) => binary(Binary::Min, ty, operands),
            (["max", ty], _) if !is_real(ty) => binary(Binary::Max, ty, operands),
            (["and", ty], _) => binary(Binary::And, ty, operands),
            (["or", ty], _) => binary(Binary::Or, ty, operands),
            (["xor", ty], _) => binary(Binary::Xor, ty, operands),
            (["shl", ty], _) => binary(Binary::ShiftLeft, ty, operands),
            (["shr", ty], _) => binary(Binary::ShiftRight, ty, operands),
            (["fma", "rn", ty], &[to, a, b, c]) if is_real(ty) => self.multiply_add(ty, false, [to, a, b, c]),
            (["mad", "lo", ty], &[to, a, b, c]) if !is_real(ty) => self.multiply_add(ty, false, [to, a, b, c]),
            (["mad", "wide", ty @ "u32"], &[to, a, b, c]) => self.multiply_add(ty, true, [to, a, b, c]),
            (["setp", compare, ty], &[to, a, b]) => self.set_predicate(compare, ty, to, a, b, None),
            (["setp", compare, join, ty], &[to, a, b, c]) => {
                let join = match *join {
                    "and" => Join::And,
                    "or" => Join::Or,
                    _ => return Err(unknown()),
                };
                self.set_predicate(compare, ty, to, a, b, Some((join, self.operand(c, Type::Pred)?)))
            }
            (["selp", ty], &[to, a, b, condition]) => {
                let ty = self.type_of(ty)?;
                let (a, b) = (self.operand(a, ty)?, self.operand(b, ty)?);
                Ok(Op::Select { to: self.register(to, ty)?, a, b, condition: self.operand(condition, Type::Pred)? })
            }
            (["cvt", rest @ .., to_type, from_type], &[to, a]) => {
                let (to_type, from_type) = (self.type_of(to_type)?, self.type_of(from_type)?);
                let rounding = match rest {
                    [] => Rounding::None,
                    ["rn"] => Rounding::Nearest,
                    ["rni"] => Rounding::ToNearest,
                    ["rmi"] => Rounding::Down,
                    ["rzi"] => Rounding::ToZero,
                    [..] => return Err(unknown()),
                };
                let (to, a) = (self.register(to, to_type)?, self.operand(a, from_type)?);
                Ok(Op::Convert { rounding, to_type, from_type, to, a })
            }
            (_, _) => Err(unknown()),
        }
    }

    fn space(&self, word: &str) -> Parsed<Space> {
        match word {
            "global" => Ok(Space::Global),
            "shared" => Ok(Space::Shared),
            "param" => Ok(Space::Parameter),
            _ => Err(self.fault(format!("the memory `{word}` is not known"))),
        }
    }

    /// The registers of a load or store, and the bytes of each.
    fn elements(&self, vector: &[&str], ty: &str, registers: &str) -> Parsed<(usize, Vec<u32>)> {
        let count = match vector {
            [] => 1,
            ["v2"] => 2,
            ["v4"] => 4,
            [..] => return Err(self.fault("a vector of another length")),
        };
        let names = if count == 1 { vec![registers.to_string()] } else { list(registers) };
        if names.len() != count {
            return Err(self.fault("as many registers as elements"));
        }
        let (bytes, width) = match ty {
            // A byte in a register of 32 bits.
            "u8" => (1, 4),
            _ => {
                let bytes = self.type_of(ty)?.bytes();
                (bytes, bytes)
            }
        };
        let found = names.iter().map(|name| match ty {
            "f32" => self.register(name, Type::F32),
            "f64" => self.register(name, Type::F64),
            _ => self.bits(name, width),
        });
        Ok((bytes, found.collect::<Parsed<_>>()?))
    }

    fn unary(&self, op: Unary, ty: &str, to: &str, a: &str) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        Ok(Op::Unary { op, ty, to: self.register(to, ty)?, a: self.operand(a, ty)? })
    }

    fn multiply_add(&self, ty: &str, wide: bool, [to, a, b, c]: [&str; 4]) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        let result = if wide { Type::U64 } else { ty };
        let (a, b, c) = (self.operand(a, ty)?, self.operand(b, ty)?, self.operand(c, result)?);
        Ok(Op::MultiplyAdd { ty, wide, to: self.register(to, result)?, a, b, c })
    }

    fn set_predicate(
        &self,
        compare: &str,
        ty: &str,
        to: &str,
        a: &str,
        b: &str,
        join: Option<(Join, Operand)>,
    ) -> Parsed<Op> {
        let ty = self.type_of(ty)?;
        let compare = match compare {
            "eq" => Compare::Eq,
            "ne" => Compare::Ne,
            "lt" => Compare::Lt,
            "le" => Compare::Le,
            "gt" => Compare::Gt,
            "ge" => Compare::Ge,
            "neu" => Compare::NotEqualUnordered,
            "nan" => Compare::NotNumber,
            _ => return Err(self.fault(format!("the comparison `{compare}` is not known"))),
        };
        let (a, b) = (self.operand(a, ty)?, self.operand(b, ty)?);
        Ok(Op::SetPredicate { compare, ty, to: self.register(to, Type::Pred)?, a, b, join })
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
