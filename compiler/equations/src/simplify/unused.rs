//! Dead code: nodes, carried values and stacks that no output and no update needs; and tensors that no node mentions.

use super::Pass;
use super::merge::rename;
use crate::data::{Ends, Node, Program, Role, Scan, TensorId};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// Removes nodes whose results nothing needs. In a program without outputs and updates everything is kept: what is needed is not said.
pub fn drop_unused(program: &mut Program) -> Pass {
    if program.outputs.is_empty() && program.updates.is_empty() {
        return 0;
    }
    let mut needed: HashSet<TensorId> = program.outputs.iter().map(|(_, id)| *id).collect();
    needed.extend(program.updates.iter().map(|(_, value)| *value));
    sweep(&mut program.nodes, &mut needed)
}

/// Walks backwards, keeping what is needed and noting what that needs.
fn sweep(nodes: &mut Vec<Node>, needed: &mut HashSet<TensorId>) -> Pass {
    let mut changes = 0;
    let mut kept = Vec::with_capacity(nodes.len());
    for mut node in std::mem::take(nodes).into_iter().rev() {
        if !node.writes().iter().any(|id| needed.contains(id)) {
            changes += 1;
            continue;
        }
        match &mut node {
            Node::Scan(n) => changes += sweep_scan(n, needed),
            Node::Iterate(_)
            | Node::Equation(_)
            | Node::Draw(_)
            | Node::View(_)
            | Node::Sort(_)
            | Node::Literal(_)
            | Node::Library(_) => needed.extend(node.reads_deep()),
        }
        kept.push(node);
    }
    kept.reverse();
    *nodes = kept;
    changes
}

fn sweep_scan(scan: &mut Scan, needed: &mut HashSet<TensorId>) -> Pass {
    let before = scan.stacks.len() + scan.carried.len();
    scan.stacks.retain(|(_, outside)| needed.contains(outside));
    // A carried value is needed when its last value is, or when a needed part of the body reads it.
    let mut wanted: HashSet<TensorId> = scan.stacks.iter().map(|(inside, _)| *inside).collect();
    wanted.extend(scan.ends.map(Ends::reads));
    wanted.extend(scan.carried.iter().filter(|c| needed.contains(&c.last)).flat_map(|c| [c.inside, c.next]));
    loop {
        let size = wanted.len();
        let mut body = scan.body.clone();
        sweep(&mut body, &mut wanted);
        for c in &scan.carried {
            if wanted.contains(&c.inside) {
                wanted.insert(c.next);
            }
        }
        if wanted.len() == size {
            break;
        }
    }
    scan.carried.retain(|c| wanted.contains(&c.inside));
    let changes = sweep(&mut scan.body, &mut wanted);
    needed.extend(wanted);
    needed.extend(scan.carried.iter().map(|c| c.start));
    changes + before - scan.stacks.len() - scan.carried.len()
}

/// Removes the declarations of computed tensors that no node mentions, and numbers the rest anew.
pub fn compact(program: &mut Program) {
    let mut used: HashSet<TensorId> = HashSet::default();
    for node in &program.nodes {
        used.extend(node.reads_deep());
        used.extend(node.writes_deep());
    }
    used.extend(program.outputs.iter().map(|(_, id)| *id));
    used.extend(program.updates.iter().flat_map(|(target, value)| [*target, *value]));
    let mut places: HashMap<TensorId, TensorId> = HashMap::default();
    let mut tensors = Vec::new();
    for (id, tensor) in program.ids().zip(std::mem::take(&mut program.tensors)) {
        if tensor.role != Role::Computed || used.contains(&id) {
            places.insert(id, TensorId(tensors.len() as u32));
            tensors.push(tensor);
        }
    }
    program.tensors = tensors;
    let now = |id: TensorId| places.get(&id).copied().unwrap_or(id);
    for node in &mut program.nodes {
        rename(node, &places);
        write_elsewhere(node, &now);
    }
    for (_, id) in &mut program.outputs {
        *id = now(*id);
    }
    for (target, value) in &mut program.updates {
        (*target, *value) = (now(*target), now(*value));
    }
}

fn write_elsewhere(node: &mut Node, now: &dyn Fn(TensorId) -> TensorId) {
    match node {
        Node::Equation(n) => n.out = now(n.out),
        Node::Draw(n) => n.out = now(n.out),
        Node::View(n) => n.out = now(n.out),
        Node::Sort(n) => n.out = now(n.out),
        Node::Literal(n) => n.out = now(n.out),
        Node::Library(n) => n.out = now(n.out),
        Node::Scan(n) => {
            for c in &mut n.carried {
                (c.inside, c.last) = (now(c.inside), now(c.last));
            }
            for (_, outside) in &mut n.stacks {
                *outside = now(*outside);
            }
            n.ends = n.ends.map(|ends| ends.map_writes(now));
            n.body.iter_mut().for_each(|node| write_elsewhere(node, now));
        }
        Node::Iterate(n) => {
            for c in &mut n.carried {
                (c.inside, c.last) = (now(c.inside), now(c.last));
            }
            n.condition.iter_mut().chain(&mut n.body).for_each(|node| write_elsewhere(node, now));
        }
    }
}
