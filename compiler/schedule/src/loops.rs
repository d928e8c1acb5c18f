//! Equations that run together as one kernel: which loops, in which order, and what stays in registers.
//!
//! All members share the kernel's outer loops (the *prefix*: their first free indices). Inside, each runs over the rest of its free
//! indices in a *sweep*; members over the same rest share one, and hand values on in registers. A reduction over exactly the sweep's
//! loops runs along with it:
//!
//! ```text
//! m[b] = max[j] x[b, j];  e[b, j] = exp(x[b, j] - m[b]);  s[b] = sum[j] e[b, j];  y[b, j] = e[b, j] / s[b]
//!   for b:  { for j lanes: m = max(m, x) }   { for j lanes: e = exp(x - m); store e; s += e }   { for j lanes: y = e / s }
//! ```
//!
//! What no one outside needs and every reader takes from a register is never stored. Stores wait for the end of the innermost body,
//! so that a parameter may be updated in place by the kernel that reads it.
//!
//! Deliberately absent: the choice of members (`fuse`) and single elements (`element`).

use crate::builder::Builder;
use crate::element::{self, Member, Running};
use crate::error::Error;
use crate::form;
use crate::layout::Storage;
use crate::nest::{self, Extent, Lanes, Loop, Walk};
use crate::scalar::{Forward, Writer};
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan::{self as plan, Address, Bound, LoopMode, ValueId, ValueOp, ValueType};
use rustc_hash::FxHashSet as HashSet;

/// One piece of an equation in a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Part<'p> {
    pub out: eq::TensorId,
    pub piece: &'p eq::Piece,
    pub origin: &'p eq::Origin,
}

/// What a kernel is to be.
pub(crate) struct Wanted<'p> {
    pub name: String,
    pub parts: Vec<Part<'p>>,
    /// How many first free indices all parts share.
    pub prefix: usize,
    /// The grid must be the prefix, flattened (the rows of a contraction).
    pub flat: bool,
    /// Tensors that something outside of the kernel reads.
    pub needed: &'p dyn Fn(eq::TensorId) -> bool,
}

/// Members over the same loops behind the prefix.
struct Sweep {
    rest: usize,
    members: Vec<(usize, Role)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// One value a point of the sweep.
    Element,
    /// Reduces over the sweep's loops.
    Reducer,
}

