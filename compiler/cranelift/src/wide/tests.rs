//! What instructions print is what a disassembler reads from their bytes.

use super::block::{Block, Loop, Step, Target};
use super::function::TooManyValues;
use super::instruction::*;
use capstone::arch::x86::{ArchMode, ArchSyntax};
use capstone::prelude::*;

/// Instructions of a piece of code as text, jumps by how far they go.
fn disassembled(bytes: &[u8]) -> Vec<String> {
    let reader = Capstone::new().x86().mode(ArchMode::Mode64).syntax(ArchSyntax::Intel).build().unwrap();
    let read = reader.disasm_all(bytes, 0).unwrap();
    assert_eq!(read.iter().map(|i| i.bytes().len()).sum::<usize>(), bytes.len(), "not all bytes are instructions");
    let number = |text: &str| match (text.strip_prefix("0x"), text.strip_prefix("-0x")) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok().map(|bits| bits as i64),
        (_, Some(digits)) => i64::from_str_radix(digits, 16).ok().map(|bits| -bits),
        (None, None) => text.parse().ok(),
    };
    let text = |i: &capstone::Insn| {
        let (name, operands) = (i.mnemonic().unwrap(), i.op_str().unwrap());
        let end = i.address() as i64 + i.bytes().len() as i64;
        match (name, operands.rsplit_once(", ").map(|(to, from)| (to, number(from)))) {
            ("jb" | "jae" | "je" | "jne" | "jle" | "jg", _) => format!("{name} {:+}", number(operands).unwrap() - end),
            // Numbers print in decimal here.
            (_, Some((to, Some(value)))) => format!("{name} {to}, {value}"),
            (_, _) => format!("{name} {operands}").trim().to_string(),
        }
    };
    read.iter().map(text).collect()
}

fn check(instructions: &[Instruction], all: &[Vectors]) {
    for vectors in all.iter().copied() {
        let mut bytes = Vec::new();
        instructions.iter().for_each(|i| i.encode(vectors, &mut bytes));
        let printed: Vec<String> = instructions.iter().map(|i| i.display(vectors).to_string()).collect();
        let read = disassembled(&bytes);
        for (printed, read) in printed.iter().zip(&read) {
            assert_eq!(printed, read);
        }
        assert_eq!(printed.len(), read.len());
    }
}

const ARITHMETIC: [Arithmetic; 12] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Div,
    Arithmetic::Max,
    Arithmetic::Min,
    Arithmetic::And,
    Arithmetic::Or,
    Arithmetic::Xor,
    Arithmetic::AddIntegers,
    Arithmetic::SubIntegers,
    Arithmetic::MulIntegers,
];
const PREDICATES: [Predicate; 5] =
    [Predicate::Equal, Predicate::Less, Predicate::LessOrEqual, Predicate::Unordered, Predicate::NotEqual];

#[test]
fn vectors_of_all_registers() {
    let numbers = [0u8, 1, 7, 8, 15, 16, 23, 24, 31];
    let mut instructions = Vec::new();
    for (i, to) in numbers.into_iter().enumerate() {
        let (to, a, b) = (Vector(to), Vector(numbers[(i + 4) % 9]), Vector(numbers[(i + 7) % 9]));
        for op in ARITHMETIC {
            instructions.push(Instruction::Arithmetic { op, to, a, b });
        }
        for form in FUSED {
            instructions.push(Instruction::Fused { form, to, a, b });
        }
        for (shift, by) in [(Shift::Left, 23), (Shift::Right, 9)] {
            instructions.push(Instruction::Shift { to, from: a, shift, by });
        }
        instructions.push(Instruction::Sqrt { to, from: b });
        instructions.push(Instruction::Round { to, from: a, rounding: Rounding::NearestEven });
        instructions.push(Instruction::Round { to, from: a, rounding: Rounding::Down });
        for predicate in PREDICATES {
            instructions.push(Instruction::Compare { to: Mask(i as u8 % 7 + 1), predicate, a, b });
            if predicate != Predicate::Unordered {
                instructions.push(Instruction::CompareIntegers { to: Mask(i as u8 % 7 + 1), predicate, a, b });
            }
        }
        instructions.push(Instruction::Copy { to, from: a });
        let mask = Mask(i as u8 % 7 + 1);
        instructions.push(Instruction::Blend { to, mask, no: a, yes: b });
        instructions.push(Instruction::Keep { to, mask, from: b });
    }
    check(&instructions, &AVX512);
}

