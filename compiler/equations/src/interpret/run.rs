//! Nodes in order: equations, loops, draws, views.

use super::evaluate::{Outcome, State};
use super::scalar;
use super::{Array, DrawAt, InterpretError, Value, Values, World};
use crate::data::{
    Carried, Draw, Ends, Iterate, Library, Literal, Node, Program, Role, Routine, Scan, Sort, TensorId, View,
};
use std::cmp::Ordering;

/// Runs every node of the program.
///
/// Errors: a missing or misshapen input, a size without a value, a read that leaves its tensor though it promised not to, a second
/// write. The program should have passed `verify`.
pub fn interpret(program: &Program, world: &World) -> Result<Values, InterpretError> {
    let mut state =
        State { program, world, tensors: vec![None; program.tensors.len()], steps: Vec::new(), running: Vec::new() };
    for id in program.ids() {
        let tensor = program.get(id);
        match tensor.role {
            Role::Computed => continue,
            Role::Input { .. } | Role::Param | Role::State => {}
        }
        let Some(value) = world.values.get(&*tensor.name) else {
            if is_read(program, id) {
                return Err(InterpretError::Missing { tensor: tensor.name.clone() });
            }
            continue;
        };
        let expected = state.filled(id, 0.0)?;
        let same_shapes = expected.examples().len() == value.examples().len()
            && expected.examples().iter().zip(value.examples()).all(|(a, b)| a.shape == b.shape);
        if !same_shapes {
            let wrong = |v: &Value, at: usize| v.examples().get(at).map_or_else(Vec::new, |a| a.shape.clone());
            let pairs = 0..expected.examples().len().max(value.examples().len());
            let at = pairs.into_iter().find(|at| wrong(&expected, *at) != wrong(value, *at)).unwrap_or(0);
            return Err(InterpretError::Shape {
                tensor: tensor.name.clone(),
                expected: wrong(&expected, at).iter().map(|n| *n as i64).collect(),
                found: wrong(value, at),
            });
        }
        // A batched tensor may be given as `Shared` when there is one example.
        let value = match (&expected, value) {
            (Value::PerExample(_), Value::Shared(array)) => Value::PerExample(vec![array.clone()]),
            (Value::Shared(_), Value::PerExample(arrays)) => Value::Shared(arrays[0].clone()),
            (_, same) => same.clone(),
        };
        state.tensors[id.0 as usize] = Some(value);
    }
    state.nodes(&program.nodes)?;
    let mut updates = Vec::new();
    for (target, value) in &program.updates {
        updates.push((program.get(*target).name.clone(), state.value(*value)?.clone()));
    }
    Ok(Values { tensors: state.tensors, outputs: program.outputs.clone(), updates })
}

fn is_read(program: &Program, id: TensorId) -> bool {
    program.nodes.iter().any(|n| n.reads_deep().contains(&id))
        || program.outputs.iter().any(|(_, o)| *o == id)
        || program.updates.iter().any(|(_, v)| *v == id)
}

