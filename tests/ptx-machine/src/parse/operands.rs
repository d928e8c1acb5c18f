//! Registers, numbers and addresses.

use super::{Parsed, Parser, list};
use crate::instruction::{Base, Class, Constant, Register, Space, Special, Type};

impl Parser {
    fn declared(&self, name: &str) -> Parsed<(Type, Register)> {
        self.registers.get(name).copied().ok_or(self.fault(format!("no register `{name}`")))
    }

    pub(super) fn register(&self, name: &str, ty: Type) -> Parsed<Register> {
        let (own, number) = self.declared(name)?;
        let fits = match ty {
            Type::Pred | Type::B16 | Type::F32 | Type::F64 => own == ty,
            Type::U32 | Type::S32 => own == Type::U32,
            Type::U64 | Type::S64 => own == Type::U64,
        };
        if !fits {
            return Err(self.fault(format!("`{name}` is a register of {own:?}, not of {ty:?}")));
        }
        Ok(number)
    }

    /// A register that holds bits of this width, of any class.
    pub(super) fn bits(&self, name: &str, bytes: usize) -> Parsed<Register> {
        let (own, number) = self.declared(name)?;
        if own == Type::Pred || own.bytes() != bytes {
            return Err(self.fault(format!("`{name}` has not {bytes} bytes")));
        }
        Ok(number)
    }

    /// The register of this type in which a constant stands.
    pub(super) fn constant(&self, constant: Constant, ty: Type) -> Parsed<Register> {
        let (declared, constants) = match ty.class() {
            Class::Word => (self.words, &self.word_constants),
            Class::Long => (self.longs, &self.long_constants),
            Class::Truth => return Err(self.fault("a truth value has no immediate form")),
        };
        Ok(declared as Register + constants.borrow_mut().number(constant))
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

    pub(super) fn operand(&self, text: &str, ty: Type) -> Parsed<Register> {
        if let Some(special) = special(text) {
            return match ty {
                Type::U32 | Type::S32 => self.constant(Constant::Special(special), ty),
                Type::Pred | Type::B16 | Type::U64 | Type::S64 | Type::F32 | Type::F64 => {
                    Err(self.fault(format!("`{text}` has 32 bits")))
                }
            };
        }
        if let Some(address) = self.shared.get(text) {
            return self.constant(Constant::Number(*address), ty);
        }
        if text.starts_with('%') {
            return self.register(text, ty);
        }
        self.constant(Constant::Number(self.immediate(text, ty)?), ty)
    }

    /// An operand whose bits are moved.
    pub(super) fn bits_operand(&self, text: &str, bytes: usize) -> Parsed<Register> {
        if text.starts_with('%') && special(text).is_none() {
            return self.bits(text, bytes);
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
    pub(super) fn address(&self, text: &str, space: Space) -> Parsed<(Base, i64)> {
        let (base, offset) = self.place(text)?;
        let base = match space {
            Space::Global => Base::Long(self.register(base, Type::U64)?),
            Space::Shared => match self.shared.get(base) {
                Some(address) => Base::Word(self.constant(Constant::Number(*address), Type::U32)?),
                // Both widths hold such an address.
                None => match self.bits(base, 4) {
                    Ok(word) => Base::Word(word),
                    Err(_) => Base::Long(self.register(base, Type::U64)?),
                },
            },
        };
        Ok((base, offset))
    }

    fn place<'t>(&self, text: &'t str) -> Parsed<(&'t str, i64)> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(self.fault("an address"))?;
        match inner.split_once('+') {
            Some((base, offset)) => {
                Ok((base, offset.parse::<i64>().map_err(|_| self.fault(format!("`{offset}` is no offset")))?))
            }
            None => Ok((inner, 0)),
        }
    }

    /// The number of the parameter `[name]`.
    pub(super) fn parameter(&self, text: &str) -> Parsed<usize> {
        let (name, offset) = self.place(text)?;
        let number = self.parameters.iter().position(|p| p == name && offset == 0);
        number.ok_or(self.fault(format!("no parameter `{text}`")))
    }

    pub(super) fn space(&self, word: &str) -> Parsed<Space> {
        match word {
            "global" => Ok(Space::Global),
            "shared" => Ok(Space::Shared),
            _ => Err(self.fault(format!("the memory `{word}` is not known"))),
        }
    }

    /// The registers of a load or store, and the bytes of each.
    pub(super) fn elements(&self, vector: &[&str], ty: &str, registers: &str) -> Parsed<(usize, Vec<Register>)> {
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
