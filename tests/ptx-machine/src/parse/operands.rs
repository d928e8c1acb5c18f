//! Registers, numbers and addresses.

use super::{Parsed, Parser, list};
use crate::instruction::{Operand, Space, Special, Type};

impl Parser {
    pub(super) fn register(&self, name: &str, ty: Type) -> Parsed<u32> {
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
    pub(super) fn bits(&self, name: &str, bytes: usize) -> Parsed<u32> {
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

    pub(super) fn immediate(&self, text: &str, ty: Type) -> Parsed<u64> {
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

    pub(super) fn operand(&self, text: &str, ty: Type) -> Parsed<Operand> {
        if let Some(special) = special(text) {
            return Ok(Operand::Special(special));
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
    pub(super) fn bits_operand(&self, text: &str, bytes: usize) -> Parsed<Operand> {
        if text.starts_with('%') && special(text).is_none() {
            return Ok(Operand::Register(self.bits(text, bytes)?));
        }
        let ty = match bytes {
            2 => Type::B16,
            4 => Type::U32,
            _ => Type::U64,
        };
        self.operand(text, ty)
    }

    pub(super) fn type_of(&self, word: &str) -> Parsed<Type> {
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
    pub(super) fn address(&self, text: &str, space: Space) -> Parsed<(Operand, i64)> {
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
            Space::Shared => match self.shared.get(base) {
                Some(address) => Operand::Number(*address),
                // Both widths hold such an address.
                None => Operand::Register(self.bits(base, 4).or_else(|_| self.register(base, Type::U64))?),
            },
        };
        Ok((base, offset))
    }

    pub(super) fn space(&self, word: &str) -> Parsed<Space> {
        match word {
            "global" => Ok(Space::Global),
            "shared" => Ok(Space::Shared),
            "param" => Ok(Space::Parameter),
            _ => Err(self.fault(format!("the memory `{word}` is not known"))),
        }
    }

    /// The registers of a load or store, and the bytes of each.
    pub(super) fn elements(&self, vector: &[&str], ty: &str, registers: &str) -> Parsed<(usize, Vec<u32>)> {
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
        let found = names.iter().map(|name| self.bits(name, width));
        Ok((bytes, found.collect::<Parsed<_>>()?))
    }

    /// `{a, b}`, as many as there must be.
    pub(super) fn several<T, const N: usize>(&self, text: &str, of: impl Fn(&str) -> Parsed<T>) -> Parsed<[T; N]> {
        let found = list(text).iter().map(|name| of(name)).collect::<Parsed<Vec<T>>>()?;
        found.try_into().map_err(|_| self.fault(format!("`{text}` are not {N}")))
    }
}

/// A register that is only read.
fn special(name: &str) -> Option<Special> {
    match name {
        "%tid.x" => Some(Special::Thread),
        "%laneid" => Some(Special::Lane),
        "%ctaid.x" => Some(Special::BlockX),
        "%ctaid.y" => Some(Special::BlockY),
        "%ctaid.z" => Some(Special::BlockZ),
        _ => None,
    }
}
