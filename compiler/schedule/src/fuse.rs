//! Which pieces run together: clusters.
//!
//! Units (pieces of equations, and other nodes) are taken in program order; each joins an earlier cluster or begins its own. A unit may
//! join where all its first free indices up to the cluster's *prefix* are the cluster's, it reads what the cluster computes only at
//! these same indices, and no other cluster stands between. It does join where it reads what the cluster computes (a chain,
//! a reduction, an epilogue of a contraction), or where it runs over the same domain and shares an input (an optimiser's moments).
//!
//! ```text
//! h = x w | y = relu(h + v)                     one contraction with an epilogue over its rows
//! m = b m + g | v = c v + g g | w = w - m / v   one kernel: one pass over five arrays
//! max, exp, sum, divide over a row              one kernel over rows
//! ```
//!
//! The prefix shrinks when a member needs it to, as long as enough parallel work is left.
//!
//! Deliberately absent: loops (`loops`), and what is worth computing twice (`recompute`).

use crate::contraction::Contraction;
use crate::cumulative::Cumulative;
use crate::layout::Storage;
use crate::loops::leading_identity;
use crate::memory::typical;
use crate::nest;
use crate::recompute::Late;
use bdl_dims::Dim;
use bdl_equations as eq;
use bdl_plan as plan;
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeSet;

/// What is scheduled as a whole.
pub(crate) enum Unit {
    Piece {
        out: eq::TensorId,
        piece: eq::Piece,
        origin: eq::Origin,
        contraction: Option<Contraction>,
    },
    /// A sum up to each place of an axis, as one pass.
    Cumulative {
        out: eq::TensorId,
        piece: eq::Piece,
        origin: eq::Origin,
        found: Cumulative,
    },
    /// All elements 0, before the pieces that do not cover it.
    Clear {
        out: eq::TensorId,
        origin: eq::Origin,
    },
    Other(eq::Node),
}

impl Unit {
    pub fn writes(&self) -> Vec<eq::TensorId> {
        match self {
            Unit::Piece { out, .. } | Unit::Cumulative { out, .. } | Unit::Clear { out, .. } => vec![*out],
            Unit::Other(node) => node.writes_deep(),
        }
    }

    pub fn reads(&self) -> Vec<eq::TensorId> {
        match self {
            Unit::Piece { piece, .. } | Unit::Cumulative { piece, .. } => {
                piece.reads().iter().map(|r| r.tensor).collect()
            }
            Unit::Clear { .. } => Vec::new(),
            Unit::Other(node) => node.reads_deep(),
        }
    }
}

pub(crate) struct Cluster {
    pub units: Vec<usize>,
    /// Dims of the first free indices that all members share.
    pub prefix: Vec<Dim>,
    /// The first member is a contraction, and this many first indices are its rows.
    pub rows: Option<usize>,
    /// Does nothing else join?
    pub closed: bool,
    /// Clusters that must run before.
    pub before: Clusters,
}

/// A set of clusters, one bit each.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Clusters(Vec<u64>);

impl Clusters {
    pub fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn insert(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn extend(&mut self, others: &Clusters) {
        if self.0.len() < others.0.len() {
            self.0.resize(others.0.len(), 0);
        }
        self.0.iter_mut().zip(&others.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
    }
}

/// Fewer iterations than this of the shared loops, and a kernel is not made of more than elementwise members over one domain.
const LEAST_PARALLEL: i64 = 16;
/// More members than this make a kernel that no one can read.
const MOST_MEMBERS: usize = 48;
/// What leaves this many times fewer elements than it reads is run as soon as nothing but updates waits for it.
const LEAST_SHRINKING: i64 = 4;
/// So few elements are never in the way.
const FEW_ELEMENTS: i64 = 16;

pub(crate) struct Fusion<'u> {
    program: &'u eq::Program,
    storage: &'u Storage,
    pub units: &'u [Unit],
    late: &'u Late,
    /// What each unit reads.
    pub reads: Vec<Vec<eq::TensorId>>,
    pub clusters: Vec<Cluster>,
    /// The clusters that write each tensor.
    writers: HashMap<eq::TensorId, BTreeSet<usize>>,
    /// How many units write each tensor.
    parts: HashMap<eq::TensorId, usize>,
}

/// Clusters of `units`, each with those that must run before it.
pub(crate) fn clusters<'u>(
    program: &'u eq::Program,
    storage: &'u Storage,
    units: &'u [Unit],
    late: &'u Late,
) -> Fusion<'u> {
    let mut parts: HashMap<eq::TensorId, usize> = HashMap::default();
    for unit in units {
        for tensor in unit.writes() {
            *parts.entry(tensor).or_insert(0) += 1;
        }
    }
    let reads = units.iter().map(Unit::reads).collect();
    let mut fusion =
        Fusion { program, storage, units, late, reads, clusters: Vec::new(), writers: HashMap::default(), parts };
    for unit in 0..units.len() {
        fusion.add(unit);
    }
    fusion
}

