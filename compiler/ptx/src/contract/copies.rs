//! What a thread copies of the operands' pieces, and where that lies: followed from piece to piece, not computed anew.
//!
//! ```text
//!              sum                        a copy: one element, or four neighbours along the sum or along the rows
//!          ┌────┬────┬─               place:  of the sum, what all copies of a line have in common
//!   rows   │    │    │                row:    what it has in common with the next piece's
//!          └────┴────┴─               address = base + row + place
//! ```

use super::{At, Contract, Gate, Of};
use crate::size::Int;
use crate::text::Class;
use bdl_dims::Dim;
use bdl_plan::{Clip, ContractionAxis};

/// Elements that one copy of sixteen bytes moves.
pub const VECTOR: u32 = 4;
pub const F32: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    Sum,
    Rows,
}

/// Pieces of one operand.
#[derive(Clone, Copy)]
pub struct Piece {
    pub name: &'static str,
    pub along: Along,
    /// Elements a copy moves: 1 or [`VECTOR`].
    pub width: u32,
    /// Of the tile: rows of A, columns of B.
    pub rows: u32,
    /// Of the sum.
    pub depth: u32,
}

impl Piece {
    /// Rows that a copy moves.
    fn neighbours(self) -> u32 {
        match self.along {
            Along::Sum => 1,
            Along::Rows => self.width,
        }
    }
}

/// Which copies of a piece are a thread's: all pairs of some rows and some places in the sum.
pub struct Spread {
    /// In the piece (32 bits).
    pub rows: Vec<RowInPiece>,
    /// The first place in the sum, in the piece (32 bits), how many there are, and how far apart.
    pub k: String,
    pub places: (u32, u32),
    /// Rows that are not there may be read as the last one: nobody looks at what becomes of them.
    pub any_row: bool,
}

pub struct RowInPiece {
    /// Of all of the piece's (32 bits).
    pub number: String,
    /// Is it there for every thread?
    pub is_sure: bool,
}

/// What a thread copies of an operand's pieces.
pub struct Copies<'c> {
    pub piece: Piece,
    operand: Of,
    /// Where in the sum copies are.
    places: Vec<PlaceInSum>,
    rows: Vec<Row>,
    /// The clips of this operand, in the order of a row's forms.
    clips: Vec<&'c Clip>,
}

/// A row that is copied.
struct Row {
    /// Of a copy (32 bits); 0 where the row is not there: predicates are few. `None`: it is there.
    bytes: Option<String>,
    /// Without the sum.
    address: String,
    /// Of clips.
    forms: Vec<String>,
}

/// Where a copy comes from.
pub struct Source {
    /// Does its place in the sum lie inside, and of clips?
    pub there: String,
    /// Of the copy (32 bits), 0 where the row is not there; `None`: it is there.
    pub bytes: Option<String>,
    pub address: String,
}

/// A place in the sum that copies of one piece have in common. What follows from it is kept from piece to piece, not computed anew.
struct PlaceInSum {
    /// Inside of a piece (64 bits).
    k: String,
    /// In the whole sum (32 bits).
    own: String,
    /// The index of each axis but the outermost, innermost first (32 bits).
    digits: Vec<String>,
    /// What it adds to an address: bytes (64 bits).
    bytes: Option<String>,
    /// What it adds to each clip's form (32 bits).
    forms: Vec<Option<String>>,
}

