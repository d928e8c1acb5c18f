//! Addresses, guards, loads and stores.
//!
//! A load whose guard fails is not made: the instruction is predicated, and the register holds the default.

use super::mapping::Point;
use super::{Emit, Emitter, class_of, mov_word};
use crate::size::Int;
use crate::text::Class;
use bdl_plan::{Address, AddressTerm, DType, Guard, ValueId, ValueType};

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

impl Emitter<'_> {
    /// The part of an address that is no number (`None` where there is none), and the number.
    fn sum(&mut self, at: &Address) -> Emit<(Option<String>, i64)> {
        let (mut total, constant) = match self.size(&at.offset)? {
            Int::Const(c) => (None, c),
            Int::Register(register) => (Some(register), 0),
        };
        for (term, stride) in &at.terms {
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

    /// The address of an element, as an operand.
    fn element(&mut self, buffer: u32, at: &Address) -> Emit<(String, DType)> {
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
        let text = if constant == 0 { format!("[{address}]") } else { format!("[{address}+{constant}]") };
        // An immediate has 32 bits.
        if i32::try_from(constant).is_err() {
            let far = self.w.set(Class::B64, "add.s64", &[&address, &constant.to_string()]);
            return Ok((format!("[{far}]"), dtype));
        }
        Ok((text, dtype))
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
        let holds = self.guards(guards)?;
        let (address, dtype) = self.element(buffer, at)?;
        let ty = register_type(dtype);
        let register = self.w.named(class_of(ty), &format!("v{}", value.0));
        let when = holds.as_ref().map_or(String::new(), |holds| format!("@{holds} "));
        let default = self.constant_text(otherwise, ty);
        match dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => {
                if holds.is_some() {
                    self.w.line(format!("mov.{} {register}, {default};", mov_word(ty)));
                }
                let word = mov_word(ty);
                self.w.line(format!("{when}ld.global.{word} {register}, {address};"));
            }
            DType::BF16 => {
                let bits = self.w.temp(Class::B16);
                if holds.is_some() {
                    let zero = self.w.set(Class::B32, "mov.u32", &["0"]);
                    self.w.line(format!("cvt.u16.u32 {bits}, {zero};"));
                }
                self.w.line(format!("{when}ld.global.u16 {bits}, {address};"));
                let wide = self.w.set(Class::B32, "cvt.u32.u16", &[&bits]);
                let shifted = self.w.set(Class::B32, "shl.b32", &[&wide, "16"]);
                self.w.line(format!("mov.b32 {register}, {shifted};"));
                if let Some(holds) = &holds {
                    self.w.line(format!("selp.f32 {register}, {register}, {default}, {holds};"));
                }
            }
            DType::Bool => {
                let byte = self.w.temp(Class::B32);
                if holds.is_some() {
                    self.w.line(format!("mov.u32 {byte}, {};", u32::from(otherwise != 0.0)));
                }
                self.w.line(format!("{when}ld.global.u8 {byte}, {address};"));
                self.w.line(format!("setp.ne.u32 {register}, {byte}, 0;"));
            }
        }
        Ok(register)
    }

    pub fn store(&mut self, buffer: u32, at: &Address, value: ValueId) -> Emit<()> {
        let (address, dtype) = self.element(buffer, at)?;
        let ty = register_type(dtype);
        let value = self.value(value)?;
        let value = self.in_register(&value, ty);
        // What all lanes have alike is stored once, after all of them have read what was there and before they read it again.
        let once = matches!(self.point, Point::Warp | Point::Block) && !self.in_lanes;
        let when = if once { format!("@{} ", self.is_first) } else { String::new() };
        if once {
            self.meet();
        }
        match dtype {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => {
                self.w.line(format!("{when}st.global.{} {address}, {value};", mov_word(ty)));
            }
            DType::BF16 => {
                let bits = self.bf16_bits(&value);
                self.w.line(format!("{when}st.global.u16 {address}, {bits};"));
            }
            DType::Bool => {
                let byte = self.w.set(Class::B32, "selp.u32", &["1", "0", &value]);
                self.w.line(format!("{when}st.global.u8 {address}, {byte};"));
            }
        }
        if once {
            self.meet();
        }
        Ok(())
    }

    /// Rounded half to even; a NaN stays one.
    fn bf16_bits(&mut self, value: &str) -> String {
        let bits = self.w.set(Class::B32, "mov.b32", &[value]);
        let high = self.w.set(Class::B32, "shr.u32", &[&bits, "16"]);
        let odd = self.w.set(Class::B32, "and.b32", &[&high, "1"]);
        let half = self.w.set(Class::B32, "add.u32", &[&odd, "32767"]);
        let rounded = self.w.set(Class::B32, "add.u32", &[&bits, &half]);
        let rounded = self.w.set(Class::B32, "shr.u32", &[&rounded, "16"]);
        let quiet = self.w.set(Class::B32, "or.b32", &[&high, "64"]);
        let nan = self.w.set(Class::Pred, "setp.nan.f32", &[value, value]);
        let chosen = self.w.set(Class::B32, "selp.b32", &[&quiet, &rounded, &nan]);
        self.w.set(Class::B16, "cvt.u16.u32", &[&chosen])
    }
}