impl Fusion<'_> {
    /// The view of an aliased tensor is the tensor whose buffer it has.
    fn sources(&self, unit: usize) -> BTreeSet<usize> {
        let mut clusters = BTreeSet::new();
        for tensor in &self.reads[unit] {
            let root = self.root(*tensor);
            clusters.extend(self.writers.get(&root).into_iter().flatten());
        }
        for tensor in self.units[unit].writes() {
            // What is computed again follows what it waits for.
            if let Some(waits) = self.late.get(&tensor) {
                clusters.extend(self.writers.get(&self.root(*waits)).into_iter().flatten());
            }
            // The pieces of one tensor follow its clearing.
            if matches!(self.units[unit], Unit::Piece { .. } | Unit::Cumulative { .. }) {
                let clears = |c: &&usize| matches!(self.units[self.clusters[**c].units[0]], Unit::Clear { .. });
                clusters.extend(self.writers.get(&tensor).into_iter().flatten().filter(clears));
            }
        }
        clusters
    }

    fn root(&self, tensor: eq::TensorId) -> eq::TensorId {
        self.storage.view_of(tensor)
    }

    fn add(&mut self, unit: usize) {
        let sources = self.sources(unit);
        let joined = match &self.units[unit] {
            Unit::Piece { contraction: None, .. } => self.best(unit, &sources),
            Unit::Piece { contraction: Some(_), .. } => None,
            Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => None,
        };
        let cluster = match joined {
            Some((cluster, prefix)) => {
                self.clusters[cluster].prefix.truncate(prefix);
                self.clusters[cluster].units.push(unit);
                cluster
            }
            None => {
                let (prefix, rows, closed) = match &self.units[unit] {
                    Unit::Piece { piece, contraction, .. } => {
                        let ranges: Vec<Dim> = piece.free_ids().map(|i| piece.range(i).clone()).collect();
                        let rows = contraction.as_ref().and_then(Self::epilogue_rows);
                        let whole = self.parts.get(&self.units[unit].writes()[0]) == Some(&1);
                        let closed = contraction.is_some() && (rows.is_none() || !whole || !piece.is_plain());
                        (ranges, rows, closed)
                    }
                    Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => (Vec::new(), None, true),
                };
                self.clusters.push(Cluster { units: vec![unit], prefix, rows, closed, before: Clusters::default() });
                self.clusters.len() - 1
            }
        };
        for source in sources {
            if source != cluster {
                self.order(source, cluster);
            }
        }
        for tensor in self.units[unit].writes() {
            self.writers.entry(tensor).or_default().insert(cluster);
        }
    }

    /// `first` runs before `then`; everything known follows.
    pub fn order(&mut self, first: usize, then: usize) {
        let mut all = self.clusters[first].before.clone();
        all.insert(first);
        for (at, cluster) in self.clusters.iter_mut().enumerate() {
            if at == then || cluster.before.contains(then) {
                cluster.before.extend(&all);
            }
        }
    }

    /// Would `first` before `then` close a circle?
    pub fn contradicts(&self, first: usize, then: usize) -> bool {
        first == then || self.clusters[first].before.contains(then)
    }

    /// The first free indices of a contraction that are the rows of its epilogue: all batch axes, then all m axes, then n axes.
    fn epilogue_rows(contraction: &Contraction) -> Option<usize> {
        let rank = |role| match role {
            plan::AxisRole::Batch => 0,
            plan::AxisRole::M => 1,
            plan::AxisRole::N => 2,
            plan::AxisRole::K => 3,
        };
        let mut rows = 0;
        let mut last = (0, None);
        for axis in contraction.axes.iter().filter(|a| a.role != plan::AxisRole::K) {
            for index in &axis.indices {
                if rank(axis.role) < last.0
                    || last.1.is_some_and(|l: u32| l + 1 != index.0)
                    || (last.1.is_none() && index.0 != 0)
                {
                    return None;
                }
                last = (rank(axis.role), Some(index.0));
                rows += usize::from(rank(axis.role) < 2);
            }
        }
        (rows > 0).then_some(rows)
    }

    /// The best cluster to join, and the prefix that it then has.
    fn best(&self, unit: usize, sources: &BTreeSet<usize>) -> Option<(usize, usize)> {
        let mut best: Option<((bool, usize), usize, usize)> = None;
        let inputs = self.inputs(unit);
        for cluster in 0..self.clusters.len() {
            if let Some((feeds, prefix)) = self.joins(unit, cluster, sources, &inputs) {
                let rank = (feeds, prefix);
                if best.is_none_or(|(so_far, _, _)| rank >= so_far) {
                    best = Some((rank, cluster, prefix));
                }
            }
        }
        best.map(|(_, cluster, prefix)| (cluster, prefix))
    }

    /// May and should the unit join? Whether it reads what the cluster computes, and the prefix.
    fn joins(
        &self,
        unit: usize,
        at: usize,
        sources: &BTreeSet<usize>,
        inputs: &BTreeSet<eq::TensorId>,
    ) -> Option<(bool, usize)> {
        let cluster = &self.clusters[at];
        let Unit::Piece { out, piece, .. } = &self.units[unit] else { return None };
        if cluster.closed || cluster.units.len() >= MOST_MEMBERS {
            return None;
        }
        if sources.iter().any(|s| *s != at && self.clusters[*s].before.contains(at)) {
            return None;
        }
        let mut prefix =
            cluster.prefix.iter().zip(piece.free_ids()).take_while(|(dim, index)| *dim == piece.range(*index)).count();
        let feeds = sources.contains(&at);
        if feeds {
            for read in piece.reads() {
                let root = self.root(read.tensor);
                if !self.writers.get(&root).is_some_and(|w| w.contains(&at)) {
                    continue;
                }
                // A view, and a tensor in several pieces, are only whole when the kernel is done.
                if root != read.tensor || self.parts.get(&root).is_some_and(|n| *n > 1) || !self.is_plain(at, root) {
                    return None;
                }
                prefix = prefix.min(leading_identity(read));
            }
        }
        match cluster.rows {
            Some(rows) => {
                if prefix < rows || !feeds {
                    return None;
                }
                if piece.free_ids().take(rows).any(|i| self.storage.names_example(piece.range(i)))
                    && nest::rows(self.program, self.storage, piece) != Some((eq::IndexId(0), eq::IndexId(1)))
                {
                    return None;
                }
                prefix = prefix.max(rows);
            }
            None => {
                // Scalars go together; everything else needs a loop in common.
                let scalars = piece.free == 0 && cluster.prefix.is_empty();
                if prefix == 0 && !scalars {
                    return None;
                }
            }
        }
        let whole = prefix == piece.free && prefix == cluster.prefix.len() && self.all_full(at, prefix);
        let parallel: Dim = cluster.prefix[..prefix].iter().cloned().product();
        if !whole && parallel.as_const().is_some_and(|n| n < LEAST_PARALLEL) {
            return None;
        }
        // Several pieces of one tensor in one kernel are fine: they are disjoint.
        let shares = whole && (self.shares_input(inputs, at) || self.writers.get(out).is_some_and(|w| w.contains(&at)));
        (feeds || shares).then_some((feeds, prefix))
    }

    /// Does the cluster write the tensor at its plain indices?
    fn is_plain(&self, cluster: usize, tensor: eq::TensorId) -> bool {
        self.clusters[cluster].units.iter().all(|u| match &self.units[*u] {
            Unit::Piece { out, piece, .. } => *out != tensor || piece.is_plain(),
            Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => false,
        })
    }

    fn all_full(&self, cluster: usize, prefix: usize) -> bool {
        self.clusters[cluster].units.iter().all(|u| match &self.units[*u] {
            Unit::Piece { piece, .. } => piece.free == prefix,
            Unit::Cumulative { .. } | Unit::Clear { .. } | Unit::Other(_) => false,
        })
    }

    /// The tensors of the whole domain that a piece reads.
    fn inputs(&self, unit: usize) -> BTreeSet<eq::TensorId> {
        let Unit::Piece { piece, .. } = &self.units[unit] else { return BTreeSet::new() };
        let whole = |t: &&eq::TensorId| self.program.tensors[t.0 as usize].shape.len() >= piece.free;
        self.reads[unit].iter().filter(whole).copied().collect()
    }

    /// Does the cluster read one of these?
    fn shares_input(&self, inputs: &BTreeSet<eq::TensorId>, cluster: usize) -> bool {
        self.clusters[cluster].units.iter().any(|u| self.reads[*u].iter().any(|t| inputs.contains(t)))
    }

    /// Of clusters that nothing waits for, those to run as soon as they can, and what only these wait for and is small: a bias's share of a gradient that
    /// is on its way to other layers, the rate that all updates share. What they read is free then. Where that is less than the weights that
    /// they change, all stay where they are: what other workers have just read is dear to write.
    pub fn freeing(&self, ends: BTreeSet<usize>) -> BTreeSet<usize> {
        let (_, after) = self.waiting();
        let size =
            |tensor: &eq::TensorId| typical(&self.program.tensors[tensor.0 as usize].shape.iter().cloned().product());
        let reads =
            |at: usize| self.clusters[at].units.iter().flat_map(|unit| &self.reads[*unit]).map(size).max().unwrap_or(0);
        let writes = |at: usize| -> i64 {
            let written = self.clusters[at].units.iter().flat_map(|unit| self.units[*unit].writes());
            written.map(|tensor| size(&tensor)).fold(0, i64::saturating_add)
        };
        let mut early: BTreeSet<usize> = ends.into_iter().filter(|at| reads(*at) >= writes(*at)).collect();
        let is_small = |at: usize| writes(at) <= FEW_ELEMENTS || reads(at) / LEAST_SHRINKING >= writes(at);
        let mut open: Vec<usize> = (0..after.len()).rev().filter(|at| !early.contains(at) && is_small(*at)).collect();
        loop {
            let before = open.len();
            open.retain(|at| {
                let mut waiting = after[*at].iter();
                let is_early = if writes(*at) <= FEW_ELEMENTS {
                    waiting.any(|next| early.contains(next))
                } else {
                    waiting.len() > 0 && waiting.all(|next| early.contains(next))
                };
                if is_early {
                    early.insert(*at);
                }
                !is_early
            });
            if open.len() == before {
                return early;
            }
        }
    }

    /// How many clusters each one waits for, and who waits for it.
    fn waiting(&self) -> (Vec<usize>, Vec<Vec<usize>>) {
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.clusters.len()];
        let each = self.clusters.iter().enumerate();
        let waits = each.map(|(at, cluster)| cluster.before.iter().inspect(|first| after[*first].push(at)).count());
        (waits.collect(), after)
    }

    /// An order that respects `before`: what is `early` as soon as it can run, the rest as the program has it.
    pub fn sorted(&self, early: &BTreeSet<usize>) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.clusters.len());
        let (mut waits, after) = self.waiting();
        // The early ones by number, then the rest by their first unit.
        let rank = |at: usize| {
            if early.contains(&at) { (false, None, at) } else { (true, self.clusters[at].units.first(), at) }
        };
        let mut ready: BTreeSet<_> = (0..waits.len()).filter(|at| waits[*at] == 0).map(rank).collect();
        while let Some((_, _, next)) = ready.pop_first() {
            order.push(next);
            for at in &after[next] {
                waits[*at] -= 1;
                if waits[*at] == 0 {
                    ready.insert(rank(*at));
                }
            }
        }
        // What waits for itself is not among them.
        order
    }
}