impl<'c> Contract<'c> {
    /// Are both operands copied sixteen bytes at a time? `axes`: of the rows, the columns and the sum.
    pub fn are_vectors(&self, axes: &[Vec<(usize, &'c ContractionAxis)>; 3]) -> Result<bool, String> {
        let [rows, columns, sum] = axes;
        // How large a piece is changes nothing.
        let (a, b) = (self.piece("a", Gate::A, (0, 0), rows, sum)?, self.piece("b", Gate::B, (0, 0), columns, sum)?);
        Ok(a.width == VECTOR && b.width == VECTOR)
    }

    /// How an operand's pieces are copied.
    pub fn piece(
        &self,
        name: &'static str,
        gate: Gate,
        (rows, depth): (u32, u32),
        row_axes: &[(usize, &'c ContractionAxis)],
        k_axes: &[(usize, &'c ContractionAxis)],
    ) -> Result<Piece, String> {
        let (slice, operand) = match gate {
            Gate::A => (&self.c.a, Of::A),
            Gate::B => (&self.c.b, Of::B),
            Gate::Result => return Err("the result is no operand".to_string()),
        };
        let is_step = |axes: &[(usize, &ContractionAxis)]| {
            axes.last().is_some_and(|(_, axis)| operand.stride(axis).as_const() == Some(1))
        };
        let along = if is_step(k_axes) || !is_step(row_axes) { Along::Sum } else { Along::Rows };
        let inner = match along {
            Along::Sum => k_axes.last(),
            Along::Rows => row_axes.last(),
        };
        let is_fourfold = |dim: &Dim| dim.terms().all(|(_, coefficient)| coefficient % i64::from(VECTOR) == 0);
        let mut is_vector = is_fourfold(&slice.offset);
        if let Some((inner, axis)) = inner {
            is_vector &= operand.stride(axis).as_const() == Some(1);
            is_vector &= axis.extent.as_const().is_some_and(|n| n % i64::from(VECTOR) == 0);
            for clip in &self.c.clips {
                let names_inner = clip.terms.iter().any(|(axis, k)| *axis as usize == *inner && *k != 0);
                is_vector &= !(names_inner && self.gate(clip)? == gate);
            }
            for (number, axis) in self.c.axes.iter().enumerate() {
                is_vector &= number == *inner || is_fourfold(operand.stride(axis));
            }
        } else {
            is_vector = false;
        }
        Ok(Piece { name, along, width: if is_vector { VECTOR } else { 1 }, rows, depth })
    }

    /// What this thread copies. `of_rows`: the block's first row and how many there are in all.
    pub fn copies(
        &mut self,
        piece: Piece,
        gate: Gate,
        of_rows: (&str, &str),
        row_axes: &[(usize, &'c ContractionAxis)],
        spread: &Spread,
    ) -> Result<Copies<'c>, String> {
        let operand = match gate {
            Gate::A => Of::A,
            Gate::B | Gate::Result => Of::B,
        };
        let base = self.base(operand)?;
        let clips = self.clips(gate)?;
        let mut of_each = Vec::new();
        let last = match spread.any_row {
            true => Some(self.w.set(Class::B64, "sub.s64", &[of_rows.1, &piece.neighbours().to_string()])),
            false => None,
        };
        for row in &spread.rows {
            let wide = self.w.set(Class::B64, "cvt.u64.u32", &[&row.number]);
            let mut own = self.w.set(Class::B64, "add.s64", &[&wide, of_rows.0]);
            let bytes = match &last {
                Some(last) => {
                    own = self.w.set(Class::B64, "min.s64", &[&own, last]);
                    None
                }
                None => {
                    let mut there = self.w.set(Class::Pred, "setp.lt.s64", &[&own, of_rows.1]);
                    if !row.is_sure {
                        let operands = [&*row.number, &piece.rows.to_string(), &there];
                        there = self.w.set(Class::Pred, "setp.lt.and.u32", &operands);
                    }
                    let bytes = (F32 * piece.width).to_string();
                    Some(self.w.set(Class::B32, "selp.b32", &[&bytes, "0", &there]))
                }
            };
            let at = self.apart(&own, row_axes)?;
            let address = match self.offset(None, &at, operand)? {
                None => base.clone(),
                Some(elements) => self.address(&base, &elements),
            };
            let mut forms = Vec::new();
            for (clip, start) in &clips {
                let form = self.form(clip, Some(start), &at).unwrap_or_else(|| start.clone());
                forms.push(self.w.set(Class::B32, "cvt.u32.u64", &[&form]));
            }
            of_each.push(Row { bytes, address, forms });
        }
        let k = self.w.set(Class::B64, "cvt.u64.u32", &[&spread.k]);
        let (count, place_step) = spread.places;
        let mut places = Vec::new();
        for i in 0..count {
            let k = self.w.set(Class::B64, "add.s64", &[&k, &(i * place_step).to_string()]);
            places.push(PlaceInSum { k, own: String::new(), digits: Vec::new(), bytes: None, forms: Vec::new() });
        }
        let clips = clips.into_iter().map(|(clip, _)| clip).collect();
        Ok(Copies { piece, operand, places, rows: of_each, clips })
    }

    /// Where the copies of the first piece are in the sum.
    pub fn begin(
        &mut self,
        copies: &mut Copies<'c>,
        k_axes: &[(usize, &'c ContractionAxis)],
        first_k: &str,
    ) -> Result<(), String> {
        let operand = copies.operand;
        for place in &mut copies.places {
            let own = self.w.set(Class::B64, "add.s64", &[first_k, &place.k]);
            place.own = self.w.set(Class::B32, "cvt.u32.u64", &[&own]);
            let at: Vec<At<'c>> = self.apart(&own, k_axes)?;
            place.bytes = match self.offset(None, &at, operand)? {
                None => None,
                Some(elements) => Some(self.w.set(Class::B64, "shl.b64", &[&elements, "2"])),
            };
            let inner = at.iter().take(k_axes.len().saturating_sub(1));
            place.digits = inner.map(|at| self.w.set(Class::B32, "cvt.u32.u64", &[&at.index])).collect();
            for clip in &copies.clips {
                let form = self.form(clip, None, &at);
                place.forms.push(form.map(|form| self.w.set(Class::B32, "cvt.u32.u64", &[&form])));
            }
        }
        Ok(())
    }

    /// Goes on by the depth of a piece: as numbers with several digits are added, the innermost axis first.
    ///
    /// ```text
    /// sum over (tap of 11, channel of 300):  channel += 16;  from 300 on: channel -= 300, and one tap further
    /// ```
    pub fn advance(&mut self, copies: &Copies<'c>, k_axes: &[(usize, &'c ContractionAxis)]) -> Result<(), String> {
        let operand = copies.operand;
        let inner_first: Vec<(usize, &ContractionAxis)> = k_axes.iter().rev().copied().collect();
        let coefficient = |clip: &Clip, number: usize| -> i64 {
            clip.terms.iter().filter(|(axis, _)| *axis as usize == number).map(|(_, k)| *k).sum()
        };
        let Some(((outermost, outer_axis), inner)) = inner_first.split_last() else { return Ok(()) };
        // The digits of the depth, where the extents are numbers; those that are known only at run time are looked at in the head.
        let depth = copies.piece.depth;
        let mut rest = Dim::from(i64::from(depth));
        let (mut digits, mut step, mut form_steps) = (Vec::new(), Dim::zero(), vec![Dim::zero(); copies.clips.len()]);
        for (number, axis) in inner {
            let digit = rest.rem(&axis.extent);
            rest = rest.floor_div(&axis.extent);
            step = step + digit.clone() * operand.stride(axis).clone();
            for (form, clip) in form_steps.iter_mut().zip(&copies.clips) {
                *form = form.clone() + digit.scale(coefficient(clip, *number));
            }
            digits.push(digit);
        }
        step = step + rest.clone() * operand.stride(outer_axis).clone();
        for (form, clip) in form_steps.iter_mut().zip(&copies.clips) {
            *form = form.clone() + rest.scale(coefficient(clip, *outermost));
        }
        let bytes = |dim: &Dim| dim.scale(i64::from(F32));
        for place in &copies.places {
            let own = &place.own;
            self.w.line(format!("add.u32 {own}, {own}, {depth};"));
            self.go_on("", place.bytes.as_deref(), &bytes(&step))?;
            for (form, step) in place.forms.iter().zip(&form_steps) {
                self.go_on_narrow("", form.as_deref(), step)?;
            }
            let mut carry: Option<String> = None;
            for (level, (number, axis)) in inner.iter().enumerate() {
                let digit = &place.digits[level];
                self.go_on_narrow("", Some(digit), &digits[level])?;
                if let Some(carry) = &carry {
                    self.w.line(format!("@{carry} add.u32 {digit}, {digit}, 1;"));
                } else if digits[level].is_zero() {
                    continue;
                }
                let extent = self.narrow(&axis.extent)?;
                let over = self.w.set(Class::Pred, "setp.ge.u32", &[digit, &extent]);
                let when = format!("@{over} ");
                self.w.line(format!("{when}sub.u32 {digit}, {digit}, {extent};"));
                let (next_number, next) = inner_first[level + 1];
                let back = axis.extent.clone() * operand.stride(axis).clone();
                self.go_on(&when, place.bytes.as_deref(), &bytes(&(operand.stride(next).clone() - back)))?;
                for (form, clip) in place.forms.iter().zip(&copies.clips) {
                    let back = axis.extent.scale(coefficient(clip, *number));
                    let by = Dim::from(coefficient(clip, next_number)) - back;
                    self.go_on_narrow(&when, form.as_deref(), &by)?;
                }
                carry = Some(over);
            }
        }
        Ok(())
    }

    /// Adds a size to a register of 64 bits.
    fn go_on(&mut self, when: &str, register: Option<&str>, by: &Dim) -> Result<(), String> {
        if let Some(register) = register.filter(|_| !by.is_zero()) {
            let by = self.size(by)?.text();
            self.w.line(format!("{when}add.s64 {register}, {register}, {by};"));
        }
        Ok(())
    }

    /// The same with 32 bits: forms and indices have no more.
    fn go_on_narrow(&mut self, when: &str, register: Option<&str>, by: &Dim) -> Result<(), String> {
        if let Some(register) = register.filter(|_| !by.is_zero()) {
            let by = self.narrow(by)?;
            self.w.line(format!("{when}add.s32 {register}, {register}, {by};"));
        }
        Ok(())
    }

    /// Where pieces are read and written goes on by a stage, and from the last one to the first.
    pub fn go_to_next_stage(&mut self, places: [&str; 2], bytes: u32, stages: u32) {
        for place in places {
            self.w.line(format!("add.u32 {place}, {place}, {bytes};"));
            let past = self.w.set(Class::Pred, "setp.ge.u32", &[place, &(stages * bytes).to_string()]);
            self.w.line(format!("@{past} mov.u32 {place}, 0;"));
        }
    }

    /// A size in 32 bits.
    fn narrow(&mut self, dim: &Dim) -> Result<String, String> {
        Ok(match self.size(dim)? {
            Int::Const(number) => number.to_string(),
            Int::Register(register) => self.w.set(Class::B32, "cvt.u32.u64", &[&register]),
        })
    }

    /// The sources of the copies of one piece that are of row number `row` of the thread, or of all its rows, one after the other. `end`: of the sum (32
    /// bits).
    pub fn each_source(
        &mut self,
        copies: &Copies<'c>,
        row: Option<usize>,
        end: &str,
        mut copy: impl FnMut(&mut Self, usize, Source),
    ) -> Result<(), String> {
        for (i, place) in copies.places.iter().enumerate() {
            let in_sum = self.w.set(Class::Pred, "setp.lt.u32", &[&place.own, end]);
            for (j, of_row) in copies.rows.iter().enumerate().filter(|(j, _)| row.is_none_or(|row| row == *j)) {
                let mut there = in_sum.clone();
                for ((own, form), clip) in of_row.forms.iter().zip(&place.forms).zip(&copies.clips) {
                    let form = match form {
                        None => own.clone(),
                        Some(form) => self.w.set(Class::B32, "add.u32", &[own, form]),
                    };
                    let extent = self.narrow(&clip.extent)?;
                    // Below 0 is far above, without a sign.
                    there = self.w.set(Class::Pred, "setp.lt.and.u32", &[&form, &extent, &there]);
                }
                let address = match &place.bytes {
                    None => of_row.address.clone(),
                    Some(bytes) => self.w.set(Class::B64, "add.s64", &[&of_row.address, bytes]),
                };
                copy(self, i * copies.rows.len() + j, Source { there, bytes: of_row.bytes.clone(), address });
            }
        }
        Ok(())
    }
}