/// The kernel and the slices it is launched with.
pub(crate) fn kernel(
    program: &eq::Program,
    storage: &mut Storage,
    wanted: &Wanted,
) -> Result<(plan::Kernel, Vec<plan::Slice>), Error> {
    let parts = &wanted.parts;
    let mut rows = nest::rows(program, storage, parts[0].piece).filter(|(b, t)| b.0 == 0 && t.0 == 1);
    for part in parts {
        rows = rows.filter(|r| nest::rows(program, storage, part.piece) == Some(*r) && part.piece.free >= 2);
    }
    if wanted.prefix == 1 && !parts.iter().all(|p| p.piece.free == 1) {
        rows = None;
    }
    let walks: Vec<Walk> = parts
        .iter()
        .map(|part| {
            let rows = rows
                .or_else(|| nest::rows(program, storage, part.piece).filter(|(b, _)| b.0 as usize >= part.piece.free));
            Walk::of(program, storage, part.out, part.piece, rows)
        })
        .collect();
    let mut members = Vec::new();
    for (part, walk) in parts.iter().zip(&walks) {
        let own = nest::rows(program, storage, part.piece).filter(|(b, _)| b.0 as usize >= part.piece.free);
        let bound = nest::bound_loops(storage, part.piece, walk, own);
        let sorted = element::sorted(program, storage, part.piece);
        members.push(Member::new(part, bound, sorted));
    }
    let all: Vec<&Walk> = walks.iter().collect();
    let ids = |range: std::ops::Range<usize>| -> Vec<eq::IndexId> { range.map(|i| eq::IndexId(i as u32)).collect() };
    let groups = nest::merge(storage, parts[0].piece, &ids(0..wanted.prefix), &all, rows);
    let full = parts.iter().all(|p| p.piece.free == wanted.prefix);
    let lanes_on_prefix = full
        && !wanted.flat
        && members.iter().zip(&walks).zip(parts).all(|((member, walk), part)| {
            nest::lanes(part.piece, groups.last(), member.bound.last(), walk) == Lanes::Free
        });
    let sweeps = if full {
        let role = |i| (i, Role::Element);
        if lanes_on_prefix {
            vec![Sweep { rest: 0, members: (0..parts.len()).map(role).collect() }]
        } else {
            (0..parts.len()).map(|i| Sweep { rest: 0, members: vec![role(i)] }).collect()
        }
    } else {
        sweeps(parts, wanted.prefix)
    };
    let stored = stored(wanted, &sweeps);
    let mut written = HashSet::default();
    for (part, _) in parts.iter().zip(&stored).filter(|(_, s)| **s) {
        written.insert(storage.place(program, part.out).buffer);
    }
    for (member, stored) in members.iter_mut().zip(&stored) {
        member.stored = *stored;
    }
    // The grid: the outermost group, or all rows of a contraction flattened.
    let flattened: Dim = groups.iter().map(|g| extent_size(storage, &g.extent)).product();
    let (grid_name, grid) = match groups.first() {
        None => ("once".to_string(), Dim::one()),
        Some(_) if wanted.flat => ("row".to_string(), flattened),
        Some(first) => (loop_name(parts[0].piece, first), extent_size(storage, &first.extent)),
    };
    let grid_lanes = lanes_on_prefix && groups.len() == 1;
    let grid_mode = if grid_lanes { LoopMode::Lanes } else { LoopMode::Serial };
    let builder = Builder::new(&wanted.name, &grid_name, grid, grid_mode, written);
    let written = crate::builder::value_type(storage.real);
    let writer = Writer { program, storage, builder, forwards: Vec::new(), written };
    let mut kernel = KernelWriter {
        writer,
        members,
        walks: &walks,
        prefix: wanted.prefix,
        pending: Vec::new(),
        in_lanes: grid_lanes,
    };
    let everyone: Vec<usize> = (0..parts.len()).collect();
    let mut opened = 0;
    if wanted.flat && groups.len() > 1 {
        kernel.unflatten(&groups, &everyone);
    } else if let Some(first) = groups.first() {
        kernel.bind(first, &form::index(Builder::GRID), &everyone);
        for (at, group) in groups.iter().enumerate().skip(1) {
            let lanes = lanes_on_prefix && at + 1 == groups.len();
            kernel.open(group, lanes, &everyone)?;
            opened += 1;
        }
    }
    for sweep in &sweeps {
        kernel.sweep(sweep)?;
    }
    kernel.flush();
    for _ in 0..opened {
        kernel.writer.builder.close();
    }
    Ok(kernel.writer.builder.finish())
}

/// Puts each part into the last sweep if it may run along there, else into a new one.
fn sweeps(parts: &[Part], prefix: usize) -> Vec<Sweep> {
    let mut sweeps: Vec<Sweep> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let rest = part.piece.free - prefix;
        let loops = |p: &eq::Piece, from: usize, count: usize| -> Vec<Dim> {
            p.indices[from..from + count].iter().map(|i| i.range.clone()).collect()
        };
        let role = sweeps.last().and_then(|last| {
            let first = &parts[last.members[0].0];
            if last.rest == 0 || last.members[0].1 == Role::Reducer {
                return None;
            }
            let own = loops(first.piece, prefix, last.rest);
            let role = if rest == last.rest && loops(part.piece, prefix, rest) == own {
                Role::Element
            } else if rest == 0
                && part.piece.bound() == last.rest
                && loops(part.piece, prefix, last.rest) == own
                && !nest::is_argument(part.piece.monoid)
                && part.piece.filter.is_empty()
                && part.piece.empty.is_none_or(|e| e == part.piece.monoid.identity())
            {
                Role::Reducer
            } else {
                return None;
            };
            let fine = last.members.iter().all(|(other, other_role)| {
                let writes = parts[*other].out;
                part.piece.reads().iter().filter(|r| r.tensor == writes).all(|r| match other_role {
                    Role::Element => is_identity(r, prefix + last.rest),
                    Role::Reducer => false,
                })
            });
            fine.then_some(role)
        });
        match (role, sweeps.last_mut()) {
            (Some(role), Some(last)) => last.members.push((at, role)),
            (_, _) => sweeps.push(Sweep { rest, members: vec![(at, Role::Element)] }),
        }
    }
    sweeps
}

