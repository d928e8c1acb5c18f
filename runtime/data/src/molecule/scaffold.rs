//! The scaffold of a molecule (Bemis and Murcko 1996, doi:10.1021/jm9602928): its rings and what links them, with atoms that hang on these by a
//! double bond, as RDKit takes it.
//!
//! Scaffolds are compared, not shown, so the result is a key: equal for equal scaffolds, however the molecule was written. It lists atoms and
//! bonds in a canonical order, found by refinement of classes (Weininger et al. 1989) and by trying each atom of the first class that ties.

use super::aromatic::{Aromatic, aromatic};
use super::rings::{Ring, ring_bonds, smallest_rings};
use super::{Molecule, Order};
use std::fmt::Write;

/// The scaffold of `molecule` as a key; empty where it has no ring.
pub fn scaffold(molecule: &Molecule) -> String {
    let molecule = &with_charged_oxides(molecule);
    let in_ring = ring_bonds(molecule);
    let rings = smallest_rings(molecule, &in_ring);
    if rings.is_empty() {
        return String::new();
    }
    let marks = aromatic(molecule, &in_ring, &rings);
    let kept = kept(molecule, &in_ring);
    Graph::new(molecule, &kept, &marks, &in_ring, &rings).key()
}

/// `n(=O)`, in which nitrogen would have five bonds, is another spelling of `[n+][O-]`.
fn with_charged_oxides(molecule: &Molecule) -> Molecule {
    let mut molecule = molecule.clone();
    let bonds_of = molecule.bonds_of();
    for atom in 0..molecule.atoms.len() {
        if molecule.atoms[atom].element != 7 {
            continue;
        }
        // Twice the valence: an aromatic bond counts one and a half.
        let twice = |molecule: &Molecule| -> usize {
            let of = |bond: &usize| match molecule.bonds[*bond].order {
                Order::Single => 2,
                Order::Aromatic => 3,
                Order::Double => 4,
                Order::Triple => 6,
                Order::Quadruple => 8,
            };
            bonds_of[atom].iter().map(of).sum()
        };
        for bond in &bonds_of[atom] {
            let other = molecule.bonds[*bond].other(atom);
            let oxygen = molecule.atoms[other].element == 8 && bonds_of[other].len() == 1;
            let is_oxide = oxygen && molecule.bonds[*bond].order == Order::Double;
            if is_oxide && molecule.atoms[atom].charge == 0 && twice(&molecule) >= 10 {
                molecule.bonds[*bond].order = Order::Single;
                molecule.atoms[atom].charge = 1;
                molecule.atoms[other].charge = -1;
            }
        }
    }
    molecule
}

/// Atoms of rings, of what links rings, and those at the other end of a double bond from one of these.
fn kept(molecule: &Molecule, in_ring: &[bool]) -> Vec<bool> {
    let bonds_of = molecule.bonds_of();
    let mut core = vec![true; molecule.atoms.len()];
    let mut degree: Vec<usize> = bonds_of.iter().map(Vec::len).collect();
    // Ends of chains go, one after the other; an atom of a ring never becomes an end.
    let mut ends: Vec<usize> = (0..core.len()).filter(|atom| degree[*atom] <= 1).collect();
    while let Some(atom) = ends.pop() {
        core[atom] = false;
        for bond in &bonds_of[atom] {
            let other = molecule.bonds[*bond].other(atom);
            if core[other] {
                degree[other] -= 1;
                if degree[other] <= 1 {
                    ends.push(other);
                }
            }
        }
    }
    let mut kept = core.clone();
    for (bond, in_ring) in molecule.bonds.iter().zip(in_ring) {
        let [a, b] = bond.ends;
        if bond.order == Order::Double && !in_ring && core[a] != core[b] {
            (kept[a], kept[b]) = (true, true);
        }
    }
    kept
}

/// The scaffold alone, its atoms numbered anew.
struct Graph {
    /// What is said of an atom whatever its number is.
    labels: Vec<String>,
    /// Neighbours with the bond between.
    joined: Vec<Vec<(usize, u8)>>,
}