impl State<'_> {
    fn nodes(&mut self, nodes: &[Node]) -> Outcome<()> {
        for node in nodes {
            match node {
                Node::Equation(n) => self.set(n.out, self.equation(n)?),
                Node::Scan(n) => self.scan(n)?,
                Node::Iterate(n) => self.iterate(n)?,
                Node::Draw(n) => self.set(n.out, self.draw(n)?),
                Node::View(n) => self.set(n.out, self.view(n)?),
                Node::Sort(n) => self.set(n.out, self.sort(n)?),
                Node::Literal(n) => self.set(n.out, self.literal(n)?),
                Node::Library(n) => self.set(n.out, self.library(n)?),
            }
        }
        Ok(())
    }

    fn set(&mut self, id: TensorId, value: Value) {
        self.tensors[id.0 as usize] = Some(value);
    }

    // ------------------------------------------------------------------------------------------------ loops

    fn scan(&mut self, scan: &Scan) -> Outcome<()> {
        let examples = self.world.batch();
        let extents: Vec<i64> = (0..examples).map(|e| self.size(&scan.extent, e)).collect::<Outcome<_>>()?;
        let longest = (0..examples).filter(|e| self.is_running(*e)).map(|e| extents[e]).max().unwrap_or(0);
        for c in &scan.carried {
            self.set(c.inside, self.value(c.start)?.clone());
        }
        // The stacks are filled step by step; each starts as zeros of its outer shape.
        for (_, outside) in &scan.stacks {
            self.set(*outside, self.filled(*outside, 0.0)?);
        }
        let outer = self.running.clone();
        let (longest, mut steps) = match scan.ends {
            Some(Ends::After(steps)) => (longest.min(self.count(steps)?), 0),
            Some(Ends::When { .. }) | None => (longest, longest),
        };
        for count in 0..longest {
            let step = if scan.reversed { longest - 1 - count } else { count };
            self.running = (0..examples).map(|e| outer.get(e).copied().unwrap_or(true) && step < extents[e]).collect();
            self.steps.push((scan.step.clone(), step));
            self.nodes(&scan.body)?;
            for (inside, outside) in &scan.stacks {
                self.stack(*inside, *outside, step)?;
            }
            self.steps.pop();
            let ended = match scan.ends {
                Some(Ends::When { until, .. }) => match self.value(until)? {
                    Value::Shared(array) => array.data.first() != Some(&0.0),
                    Value::PerExample(arrays) => {
                        let mut running = arrays.iter().enumerate().filter(|(e, _)| self.is_running(*e));
                        running.all(|(_, array)| array.data.first() != Some(&0.0))
                    }
                },
                Some(Ends::After(_)) | None => false,
            };
            self.advance(&scan.carried)?;
            if ended {
                steps = count;
                break;
            }
        }
        self.running = outer;
        if let Some(Ends::When { steps: out, .. }) = scan.ends {
            self.set(out, Value::Shared(Array::scalar(steps as f64)));
        }
        self.finish(&scan.carried)
    }

    fn count(&self, steps: TensorId) -> Outcome<i64> {
        Ok(self.value(steps)?.examples().first().and_then(|array| array.data.first()).map_or(0, |n| *n as i64))
    }

    fn iterate(&mut self, iterate: &Iterate) -> Outcome<()> {
        let examples = self.world.batch();
        let limits: Vec<i64> = (0..examples).map(|e| self.size(&iterate.at_most, e)).collect::<Outcome<_>>()?;
        for c in &iterate.carried {
            self.set(c.inside, self.value(c.start)?.clone());
        }
        let outer = self.running.clone();
        self.running = (0..examples).map(|e| outer.get(e).copied().unwrap_or(true)).collect();
        let mut step = 0;
        loop {
            for (running, limit) in self.running.iter_mut().zip(&limits) {
                *running &= step < *limit;
            }
            self.steps.push((iterate.step.clone(), step));
            if self.running.iter().any(|r| *r) {
                self.nodes(&iterate.condition)?;
                let until = self.value(iterate.until)?.clone();
                for (e, running) in self.running.iter_mut().enumerate() {
                    let done = match &until {
                        Value::Shared(array) => array.data.first().copied(),
                        Value::PerExample(arrays) => arrays[e].data.first().copied(),
                    };
                    *running &= done == Some(0.0);
                }
            }
            let go_on = self.running.iter().any(|r| *r);
            if go_on {
                self.nodes(&iterate.body)?;
            }
            self.steps.pop();
            if !go_on {
                break;
            }
            self.advance(&iterate.carried)?;
            step += 1;
        }
        self.running = outer;
        self.finish(&iterate.carried)
    }

    /// All carried values take their next ones together, for the examples that run.
    fn advance(&mut self, carried: &[Carried]) -> Outcome<()> {
        let next: Vec<Value> = carried.iter().map(|c| self.value(c.next).cloned()).collect::<Outcome<_>>()?;
        for (c, next) in carried.iter().zip(next) {
            let merged = match (next, self.value(c.inside)?.clone()) {
                (Value::PerExample(new), Value::PerExample(old)) => {
                    let pairs = new.into_iter().zip(old).enumerate();
                    Value::PerExample(pairs.map(|(e, (n, o))| if self.is_running(e) { n } else { o }).collect())
                }
                (new, _) => new,
            };
            self.set(c.inside, merged);
        }
        Ok(())
    }

    fn finish(&mut self, carried: &[Carried]) -> Outcome<()> {
        for c in carried {
            self.set(c.last, self.value(c.inside)?.clone());
        }
        Ok(())
    }

    fn stack(&mut self, inside: TensorId, outside: TensorId, step: i64) -> Outcome<()> {
        let value = self.value(inside)?.clone();
        let running: Vec<bool> = (0..self.world.batch()).map(|e| self.is_running(e)).collect();
        let shared = matches!(value, Value::Shared(_));
        let name = self.name(outside);
        let Some(stack) = self.tensors[outside.0 as usize].as_mut() else { return Ok(()) };
        for (e, (row, all)) in value.examples().iter().zip(stack.examples_mut()).enumerate() {
            if !shared && !running[e] {
                continue;
            }
            let start = step as usize * row.data.len();
            let found = all.data.len();
            let place = all.data.get_mut(start..start + row.data.len());
            place
                .ok_or(InterpretError::Count { tensor: name.clone(), expected: start + row.data.len(), found })?
                .copy_from_slice(&row.data);
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ the others

    fn draw(&self, draw: &Draw) -> Outcome<Value> {
        let mut value = self.filled(draw.out, 0.0)?;
        let source = self.world.draws.ok_or_else(|| InterpretError::NoDraws { tensor: self.name(draw.out) })?;
        let steps: Vec<i64> = self.steps.iter().map(|(_, n)| *n).collect();
        let dtype = self.program.get(draw.out).dtype;
        let batched = matches!(value, Value::PerExample(_));
        for (e, array) in value.examples_mut().iter_mut().enumerate() {
            for (element, number) in array.data.iter_mut().enumerate() {
                let at = DrawAt {
                    distribution: draw.distribution,
                    site: draw.site,
                    example: batched.then_some(e),
                    steps: &steps,
                    element,
                };
                *number = scalar::stored(dtype, source.draw(&at));
            }
        }
        Ok(value)
    }

    fn view(&self, view: &View) -> Outcome<Value> {
        let mut out = self.filled(view.out, 0.0)?;
        let input = self.value(view.input)?;
        for (to, from) in out.examples_mut().iter_mut().zip(input.examples()) {
            if to.data.len() != from.data.len() {
                let (expected, found) = (to.data.len(), from.data.len());
                return Err(InterpretError::Count { tensor: self.name(view.out), expected, found });
            }
            to.data.copy_from_slice(&from.data);
        }
        Ok(out)
    }

    fn sort(&self, sort: &Sort) -> Outcome<Value> {
        let mut out = self.filled(sort.out, 0.0)?;
        let input = self.value(sort.input)?;
        // NaN counts as the largest.
        let order = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
        for (to, from) in out.examples_mut().iter_mut().zip(input.examples()) {
            let length = from.shape.last().copied().unwrap_or(1).max(1);
            for (ranks, row) in to.data.chunks_mut(length).zip(from.data.chunks(length)) {
                let mut positions: Vec<usize> = (0..row.len()).collect();
                positions.sort_by(|a, b| {
                    let ordering: Ordering = order(row[*a], row[*b]);
                    // What is no number comes last, whichever way numbers go.
                    let numbers = !row[*a].is_nan() && !row[*b].is_nan();
                    if sort.descending && numbers { ordering.reverse() } else { ordering }
                });
                for (rank, position) in ranks.iter_mut().zip(positions) {
                    *rank = position as f64;
                }
            }
        }
        Ok(out)
    }

    fn literal(&self, literal: &Literal) -> Outcome<Value> {
        let mut out = self.filled(literal.out, 0.0)?;
        let dtype = self.program.get(literal.out).dtype;
        for array in out.examples_mut() {
            if array.data.len() != literal.values.len() {
                let (expected, found) = (array.data.len(), literal.values.len());
                return Err(InterpretError::Count { tensor: self.name(literal.out), expected, found });
            }
            for (to, from) in array.data.iter_mut().zip(&literal.values) {
                *to = scalar::stored(dtype, *from);
            }
        }
        Ok(out)
    }

    fn library(&self, library: &Library) -> Outcome<Value> {
        match library.routine {
            Routine::Orthogonal => {
                let Some(&input) = library.inputs.first() else {
                    return Err(InterpretError::Count { tensor: self.name(library.out), expected: 1, found: 0 });
                };
                let mut out = self.value(input)?.clone();
                for array in out.examples_mut() {
                    *array = orthogonal(array);
                }
                Ok(out)
            }
        }
    }
}

/// The Q of the QR decomposition with positive diagonal of R, by Gram-Schmidt, each vector orthogonalised twice (Giraud et al. 2005).
/// The array counts as a matrix of its first axis by all others; the longer side holds the components, the shorter the vectors.
fn orthogonal(array: &Array) -> Array {
    let rows = array.shape.first().copied().unwrap_or(1);
    let columns = array.data.len() / rows.max(1);
    let (vectors, components) = (rows.min(columns), rows.max(columns));
    let place = |v: usize, c: usize| if rows >= columns { c * columns + v } else { v * columns + c };
    let mut data = array.data.clone();
    for v in 0..vectors {
        for _ in 0..2 {
            for before in 0..v {
                let dot: f64 = (0..components).map(|c| data[place(v, c)] * data[place(before, c)]).sum();
                for c in 0..components {
                    data[place(v, c)] -= dot * data[place(before, c)];
                }
            }
        }
        let norm = (0..components).map(|c| data[place(v, c)].powi(2)).sum::<f64>().sqrt();
        for c in 0..components {
            data[place(v, c)] /= norm;
        }
    }
    Array { shape: array.shape.clone(), data }
}
