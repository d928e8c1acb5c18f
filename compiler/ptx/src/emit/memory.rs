//! Addresses, guards, loads and stores.
//!
//! A load whose guard fails is not made: the instruction is predicated, and the register holds the default.

use super::mapping::Point;
use super::{Emit, Emitter, class_of, mov_word};
use crate::size::Int;
use crate::text::Class;
use bdl_dims::Dim;
use bdl_plan::{Address, AddressTerm, DType, Guard, LoopIndex, ValueId, ValueType};

/// The type of a loaded element in registers.
pub fn register_type(dtype: DType) -> ValueType {
    match dtype {
        DType::F32 | DType::BF16 => ValueType::F32,
        DType::F64 => ValueType::F64,
        DType::I32 => ValueType::I32,
        DType::I64 => ValueType::I64,
        DType::Bool => ValueType::Bool,
    }
}

pub fn bytes_of(dtype: DType) -> i64 {
    match dtype {
        DType::F32 | DType::I32 => 4,
        DType::F64 | DType::I64 => 8,
        DType::BF16 => 2,
        DType::Bool => 1,
    }
}

/// Bytes that one instruction moves, at most.
pub const MOST_BYTES: i64 = 16;

/// An element in memory: a register and bytes behind it.
struct Place {
    address: String,
    constant: i64,
    dtype: DType,
}

impl Place {
    /// The instructions that move so many elements from here on: the word for several at once, the registers of each, and the address.
    fn vectors(&self, registers: &[String]) -> Vec<(&'static str, String, String)> {
        let bytes = bytes_of(self.dtype);
        let most = (MOST_BYTES / bytes).min(4) as usize;
        let address = |at: i64| match self.constant + at * bytes {
            0 => format!("[{}]", self.address),
            constant => format!("[{}+{constant}]", self.address),
        };
        let chunks = registers.chunks(most).enumerate();
        chunks
            .map(|(i, chunk)| {
                let address = address((i * most) as i64);
                match chunk {
                    [one] => ("", one.clone(), address),
                    [_, _] => (".v2", format!("{{{}}}", chunk.join(", ")), address),
                    [..] => (".v4", format!("{{{}}}", chunk.join(", ")), address),
                }
            })
            .collect()
    }
}

/// Do elements lie as the points are counted?
pub fn is_flat(at: &Address, strides: &[(LoopIndex, Dim)]) -> bool {
    strides.iter().all(|(index, stride)| {
        let mut own = at.terms.iter().filter(|(term, _)| *term == AddressTerm::Index(*index));
        matches!((own.next(), own.next()), (Some((_, found)), None) if found == stride)
    })
}

