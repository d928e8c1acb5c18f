//! Long sums in chains (see [`bdl_plan::chains`]): while a chain is under way, what is added goes to registers of its own.

use super::rep::{scalar_type, vector_type};
use super::{Accumulator, Emit, Emitter, Place, accumulator_vectors};
use bdl_plan::{CHAIN, Monoid, ValueType, VariableId};
use cranelift_codegen::ir::{InstBuilder, StackSlot, Value};
use cranelift_frontend::Variable;

/// The sum that a chain is part of, kept while it is under way.
enum Whole {
    /// One register a lane.
    Lanes(Vec<Variable>),
    /// The accumulators of the `Lanes` loop around.
    Accumulators(Vec<Variable>),
    /// One register; accumulators in memory, where the loop around runs lane by lane.
    Scalar(Variable, Option<StackSlot>),
}

impl<'a> Emitter<'a> {
    /// Runs `part` over `from..to`, so many iterations at a time that each of `sums` has a chain in each.
    pub fn in_chains(
        &mut self,
        sums: &[VariableId],
        from: Value,
        to: Value,
        part: impl FnOnce(&mut Self, Value, Value) -> Emit<()>,
    ) -> Emit<()> {
        if sums.is_empty() {
            return part(self, from, to);
        }
        self.counted(from, to, CHAIN, |e, from| {
            let end = e.b.ins().iadd_imm_s(from, CHAIN);
            let to = e.b.ins().smin(end, to);
            let wholes: Vec<Whole> = sums.iter().map(|sum| e.begin_chain(*sum)).collect::<Emit<_>>()?;
            part(e, from, to)?;
            sums.iter().zip(wholes).try_for_each(|(sum, whole)| e.end_chain(*sum, whole))
        })
    }

    fn begin_chain(&mut self, sum: VariableId) -> Emit<Whole> {
        let ty = ValueType::F32;
        let zero = self.identity(Monoid::Sum, ty);
        Ok(match self.place(sum)? {
            Place::Lanes(whole) => {
                let zero = self.splat(zero, ty);
                let own = self.new_variables(vector_type(ty), &vec![zero; whole.len()]);
                self.variables[sum.0 as usize] = Some(Place::Lanes(own));
                Whole::Lanes(whole)
            }
            Place::Scalar(outer) => match self.accumulators.get(&sum).cloned() {
                Some(Accumulator::Vectors(whole)) if self.lanes.is_some() => {
                    let zero = self.splat(zero, ty);
                    let own = self.new_variables(vector_type(ty), &vec![zero; accumulator_vectors(ty)]);
                    self.accumulators.insert(sum, Accumulator::Vectors(own));
                    Whole::Accumulators(whole)
                }
                known @ (Some(Accumulator::Vectors(_) | Accumulator::Slot(_)) | None) => {
                    let own = self.new_variables(scalar_type(ty), &[zero])[0];
                    self.variables[sum.0 as usize] = Some(Place::Scalar(own));
                    let slot = if let Some(Accumulator::Slot(slot)) = known { Some(slot) } else { None };
                    if slot.is_some() {
                        self.accumulators.remove(&sum);
                    }
                    Whole::Scalar(outer, slot)
                }
            },
        })
    }

    fn end_chain(&mut self, sum: VariableId, whole: Whole) -> Emit<()> {
        match whole {
            Whole::Lanes(whole) => {
                let Place::Lanes(own) = self.place(sum)? else { return Err("a chain that is not there".to_string()) };
                self.add_registers(&whole, &own);
                self.variables[sum.0 as usize] = Some(Place::Lanes(whole));
            }
            Whole::Accumulators(whole) => {
                let Some(Accumulator::Vectors(own)) = self.accumulators.get(&sum).cloned() else {
                    return Err("a chain that is not there".to_string());
                };
                self.add_registers(&whole, &own);
                self.accumulators.insert(sum, Accumulator::Vectors(whole));
            }
            Whole::Scalar(outer, slot) => {
                let Place::Scalar(own) = self.place(sum)? else { return Err("a chain that is not there".to_string()) };
                self.variables[sum.0 as usize] = Some(Place::Scalar(outer));
                let Some(slot) = slot else {
                    self.add_registers(&[outer], &[own]);
                    return Ok(());
                };
                self.accumulators.insert(sum, Accumulator::Slot(slot));
                let own = self.b.use_var(own);
                self.combine_in_slot(outer, slot, |e, old| Ok(e.b.ins().fadd(old, own)), ValueType::F32)?;
            }
        }
        Ok(())
    }

    fn add_registers(&mut self, whole: &[Variable], own: &[Variable]) {
        for (whole, own) in whole.iter().zip(own) {
            let (old, new) = (self.b.use_var(*whole), self.b.use_var(*own));
            let sum = self.b.ins().fadd(old, new);
            self.b.def_var(*whole, sum);
        }
    }
}