#[test]
fn memory_of_all_registers_and_distances() {
    let mut instructions = Vec::new();
    for base in [0u8, 3, 5, 7, 8, 9, 12, 13, 15].map(General) {
        for displacement in [0, 4, 64, -64, 128, 127 * 32, 127 * 64, 128 * 64, -128 * 64, 100, -1 << 20] {
            for index in [None, Some(RDX), Some(General(9)), Some(General(12))] {
                let at = Memory { base, index, displacement };
                let (low, high) = (Vector(base.0), Vector(31 - base.0));
                instructions.push(Instruction::Load { to: low, at, lanes: None });
                instructions.push(Instruction::Load { to: high, at, lanes: Some(Mask(7)) });
                instructions.push(Instruction::LoadInto { to: high, at, mask: Mask(2) });
                instructions.push(Instruction::Store { at, from: high, lanes: None });
                instructions.push(Instruction::Store { at, from: low, lanes: Some(Mask(1)) });
                instructions.push(Instruction::Broadcast { to: high, at });
                instructions.push(Instruction::Prefetch(at));
            }
            let at = Memory { base, index: None, displacement };
            instructions.push(Instruction::LoadGeneral { to: General(base.0 ^ 8), at });
            instructions.push(Instruction::LoadGeneral { to: base, at });
            instructions.push(Instruction::LoadSigned { to: base, at });
            instructions.push(Instruction::AddFrom { to: General(base.0 ^ 8), at });
        }
    }
    check(&instructions, &AVX512);
}

const FUSED: [Fused; 4] = [Fused::SumToProduct, Fused::ProductToSum, Fused::SumLessProduct, Fused::ProductFromSum];
const AVX512: [Vectors; 2] = [Vectors::Zmm, Vectors::Ymm];

#[test]
fn vectors_of_avx2() {
    let numbers = [0u8, 1, 7, 8, 9, 14, 15];
    let mut instructions = Vec::new();
    for (i, to) in numbers.into_iter().enumerate() {
        let [to, a, b, mask] = [to, numbers[(i + 3) % 7], numbers[(i + 5) % 7], numbers[(i + 1) % 7]].map(Vector);
        for op in ARITHMETIC {
            instructions.push(Instruction::Arithmetic { op, to, a, b });
        }
        for predicate in PREDICATES {
            instructions.push(Instruction::CompareLanes { to, predicate, a, b });
        }
        instructions.extend(FUSED.map(|form| Instruction::Fused { form, to, a, b }));
        instructions.extend([
            Instruction::Shift { to, from: a, shift: Shift::Left, by: 23 },
            Instruction::Shift { to, from: a, shift: Shift::Right, by: 23 },
            Instruction::Sqrt { to, from: a },
            Instruction::Round { to, from: b, rounding: Rounding::Down },
            Instruction::Round { to, from: b, rounding: Rounding::NearestEven },
            Instruction::EqualIntegers { to, a, b },
            Instruction::GreaterIntegers { to, a, b },
            Instruction::BlendBy { to, mask, no: a, yes: b },
            Instruction::ToLowest { to, from: RAX },
            Instruction::ToLowest { to, from: General(10) },
            Instruction::SpreadLowest { to, from: b },
            Instruction::Copy { to, from: a },
        ]);
        for base in [RDI, General(8), General(12), General(13)] {
            for displacement in [0, 32, -4, 100, 1 << 14] {
                for index in [None, Some(RDX)] {
                    let at = Memory { base, index, displacement };
                    instructions.extend([
                        Instruction::Load { to, at, lanes: None },
                        Instruction::Store { at, from: to, lanes: None },
                        Instruction::LoadBy { to, at, mask },
                        Instruction::Broadcast { to, at },
                    ]);
                }
            }
        }
    }
    check(&instructions, &[Vectors::YmmAvx2]);
}

#[test]
fn masks_and_general_registers() {
    let mut instructions = vec![
        Instruction::ZeroUpper,
        Instruction::AddGeneral { to: RAX, from: General(12) },
        Instruction::Multiply { to: RAX, from: General(9), value: -512 },
        Instruction::Multiply { to: General(14), from: RBX, value: 4 },
        Instruction::CompareWith { a: RAX, value: 24 },
        Instruction::CompareWith { a: General(11), value: 1 << 20 },
        Instruction::OnesIfBelow(RAX),
        Instruction::AndGeneral { to: RAX, from: General(11) },
        Instruction::OnesIfBelow(General(13)),
        Instruction::Move { to: RCX, from: RSI },
        Instruction::Set { to: RDX, value: 0 },
        Instruction::Set { to: General(10), value: 5 },
        Instruction::AddTo { to: RDX, value: 0x1234 },
        Instruction::AddTo { to: General(12), value: 7 },
        Instruction::ShiftLeft { to: RCX, by: 2 },
        Instruction::ShiftLeftByCount { to: RAX },
        Instruction::CompareGeneral { a: RDX, b: General(8) },
        Instruction::JumpIfBelow(-300),
        Instruction::JumpIfNotBelow(5),
        Instruction::JumpIfZero(700),
        Instruction::JumpIfNotZero(-9),
        Instruction::JumpIfNotAboveZero(200),
        Instruction::JumpIfAboveZero(-200),
        Instruction::MoveIfGreater { to: General(14), from: RAX },
        Instruction::Test(General(15)),
        Instruction::MaskLoad { to: Mask(3), at: Memory { base: RDI, index: None, displacement: 0x1000 } },
        Instruction::MaskLoad { to: Mask(1), at: Memory { base: RDI, index: None, displacement: 8 } },
        Instruction::MaskFrom { to: Mask(7), from: RAX },
    ];
    for i in 1..=7 {
        let (to, a, b) = (Mask(i), Mask(i % 7 + 1), Mask((i + 3) % 7 + 1));
        instructions.push(Instruction::MaskAnd { to, a, b });
        instructions.push(Instruction::MaskOr { to, a, b });
        instructions.push(Instruction::MaskNot { to, from: b });
    }
    for r in [RBX, RBP, General(12), General(15)] {
        instructions.extend([Instruction::Push(r), Instruction::Pop(r)]);
    }
    instructions.push(Instruction::Return);
    check(&instructions, &AVX512);
}