/// The sweep that each part runs in.
pub(crate) fn sweep_of_each(parts: &[Part], prefix: usize) -> Vec<usize> {
    let sweeps = sweeps(parts, prefix);
    let place = |part: usize| sweeps.iter().position(|s| s.members.iter().any(|(p, _)| *p == part)).unwrap_or(0);
    (0..parts.len()).map(place).collect()
}

/// Is the part stored? (Where all parts run along the prefix, none is but what is needed.)
pub(crate) fn stored_of_each(wanted: &Wanted) -> Vec<bool> {
    stored(wanted, &sweeps(&wanted.parts, wanted.prefix))
}

/// Are the subscripts the first `count` indices in order, and nothing else?
pub(crate) fn is_identity(read: &eq::Read, count: usize) -> bool {
    read.subs.len() == count && leading_identity(read) == count
}

/// How many first subscripts are the indices 0, 1, ...
pub(crate) fn leading_identity(read: &eq::Read) -> usize {
    let own = |(at, sub): &(usize, &eq::Sub)| crate::scalar::is_index(sub, eq::IndexId(*at as u32));
    read.subs.iter().enumerate().take_while(own).count()
}

/// Which parts must be stored: what is needed outside, and what some reader does not get from a register.
fn stored(wanted: &Wanted, sweeps: &[Sweep]) -> Vec<bool> {
    let parts = &wanted.parts;
    let place = |part: usize| sweeps.iter().position(|s| s.members.iter().any(|(p, _)| *p == part));
    let role = |part: usize| sweeps.iter().flat_map(|s| &s.members).find(|(p, _)| *p == part).map(|(_, r)| *r);
    (0..parts.len())
        .map(|writer| {
            let tensor = parts[writer].out;
            // The value stays known until the kernel ends.
            let lasting = parts[writer].piece.free == wanted.prefix || role(writer) == Some(Role::Reducer);
            (wanted.needed)(tensor)
                || !parts[writer].piece.is_plain()
                || parts.iter().enumerate().any(|(reader, part)| {
                    part.piece.reads().iter().filter(|r| r.tensor == tensor).any(|r| {
                        let count = parts[writer].piece.free;
                        !(is_identity(r, count) && (lasting || place(writer) == place(reader)))
                    })
                })
        })
        .collect()
}

struct KernelWriter<'p, 's, 'w> {
    writer: Writer<'p, 's>,
    members: Vec<Member<'p>>,
    walks: &'w [Walk],
    prefix: usize,
    /// Stores of the body that is being written.
    pending: Vec<(u32, Address, ValueId)>,
    in_lanes: bool,
}

