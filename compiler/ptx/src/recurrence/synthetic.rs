//! Launches that are no kernels, as kernels: a part of the scan's function is written from a kernel's text.

use bdl_dims::Dim;
use bdl_plan::{
    Access, Address, AddressTerm, AxisRole, BinaryOp, Bound, Contraction, ContractionAxis, DType, Kernel, KernelBuffer,
    LoopIndex, LoopMode, Monoid, Name, Stmt, ValueId, ValueOp, VariableId,
};

fn buffer(name: &str, dtype: DType, access: Access) -> KernelBuffer {
    KernelBuffer { name: name.into(), dtype, access }
}

fn load(buffer: u32, at: Address) -> ValueOp {
    ValueOp::Load { buffer, at, guards: Vec::new(), otherwise: 0.0 }
}

fn element(index: u32) -> Address {
    Address { terms: vec![(AddressTerm::Index(LoopIndex(index)), Dim::one())], offset: Dim::zero() }
}

fn element_wise(name: &str, grid: Dim, dtype: DType, buffers: Vec<KernelBuffer>, body: Vec<Stmt>) -> Kernel {
    Kernel {
        name: name.into(),
        buffers,
        sizes: grid.names(),
        indices: vec!["i".into()],
        grid,
        grid_mode: LoopMode::Lanes,
        values: vec![crate::emit::register_type(dtype)],
        variables: Vec::new(),
        body,
    }
}

/// `to[i] = from[i]`; buffers: `from`, `to`.
pub fn copy(grid: Dim, dtype: DType) -> Kernel {
    let body = vec![
        Stmt::Let { value: ValueId(0), op: load(0, element(0)) },
        Stmt::Store { buffer: 1, at: element(0), value: ValueId(0) },
    ];
    let buffers = vec![buffer("from", dtype, Access::Read), buffer("to", dtype, Access::Write)];
    element_wise("copy", grid, dtype, buffers, body)
}

/// `to[i] = 0`; buffer: `to`.
pub fn clear(grid: Dim, dtype: DType) -> Kernel {
    let body = vec![
        Stmt::Let { value: ValueId(0), op: ValueOp::Const(0.0) },
        Stmt::Store { buffer: 0, at: element(0), value: ValueId(0) },
    ];
    element_wise("clear", grid, dtype, vec![buffer("to", dtype, Access::Write)], body)
}

/// Loops around a body, outermost first; the innermost is element-wise.
fn nest(loops: &[(u32, &Dim)], lanes: bool, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut body = body;
    for (i, (index, extent)) in loops.iter().enumerate().rev() {
        let mode = if lanes && i + 1 == loops.len() { LoopMode::Lanes } else { LoopMode::Serial };
        let (from, to) = (Bound::Size(Dim::zero()), Bound::Size((*extent).clone()));
        body = vec![Stmt::Loop { index: LoopIndex(*index), from, to, mode, body }];
    }
    body
}

fn place(loops: &[(u32, &Dim)]) -> Address {
    let terms = loops.iter().filter(|(_, stride)| !stride.is_zero());
    Address {
        terms: terms.map(|(index, stride)| (AddressTerm::Index(LoopIndex(*index)), (*stride).clone())).collect(),
        offset: Dim::zero(),
    }
}

/// Every result a thread's: buffers `out`, `a`, `b`. The grid is axis number `rows`.
pub fn contraction(c: &Contraction, rows: usize, dtype: DType) -> Kernel {
    let numbers: Vec<usize> = std::iter::once(rows).chain((0..c.axes.len()).filter(|i| *i != rows)).collect();
    let axes: Vec<(u32, &ContractionAxis)> =
        numbers.iter().enumerate().map(|(index, number)| (index as u32, &c.axes[*number])).collect();
    let at = |stride: fn(&ContractionAxis) -> &Dim| {
        place(&axes.iter().map(|(index, axis)| (*index, stride(axis))).collect::<Vec<_>>())
    };
    let out = at(|axis| &axis.out);
    let value = |i: u32, op: ValueOp| Stmt::Let { value: ValueId(i), op };
    let sum = VariableId(0);
    let product = vec![
        value(1, load(1, at(|axis| &axis.a))),
        value(2, load(2, at(|axis| &axis.b))),
        value(3, ValueOp::Binary(BinaryOp::Mul, ValueId(1), ValueId(2))),
        Stmt::Combine { variable: sum, monoid: Monoid::Sum, value: ValueId(3) },
    ];
    let of = |role: fn(AxisRole) -> bool| -> Vec<(u32, &Dim)> {
        let own = axes.iter().skip(1).filter(|(_, axis)| role(axis.role));
        own.map(|(index, axis)| (*index, &axis.extent)).collect()
    };
    let mut result = vec![value(0, ValueOp::Const(0.0)), Stmt::Variable { variable: sum, start: ValueId(0) }];
    result.extend(nest(&of(|role| role == AxisRole::K), false, product));
    result.push(value(4, ValueOp::Variable(sum)));
    let mut found = ValueId(4);
    if c.accumulate {
        result.push(value(5, load(0, out.clone())));
        result.push(value(6, ValueOp::Binary(BinaryOp::Add, ValueId(5), ValueId(4))));
        found = ValueId(6);
    }
    result.push(Stmt::Store { buffer: 0, at: out, value: found });
    let ty = crate::emit::register_type(dtype);
    let out_access = if c.accumulate { Access::Update } else { Access::Write };
    let grid = c.axes[rows].extent.clone();
    Kernel {
        name: "product".into(),
        buffers: vec![
            buffer("out", dtype, out_access),
            buffer("a", dtype, Access::Read),
            buffer("b", dtype, Access::Read),
        ],
        sizes: names(c),
        indices: axes.iter().map(|(_, axis)| axis.name.clone()).collect(),
        grid,
        grid_mode: LoopMode::Serial,
        values: vec![ty; 7],
        variables: vec![ty],
        body: nest(&of(|role| role != AxisRole::K), true, result),
    }
}

fn names(c: &Contraction) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    for axis in &c.axes {
        for name in [&axis.extent, &axis.out, &axis.a, &axis.b].into_iter().flat_map(Dim::names) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}