impl Graph {
    fn new(molecule: &Molecule, kept: &[bool], marks: &Aromatic, in_ring: &[bool], rings: &[Ring]) -> Graph {
        let mut number = vec![usize::MAX; kept.len()];
        let mut labels = Vec::new();
        for atom in (0..kept.len()).filter(|atom| kept[*atom]) {
            number[atom] = labels.len();
            let it = &molecule.atoms[atom];
            let mut sizes: Vec<usize> =
                rings.iter().filter(|ring| ring.atoms.contains(&atom)).map(|ring| ring.atoms.len()).collect();
            sizes.sort_unstable();
            sizes.dedup();
            let ring = if marks.atoms[atom] { 'a' } else { '-' };
            // Which nitrogen of an aromatic ring has the hydrogen is a part of the scaffold.
            let lone = if marks.atoms[atom] && it.element != 6 { marks.electrons[atom].unwrap_or(0) } else { 0 };
            labels.push(format!("{}{ring}{lone}{:+}{sizes:?}", it.element, it.charge));
        }
        let mut joined = vec![Vec::new(); labels.len()];
        for (at, bond) in molecule.bonds.iter().enumerate() {
            let [a, b] = bond.ends.map(|end| number[end]);
            if a == usize::MAX || b == usize::MAX {
                continue;
            }
            let ends_aromatic = bond.ends.iter().all(|end| marks.atoms[*end]);
            let order = match bond.order {
                _ if marks.bonds[at] => 4,
                // Between aromatic outlines, as inside azulene.
                Order::Aromatic if ends_aromatic && in_ring[at] => 1,
                Order::Aromatic => 4,
                Order::Single => 1,
                Order::Double => 2,
                Order::Triple => 3,
                Order::Quadruple => 5,
            };
            joined[a].push((b, order));
            joined[b].push((a, order));
        }
        Graph { labels, joined }
    }

    fn key(&self) -> String {
        let mut order: Vec<&String> = self.labels.iter().collect();
        order.sort();
        order.dedup();
        let classes: Vec<usize> =
            self.labels.iter().map(|label| order.partition_point(|known| *known < label)).collect();
        let mut best: Option<String> = None;
        let mut left = 2000;
        self.search(self.refined(classes), &mut best, &mut left);
        best.unwrap_or_default()
    }

    /// Classes split by the classes of neighbours, until none splits. Numbers of classes depend on nothing but the graph.
    fn refined(&self, mut classes: Vec<usize>) -> Vec<usize> {
        let mut number = count(&classes);
        loop {
            let seen: Vec<(usize, Vec<(u8, usize)>)> = (0..classes.len())
                .map(|atom| {
                    let mut around: Vec<(u8, usize)> =
                        self.joined[atom].iter().map(|(other, order)| (*order, classes[*other])).collect();
                    around.sort_unstable();
                    (classes[atom], around)
                })
                .collect();
            let mut kinds: Vec<&(usize, Vec<(u8, usize)>)> = seen.iter().collect();
            kinds.sort();
            kinds.dedup();
            classes = seen.iter().map(|kind| kinds.partition_point(|known| *known < kind)).collect();
            let now = count(&classes);
            if now == number {
                return classes;
            }
            number = now;
        }
    }

    /// The smallest text over all orders that the classes allow. After `left` of them only the first of a tie is tried: what is tied then is
    /// nearly always the same by symmetry.
    fn search(&self, classes: Vec<usize>, best: &mut Option<String>, left: &mut usize) {
        let mut sizes = vec![0; classes.len()];
        classes.iter().for_each(|class| sizes[*class] += 1);
        let Some(tied) = (0..sizes.len()).find(|class| sizes[*class] > 1) else {
            *left = left.saturating_sub(1);
            let text = self.written(&classes);
            if best.as_ref().is_none_or(|best| text < *best) {
                *best = Some(text);
            }
            return;
        };
        for atom in (0..classes.len()).filter(|atom| classes[*atom] == tied) {
            // This one first, then the others of its class: classes behind keep their numbers' order.
            let split =
                classes.iter().enumerate().map(|(at, class)| 2 * class + usize::from(*class == tied && at != atom));
            let split: Vec<usize> = split.collect();
            self.search(self.refined(dense(split)), best, left);
            if *left == 0 {
                return;
            }
        }
    }

    fn written(&self, classes: &[usize]) -> String {
        let mut at = vec![0; classes.len()];
        classes.iter().enumerate().for_each(|(atom, class)| at[*class] = atom);
        let mut text = String::new();
        for (place, atom) in at.iter().enumerate() {
            let mut before: Vec<(usize, u8)> = self.joined[*atom]
                .iter()
                .map(|(other, order)| (classes[*other], *order))
                .filter(|(p, _)| *p < place)
                .collect();
            before.sort_unstable();
            let _ = write!(text, "{}", self.labels[*atom]);
            before.iter().for_each(|(other, order)| {
                let _ = write!(text, "{}{other}", [' ', '-', '=', '#', ':', '$'][usize::from(*order)]);
            });
            text.push(';');
        }
        text
    }
}

fn count(classes: &[usize]) -> usize {
    let mut all = classes.to_vec();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// The same classes, numbered 0, 1, 2 ..
fn dense(classes: Vec<usize>) -> Vec<usize> {
    let mut all = classes.clone();
    all.sort_unstable();
    all.dedup();
    classes.iter().map(|class| all.partition_point(|known| known < class)).collect()
}