impl KernelWriter<'_, '_, '_> {
    fn bind(&mut self, l: &Loop, counter: &Address, members: &[usize]) {
        for member in members {
            self.members[*member].bind(&mut self.writer, l, counter);
        }
    }

    fn open(&mut self, l: &Loop, lanes: bool, members: &[usize]) -> Result<(), Error> {
        let first = &self.members[members[0]];
        let to = first.loop_bound(&mut self.writer, &l.extent)?;
        let mode = if lanes { LoopMode::Lanes } else { LoopMode::Serial };
        let name = loop_name(first.env.piece, l);
        let index = self.writer.builder.open_loop(&name, Bound::Size(Dim::zero()), to, mode);
        self.in_lanes |= lanes;
        self.bind(l, &form::index(index), members);
        Ok(())
    }

    /// The groups' counters from the flattened row.
    fn unflatten(&mut self, groups: &[Loop], members: &[usize]) {
        let mut inner = Dim::one();
        for (at, group) in groups.iter().enumerate().rev() {
            let extent = extent_size(self.writer.storage, &group.extent);
            let builder = &mut self.writer.builder;
            let mut counter = builder.number(&form::index(Builder::GRID));
            if inner != Dim::one() {
                let by = builder.size(&inner);
                counter = builder.value(ValueOp::Binary(plan::BinaryOp::FloorDiv, counter, by), ValueType::I64);
            }
            if at > 0 {
                let by = builder.size(&extent);
                counter = builder.value(ValueOp::Binary(plan::BinaryOp::Rem, counter, by), ValueType::I64);
            }
            self.bind(group, &form::value(counter), members);
            inner = inner * extent;
        }
    }

    fn sweep(&mut self, sweep: &Sweep) -> Result<(), Error> {
        let members: Vec<usize> = sweep.members.iter().map(|(m, _)| *m).collect();
        if sweep.rest == 0 {
            for member in members {
                self.element(member, !self.in_lanes)?;
            }
            return Ok(());
        }
        let mut running: Vec<(usize, Running)> = Vec::new();
        for (member, role) in &sweep.members {
            if *role == Role::Reducer {
                let start = self.members[*member].start(&mut self.writer)?;
                running.push((*member, start));
            }
        }
        let walks: Vec<&Walk> = members.iter().map(|m| &self.walks[*m]).collect();
        let loops: Vec<eq::IndexId> = (self.prefix..self.prefix + sweep.rest).map(|i| eq::IndexId(i as u32)).collect();
        let piece = self.members[members[0]].env.piece;
        let groups = nest::merge(self.writer.storage, piece, &loops, &walks, None);
        let alone = match sweep.members.as_slice() {
            [(only, Role::Element)] => {
                let member = &self.members[*only];
                Some(nest::lanes(member.env.piece, groups.last(), member.bound.last(), walks[0]))
            }
            _several => None,
        };
        let lanes = alone.unwrap_or(Lanes::Free) == Lanes::Free
            && groups.last().is_some_and(|last| {
                let only_sums = running.len() == members.len();
                sweep.members.iter().all(|(m, _)| nest::may_be_lanes(self.members[*m].env.piece, last))
                    && !(only_sums && nest::is_few(last))
            });
        let (was, known) = (self.in_lanes, self.writer.forwards.len());
        // What was computed outside is stored outside, also where these loops do not run.
        let outside = std::mem::take(&mut self.pending);
        for (at, group) in groups.iter().enumerate() {
            self.open(group, lanes && at + 1 == groups.len(), &members)?;
        }
        for (member, role) in &sweep.members {
            match role {
                Role::Element => self.element(*member, alone == Some(Lanes::Bound))?,
                Role::Reducer => {
                    if let Some((_, running)) = running.iter().find(|(m, _)| m == member) {
                        self.members[*member].point(&mut self.writer, running, None)?;
                    }
                }
            }
        }
        self.flush();
        for _ in &groups {
            self.writer.builder.close();
        }
        self.pending = outside;
        self.in_lanes = was;
        self.writer.forwards.truncate(known);
        for (member, running) in running {
            self.members[member].leave(self.prefix..self.prefix + sweep.rest);
            let value = self.writer.builder.read_variable(running.result());
            self.hand_on(member, value)?;
        }
        Ok(())
    }

    /// Computes one element of a member's output.
    fn element(&mut self, member: usize, lanes_inside: bool) -> Result<(), Error> {
        let value = self.members[member].value(&mut self.writer, self.in_lanes, lanes_inside)?;
        self.hand_on(member, value)
    }

    /// Remembers the value for later readers, and stores it if it must be.
    fn hand_on(&mut self, member: usize, value: ValueId) -> Result<(), Error> {
        let member = &self.members[member];
        let value = member.to_element_type(&mut self.writer, value);
        let piece = member.env.piece;
        if piece.is_plain() {
            let subs = (0..piece.free).map(|i| member.env.bind[i].clone()).collect();
            self.writer.forwards.push(Forward { tensor: member.out, subs, value });
        }
        if member.stored {
            let store = member.address(&mut self.writer)?;
            self.pending.push((store.0, store.1, value));
        }
        Ok(())
    }

    fn flush(&mut self) {
        for (buffer, at, value) in std::mem::take(&mut self.pending) {
            self.writer.builder.store(buffer, at, value);
        }
    }
}

pub(crate) fn loop_name(piece: &eq::Piece, l: &Loop) -> String {
    l.indices.iter().map(|i| &*piece.indices[i.0 as usize].name).collect::<Vec<_>>().join("_")
}

fn extent_size(storage: &mut Storage, extent: &Extent) -> Dim {
    match extent {
        Extent::Size(size) => size.clone(),
        Extent::Rows(rows) => storage.total(rows),
        // The first free index of a batched equation is the batch.
        Extent::PerExample(dim, _) => dim.clone(),
    }
}