/// `y = x * s + x` with more streams than registers for pointers, a sum with scalars, and a sum over rows in chains.
#[test]
fn functions_read_back_as_they_print() {
    let streams = 13;
    let mut steps = vec![Step::Scalar(0)];
    for stream in 0..streams - 1 {
        let at = steps.len();
        steps.push(Step::Load { stream, displacement: 4096 });
        steps.push(Step::Arithmetic(Arithmetic::Mul, at, 0));
        steps.push(Step::Arithmetic(Arithmetic::Add, at + 1, at));
        steps.push(Step::Store { stream: stream + 1, displacement: 0, value: at + 2 });
    }
    let plain = Block { steps, streams, scalars: 1, ..Block::default() };
    let sum = Block {
        steps: vec![
            Step::Load { stream: 0, displacement: 0 },
            Step::MultiplyAdd { target: Target::Accumulator(0), a: 0, b: 0 },
            Step::Extreme { target: Target::Accumulator(1), op: Arithmetic::Max, value: 0 },
        ],
        streams: 1,
        accumulators: 2,
        vectors: Vectors::Ymm,
        ..Block::default()
    };
    let blocks = [plain, sum, rows(None), rows(Some(5000))];
    let on_avx2 = blocks.clone().map(|block| Block { vectors: Vectors::YmmAvx2, ..block });
    for block in blocks.into_iter().chain(on_avx2) {
        let function = block.function(None).unwrap();
        let text = function.text();
        let printed: Vec<&str> = text.lines().map(str::trim).collect();
        for (printed, read) in printed.iter().zip(&disassembled(&function.bytes)) {
            assert_eq!(printed, read);
        }
        assert_eq!(disassembled(&function.bytes).len(), printed.len());
    }
}

/// y = sum over rows of where guard: x else scalar 1.
fn rows(count: Option<i64>) -> Block {
    Block {
        steps: vec![
            Step::Scalar(0),
            Step::Scalar(1),
            Step::Cell(0),
            Step::Cell(0),
            Step::Begin(0),
            Step::Truth(0),
            Step::LoadWhere { condition: 5, stream: 0, displacement: 0, otherwise: 1 },
            Step::AddTo { target: Target::Cell(3), value: 6 },
            Step::End(0),
            Step::Store { stream: 1, displacement: 0, value: 2 },
        ],
        loops: vec![Loop { count, moves: vec![(0, 2048)], chains: vec![(2, 3)] }],
        streams: 2,
        scalars: 2,
        truths: 1,
        ..Block::default()
    }
}

#[test]
fn a_block_with_a_loop_takes_as_many_vectors_as_its_lanes_have() {
    let loops = |extent| rows(None).function(extent).unwrap().text().matches("jb ").count();
    // Blocks of four, two or one, and then of one.
    assert_eq!((loops(None), loops(Some(64)), loops(Some(63)), loops(Some(31))), (2, 2, 2, 1));
    let four = |extent| rows(None).function(extent).unwrap().text().contains("[r13 + rdx + 0xc0]");
    assert_eq!((four(Some(64)), four(Some(63))), (true, false));
}

#[test]
fn a_block_with_more_values_than_registers_is_refused() {
    let mut steps: Vec<Step> = (0..40).map(|i| Step::Load { stream: 0, displacement: 64 * i }).collect();
    for i in (0..40).rev() {
        steps.push(Step::Store { stream: 0, displacement: 0, value: i });
    }
    let block = Block { steps, streams: 1, ..Block::default() };
    assert_eq!(block.function(None), Err(TooManyValues));
}

#[test]
fn scalars_without_a_register_are_read_where_they_are_wanted() {
    let mut steps: Vec<Step> = (0..40).map(Step::Scalar).collect();
    steps.push(Step::Load { stream: 0, displacement: 0 });
    for scalar in (0..40).chain([7]) {
        steps.push(Step::Arithmetic(Arithmetic::Add, steps.len() - 1, scalar));
    }
    steps.push(Step::Store { stream: 0, displacement: 0, value: steps.len() - 1 });
    let block = Block { steps, streams: 1, scalars: 40, ..Block::default() };
    let text = block.function(None).unwrap().text();
    let (before, inside) = text.split_once("jae").unwrap();
    let (inside, _) = inside.split_once("jb").unwrap();
    let broadcasts = |text: &str| text.matches("vbroadcastss").count();
    assert_eq!((broadcasts(before), broadcasts(inside)), (28, 12), "{text}");
    // The one that is read twice has one.
    assert!(before.contains(&format!("[rdi + {:#x}]", 8 + 4 * 7)), "{text}");
}