impl Emitter<'_> {
    /// The part of an address that is no number (`None` where there is none), and the number.
    fn sum(&mut self, at: &Address) -> Emit<(Option<String>, i64)> {
        let (mut total, constant) = match self.size(&at.offset)? {
            Int::Const(c) => (None, c),
            Int::Register(register) => (Some(register), 0),
        };
        let flat = self.flat.clone().filter(|(strides, _)| is_flat(at, strides));
        if let Some((_, point)) = &flat {
            total = Some(match total {
                None => point.clone(),
                Some(total) => self.w.set(Class::B64, "add.s64", &[&total, point]),
            });
        }
        for (term, stride) in &at.terms {
            if let (AddressTerm::Index(index), Some((strides, _))) = (term, &flat)
                && strides.iter().any(|(known, _)| known == index)
            {
                continue;
            }
            let index = match term {
                AddressTerm::Index(index) => {
                    let open = self.indices.get(index.0 as usize).cloned().flatten();
                    open.ok_or_else(|| format!("index {} is outside of its loop", index.0))?
                }
                AddressTerm::Value(value) => self.long(*value)?,
            };
            let stride = self.size(stride)?;
            total = Some(match (total, stride.as_const()) {
                (None, Some(1)) => index,
                (None, _) => self.w.set(Class::B64, "mul.lo.s64", &[&index, &stride.text()]),
                (Some(total), Some(1)) => self.w.set(Class::B64, "add.s64", &[&total, &index]),
                (Some(total), _) => self.w.set(Class::B64, "mad.lo.s64", &[&index, &stride.text(), &total]),
            });
        }
        Ok((total, constant))
    }

    /// Where an element lies.
    fn element(&mut self, buffer: u32, at: &Address) -> Emit<Place> {
        let dtype = self.kernel.buffers.get(buffer as usize).ok_or("no such buffer")?.dtype;
        let base = self.buffers[buffer as usize].clone();
        let bytes = bytes_of(dtype);
        let (varying, constant) = self.sum(at)?;
        let address = match varying {
            None => base,
            Some(elements) if bytes == 1 => self.w.set(Class::B64, "add.s64", &[&elements, &base]),
            Some(elements) => self.w.set(Class::B64, "mad.lo.s64", &[&elements, &bytes.to_string(), &base]),
        };
        let constant = constant * bytes;
        // An immediate has 32 bits.
        if i32::try_from(constant).is_ok() && i32::try_from(constant + MOST_BYTES).is_ok() {
            return Ok(Place { address, constant, dtype });
        }
        let address = self.w.set(Class::B64, "add.s64", &[&address, &constant.to_string()]);
        Ok(Place { address, constant: 0, dtype })
    }

    /// True where all guards hold.
    fn guards(&mut self, guards: &[Guard]) -> Emit<Option<String>> {
        let mut holds: Option<String> = None;
        for Guard { form, extent } in guards {
            let (varying, constant) = self.sum(form)?;
            let form = match varying {
                None => self.w.set(Class::B64, "mov.b64", &[&constant.to_string()]),
                Some(varying) if constant == 0 => varying,
                Some(varying) => self.w.set(Class::B64, "add.s64", &[&varying, &constant.to_string()]),
            };
            let extent = self.size(extent)?.text();
            let above = match holds {
                None => self.w.set(Class::Pred, "setp.ge.s64", &[&form, "0"]),
                Some(holds) => self.w.set(Class::Pred, "setp.ge.and.s64", &[&form, "0", &holds]),
            };
            holds = Some(self.w.set(Class::Pred, "setp.lt.and.s64", &[&form, &extent, &above]));
        }
        Ok(holds)
    }

    pub fn load(
        &mut self,
        value: ValueId,
        buffer: u32,
        at: &Address,
        guards: &[Guard],
        otherwise: f64,
    ) -> Emit<String> {
        Ok(self.load_several(value, buffer, at, guards, otherwise, 1)?.swap_remove(0))
    }

    /// The value of the element at `at` and of those behind it, `count` in all. The first must be aligned to all of them.
    pub fn load_several(
        &mut self,
        value: ValueId,
        buffer: u32,
        at: &Address,
        guards: &[Guard],
        otherwise: f64,
        count: usize,
    ) -> Emit<Vec<String>> {
        if let Some((is_given, values)) = &self.given
            && is_given[buffer as usize]
        {
            return Ok(values[..count].to_vec());
        }
        let holds = self.guards(guards)?;
        let place = self.element(buffer, at)?;
        let ty = register_type(place.dtype);
        let registers: Vec<String> = (0..count).map(|_| self.w.named(class_of(ty), &format!("v{}", value.0))).collect();
        let when = holds.as_ref().map_or(String::new(), |holds| format!("@{holds} "));
        let default = self.constant_text(otherwise, ty);
        match place.dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => {
                let word = mov_word(ty);
                if holds.is_some() {
                    for register in &registers {
                        self.w.line(format!("mov.{word} {register}, {default};"));
                    }
                }
                for (vector, into, from) in place.vectors(&registers) {
                    self.w.line(format!("{when}ld.global{vector}.{word} {into}, {from};"));
                }
            }
            DType::BF16 => {
                let bits: Vec<String> = registers.iter().map(|_| self.w.temp(Class::B16)).collect();
                if holds.is_some() {
                    let zero = self.w.set(Class::B32, "mov.u32", &["0"]);
                    for bits in &bits {
                        self.w.line(format!("cvt.u16.u32 {bits}, {zero};"));
                    }
                }
                for (vector, into, from) in place.vectors(&bits) {
                    self.w.line(format!("{when}ld.global{vector}.u16 {into}, {from};"));
                }
                for (register, bits) in registers.iter().zip(&bits) {
                    let wide = self.w.set(Class::B32, "cvt.u32.u16", &[bits]);
                    let shifted = self.w.set(Class::B32, "shl.b32", &[&wide, "16"]);
                    self.w.line(format!("mov.b32 {register}, {shifted};"));
                    if let Some(holds) = &holds {
                        self.w.line(format!("selp.f32 {register}, {register}, {default}, {holds};"));
                    }
                }
            }
            DType::Bool => {
                let bytes: Vec<String> = registers.iter().map(|_| self.w.temp(Class::B32)).collect();
                if holds.is_some() {
                    for byte in &bytes {
                        self.w.line(format!("mov.u32 {byte}, {};", u32::from(otherwise != 0.0)));
                    }
                }
                for (vector, into, from) in place.vectors(&bytes) {
                    self.w.line(format!("{when}ld.global{vector}.u8 {into}, {from};"));
                }
                for (register, byte) in registers.iter().zip(&bytes) {
                    self.w.line(format!("setp.ne.u32 {register}, {byte}, 0;"));
                }
            }
        }
        Ok(registers)
    }

    pub fn store(&mut self, buffer: u32, at: &Address, value: ValueId) -> Emit<()> {
        let value = self.value(value)?;
        self.store_several(buffer, at, &[value])
    }

    /// To the element at `at` and to those behind it, one for each value. The first must be aligned to all of them.
    pub fn store_several(&mut self, buffer: u32, at: &Address, values: &[String]) -> Emit<()> {
        let place = self.element(buffer, at)?;
        let ty = register_type(place.dtype);
        let values: Vec<String> = values.iter().map(|value| self.in_register(value, ty)).collect();
        // What all lanes have alike is stored once, after all of them have read what was there and before they read it again.
        let once = matches!(self.point, Point::Warp | Point::Block) && !self.in_lanes;
        let when = if once { format!("@{} ", self.is_first) } else { String::new() };
        if once {
            self.meet();
        }
        let (word, stored) = match place.dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => (mov_word(ty), values),
            DType::BF16 => {
                let bits = |value: &String| {
                    let bits = self.bf16_bits(value);
                    self.w.set(Class::B16, "cvt.u16.u32", &[&bits])
                };
                ("u16", values.iter().map(bits).collect())
            }
            DType::Bool => {
                let byte = |value: &String| self.w.set(Class::B32, "selp.u32", &["1", "0", value]);
                ("u8", values.iter().map(byte).collect())
            }
        };
        for (vector, from, to) in place.vectors(&stored) {
            self.w.line(format!("{when}st.global{vector}.{word} {to}, {from};"));
        }
        if once {
            self.meet();
        }
        Ok(())
    }

    /// The upper half of the bits of an f32, rounded half to even; a NaN stays one.
    pub fn bf16_bits(&mut self, value: &str) -> String {
        let bits = self.w.set(Class::B32, "mov.b32", &[value]);
        let high = self.w.set(Class::B32, "shr.u32", &[&bits, "16"]);
        let odd = self.w.set(Class::B32, "and.b32", &[&high, "1"]);
        let half = self.w.set(Class::B32, "add.u32", &[&odd, "32767"]);
        let rounded = self.w.set(Class::B32, "add.u32", &[&bits, &half]);
        let rounded = self.w.set(Class::B32, "shr.u32", &[&rounded, "16"]);
        let quiet = self.w.set(Class::B32, "or.b32", &[&high, "64"]);
        let nan = self.w.set(Class::Pred, "setp.nan.f32", &[value, value]);
        self.w.set(Class::B32, "selp.b32", &[&quiet, &rounded, &nan])
    }
}
