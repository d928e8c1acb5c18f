//! Nodes that are neither equations nor loops, as launches: draws, views, sorts and library calls.

use crate::error::Error;
use crate::nodes::Scheduler;
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;

impl Scheduler {
    pub fn draw(&mut self, draw: &eq::Draw) -> Result<(), Error> {
        // In a loop over running examples too all examples draw: a number belongs to the example, not to its row.
        let open = std::mem::take(&mut self.storage.frames);
        let out = self.whole(draw.out, &draw.origin);
        self.storage.frames = open;
        let out = out?;
        let shape = &self.program.tensors[draw.out.0 as usize].shape;
        let per_example = match shape.split_first() {
            Some((first, rest)) if self.storage.is_batch(first) => Some(rest),
            Some(_) | None => None,
        };
        let differs = per_example.is_some_and(|rest| rest.iter().any(|d| self.storage.names_example(d)));
        // Storage has a single axis whose length differs first; elements are numbered as they are written.
        if !self.storage.in_order(shape) {
            let construct = "a draw whose axis of per-example length comes after another axis".to_string();
            return Err(Error::NotBuilt { construct, origin: draw.origin.clone() });
        }
        let per_example: Option<Dim> = per_example.map(|rest| rest.iter().cloned().product());
        let offsets = match &per_example {
            Some(count) if differs => Some(self.storage.table(plan::Table::Offsets(count.clone()))),
            Some(_) | None => None,
        };
        let distribution = match draw.distribution {
            eq::Distribution::Normal => plan::Distribution::Normal,
            eq::Distribution::Uniform => plan::Distribution::Uniform,
        };
        let (site, steps) = (draw.site, self.steps.clone());
        let op = plan::Op::Draw(plan::Draw { out, distribution, site, steps, per_example, offsets });
        self.launch(op, "draw", &draw.origin);
        Ok(())
    }

    /// A view of the same memory; `None`. Where the two orders in memory differ (an axis of per-example length lies outermost wherever it is
    /// written), the equation that copies: the place of an element is counted in the new shape and read in the old one.
    ///
    /// ```text
    /// view y = x, x [B, 4, T], y [B, T, 4]:     y[b, t, c] = x[b, (4 * t + c) / T, (4 * t + c) % T]
    /// ```
    pub fn view(&mut self, view: &eq::View) -> Result<Option<eq::Equation>, Error> {
        if self.storage.alias(&self.program, view.out, view.input)? {
            return Ok(None);
        }
        let shape = |id: eq::TensorId| self.program.tensors[id.0 as usize].shape.clone();
        let (old, new) = (shape(view.input), shape(view.out));
        let own = usize::from(new.first().is_some_and(|d| self.storage.is_batch(d)));
        let mut piece = eq::PieceBuilder::new();
        let axes = piece.free_axes(&new);
        let number = |dim: &Dim| eq::Expr::number(eq::Affine::from(dim.clone()));
        let place = axes.iter().zip(&new).skip(own).fold(None, |place: Option<eq::Expr>, (axis, dim)| {
            let axis = eq::Expr::number(*axis);
            Some(place.map_or(axis.clone(), |place| place * number(dim) + axis))
        });
        let mut rest = place.unwrap_or(eq::Expr::Const(0.0));
        let mut subs: Vec<eq::Sub> = Vec::new();
        for (at, dim) in old.iter().enumerate().skip(own).rev() {
            let is_first = at == own;
            let here = if is_first { rest.clone() } else { rest.clone().binary(eq::BinaryOp::Rem, number(dim)) };
            subs.push(eq::Sub::Data(Box::new(here)));
            rest = rest.binary(eq::BinaryOp::FloorDiv, number(dim));
        }
        subs.extend(axes.iter().take(own).map(|axis| eq::Sub::from(*axis)));
        subs.reverse();
        let pieces = vec![piece.sum(eq::Expr::read(view.input, subs))];
        Ok(Some(eq::Equation { out: view.out, pieces, origin: view.origin.clone() }))
    }

    pub fn sort(&mut self, sort: &eq::Sort) -> Result<(), Error> {
        let from = self.layout(sort.input);
        self.layout(sort.out);
        if let Some(to) = &mut self.storage.layouts[sort.out.0 as usize] {
            to.depth = from.depth;
        }
        let (out, input) = (self.whole(sort.out, &sort.origin)?, self.whole(sort.input, &sort.origin)?);
        let shape = self.program.tensors[sort.input.0 as usize].shape.clone();
        let Some((columns, rest)) = shape.split_last() else {
            return Err(Error::Malformed { problem: "a sort of a scalar".to_string(), origin: sort.origin.clone() });
        };
        if self.storage.names_example(columns) {
            // Of one example after the other, all of them: positions belong to the example also in a loop.
            if rest.iter().any(|d| self.storage.names_example(d)) {
                let construct =
                    "a sort of lists whose number and length both differ from example to example".to_string();
                return Err(Error::NotBuilt { construct, origin: sort.origin.clone() });
            }
            let rows = rest.iter().skip(1).cloned().product();
            let offsets = Some(self.storage.table(plan::Table::Offsets(columns.clone())));
            let (columns, descending) = (columns.clone(), sort.descending);
            let op = plan::Op::Sort(plan::Sort { out, input, offsets, rows, columns, descending });
            self.launch(op, "sort", &sort.origin);
            return Ok(());
        }
        // Rows of the loop at hand, or all that there are.
        let here = |storage: &crate::layout::Storage| -> Dim { rest.iter().map(|d| storage.range_here(d)).product() };
        let is_here = from.depth > 0 && from.depth == self.storage.depth();
        let rows = if is_here { here(&self.storage) } else { self.storage.elements(rest) };
        let op = plan::Op::Sort(plan::Sort {
            out,
            input,
            offsets: None,
            rows,
            columns: columns.clone(),
            descending: sort.descending,
        });
        self.launch(op, "sort", &sort.origin);
        Ok(())
    }

    pub fn library(&mut self, library: &eq::Library) -> Result<(), Error> {
        let out = self.whole(library.out, &library.origin)?;
        let mut inputs = Vec::new();
        for input in &library.inputs {
            inputs.push(self.whole(*input, &library.origin)?);
        }
        // The array counts as a matrix of its first axis by all others.
        let shape = &self.program.tensors[library.out.0 as usize].shape;
        if shape.first().is_some_and(|d| self.storage.is_batch(d)) {
            let construct = "a library call for each example".to_string();
            return Err(Error::NotBuilt { construct, origin: library.origin.clone() });
        }
        let (rows, columns) = match shape.split_first() {
            None => (Dim::one(), Dim::one()),
            Some((first, rest)) => (first.clone(), rest.iter().cloned().product()),
        };
        let routine = match library.routine {
            eq::Routine::Orthogonal => plan::Routine::Orthogonal,
        };
        self.launch(plan::Op::Library { routine, out, inputs, rows, columns }, "library call", &library.origin);
        Ok(())
    }
}
