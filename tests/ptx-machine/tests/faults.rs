//! Planted faults: each is found, and the text without it passes.

use bdl_ptx_machine::{Launch, Memory, launch, parse};

/// Every thread of a block reads what another one wrote to shared memory, and adds one.
const EXCHANGE: &str = "
.version 6.0
.target sm_50
.address_size 64

.visible .entry exchange(
    .param .u64 x,
    .param .u64 y,
    .param .u64 n
)
.maxntid 64, 1, 1
{
    .reg .pred %p<4>;
    .reg .b32 %r<12>;
    .reg .b64 %rd<12>;
    .reg .f32 %f<8>;
    .shared .align 16 .f32 piece[64];
    ld.param.u64 %rd0, [x];
    ld.param.u64 %rd1, [y];
    ld.param.u64 %rd2, [n];
    mov.u32 %r0, %tid.x;
    cvt.u64.u32 %rd3, %r0;
    setp.lt.s64 %p0, %rd3, %rd2;
    mad.lo.s64 %rd4, %rd3, 4, %rd0;
    mov.f32 %f0, 0f00000000;
    @%p0 ld.global.f32 %f0, [%rd4];
    mov.u32 %r1, piece;
    mad.lo.u32 %r2, %r0, 4, %r1;
    st.shared.f32 [%r2], %f0;
    bar.sync 0;
    xor.b32 %r3, %r0, 63;
    mad.lo.u32 %r4, %r3, 4, %r1;
    ld.shared.f32 %f1, [%r4];
    add.rn.f32 %f2, %f1, 0f3F800000;
    mad.lo.s64 %rd5, %rd3, 4, %rd1;
    @%p0 st.global.f32 [%rd5], %f2;
    ret;
}
";

/// Runs `text` on `n` numbers of `room` each; what the host then reads, or the fault.
fn run(text: &str, n: u64, room: usize, order: u64) -> Result<Vec<f32>, String> {
    let function = parse(text).map_err(|fault| fault.to_string())?;
    let mut memory = Memory::new();
    let (x, y) = (memory.allocate(4 * room), memory.allocate(4 * room));
    let numbers: Vec<u8> = (0..room).flat_map(|i| (i as f32).to_le_bytes()).collect();
    memory.write(x, &numbers).map_err(|fault| fault.to_string())?;
    let parameters = [x, y, n];
    let how = Launch { blocks: [1, 1, 1], threads: 64, shared: 0, parameters: &parameters, order };
    launch(&function, &mut memory, &how).map_err(|fault| fault.to_string())?;
    let mut bytes = vec![0; 4 * n as usize];
    memory.read(y, &mut bytes).map_err(|fault| fault.to_string())?;
    Ok(bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The fault of a text with `from` replaced, in three orders of threads.
fn fault(from: &str, to: &str) -> String {
    assert!(EXCHANGE.contains(from), "nothing to replace");
    let text = EXCHANGE.replacen(from, to, 1);
    let found: Vec<String> = (0..3).map(|order| run(&text, 64, 64, order).expect_err("a fault")).collect();
    found[0].clone()
}

#[test]
fn the_text_without_faults_runs_in_any_order() {
    let expected: Vec<f32> = (0..64).map(|i| (63 - i) as f32 + 1.0).collect();
    for order in 0..20 {
        assert_eq!(run(EXCHANGE, 64, 64, order).as_ref(), Ok(&expected));
    }
}

#[test]
fn a_missing_barrier() {
    let found = fault("    bar.sync 0;\n", "");
    assert!(found.contains("no barrier lies between"), "{found}");
}

#[test]
fn a_barrier_of_the_warp_does_not_order_a_block() {
    let found = fault("bar.sync 0;", "bar.warp.sync 0xffffffff;");
    assert!(found.contains("no barrier lies between"), "{found}");
}

#[test]
fn an_index_off_by_one() {
    let found = fault("[%rd4];", "[%rd4+4];");
    assert!(found.contains("4 bytes at 256 of memory that has 256"), "{found}");
    let found = fault("ld.shared.f32 %f1, [%r4];", "ld.shared.f32 %f1, [%r4+4];");
    assert!(found.contains("4 bytes at 256 of memory that has 256"), "{found}");
}

#[test]
fn a_guard_that_lets_one_too_many_through() {
    let text = EXCHANGE.replacen("setp.lt.s64", "setp.le.s64", 1);
    let found = run(&text, 63, 63, 1).expect_err("a fault");
    assert!(found.contains("4 bytes at 252 of memory that has 252"), "{found}");
}

#[test]
fn an_access_that_is_not_aligned() {
    let found = fault("[%rd4];", "[%rd4+2];");
    assert!(found.contains("not aligned"), "{found}");
}

/// Each thread moves several neighbours at once: a place that suits one of them does not suit all.
#[test]
fn neighbours_that_are_not_aligned() {
    for (count, names) in [(2, "{%f0, %f1}"), (4, "{%f0, %f1, %f2, %f3}")] {
        let moved = |from: usize, to: usize| {
            let (from, to) = (4 * from, 4 * to);
            let text = EXCHANGE.replacen("    ret;", &format!(
                "    setp.lt.s64 %p1, %rd3, {};\n    @!%p1 ret;\n    mad.lo.s64 %rd6, %rd3, {}, %rd0;\n    mad.lo.s64 %rd7, %rd3, {}, %rd0;\n    \
                 ld.global.v{count}.f32 {names}, [%rd6+{from}];\n    st.global.v{count}.f32 [%rd7+{to}], {names};\n    ret;",
                32 / count, 4 * count, 4 * count
            ), 1);
            run(&text.replacen("    @%p0 ld.global.f32 %f0, [%rd4];\n", "", 1), 64, 64, 1)
        };
        assert!(moved(0, 0).is_ok(), "{:?}", moved(0, 0));
        assert!(moved(32, 32).is_ok(), "{:?}", moved(32, 32));
        for off in 1..count {
            for found in [moved(32 + off, 32 + off), moved(off, 0), moved(0, off)] {
                let found = found.expect_err("a fault");
                assert!(found.contains(&format!("an access of {} bytes", 4 * count)), "{found}");
                assert!(found.contains("is not aligned"), "{found}");
            }
        }
        // Behind the end.
        let found = moved(64 - 32 / count * count + count, 0).expect_err("a fault");
        assert!(found.contains("4 bytes at 256 of memory that has 256"), "{found}");
    }
}

#[test]
fn a_read_of_what_nobody_wrote() {
    // Every other thread leaves its place of shared memory unwritten: the host reads what came of it.
    let found = fault("st.shared.f32 [%r2], %f0;", "@%p1 st.shared.f32 [%r2], %f0;");
    assert!(found.contains("decides by what nobody wrote"), "{found}");
    let found = fault("    st.shared.f32 [%r2], %f0;\n", "");
    assert!(found.contains("nobody wrote"), "{found}");
    let found = fault("    @%p0 st.global.f32 [%rd5], %f2;\n", "");
    assert!(found.contains("the host reads byte 0, which nobody wrote"), "{found}");
}

#[test]
fn a_barrier_that_some_threads_do_not_reach() {
    let found = fault("    bar.sync 0;", "    setp.gt.s64 %p1, %rd3, 31;\n    @%p1 ret;\n    bar.sync 0;");
    assert!(found.contains("while others wait at this barrier"), "{found}");
    let found = fault("    bar.sync 0;", "    setp.gt.s64 %p1, %rd3, 40;\n    @%p1 bar.sync 0;\n    bar.sync 0;");
    assert!(found.contains("while others wait at this barrier") || found.contains("waits elsewhere"), "{found}");
}

#[test]
fn an_exchange_without_a_lane() {
    let found = fault(
        "    bar.sync 0;",
        "    setp.gt.s64 %p1, %rd3, 3;\n    @%p1 shfl.sync.bfly.b32 %r5, %r0, 1, 31, 0xffffffff;\n    bar.sync 0;",
    );
    assert!(found.contains("does not take part"), "{found}");
}

#[test]
fn two_threads_that_write_one_place() {
    let found = fault("    @%p0 st.global.f32 [%rd5], %f2;", "    @%p0 st.global.f32 [%rd1], %f2;");
    assert!(found.contains("no barrier lies between"), "{found}");
}

/// All lanes of a warp read a place; then, after a barrier of the warp, one of them writes it.
#[test]
fn a_warp_that_reads_before_one_of_it_writes() {
    let good = EXCHANGE.replacen(
        "    ret;",
        "    ld.global.f32 %f3, [%rd0];\n    setp.gt.s64 %p1, %rd3, 31;\n    @%p1 ret;\n    bar.warp.sync 0xffffffff;\n    \
         setp.eq.s64 %p2, %rd3, 5;\n    @%p2 st.global.f32 [%rd0], %f3;\n    ret;",
        1,
    );
    // The other warp reads it, too: only lanes of one may.
    let found = run(&good, 64, 64, 1).expect_err("a fault");
    assert!(found.contains("no barrier lies between"), "{found}");
    let good = good.replacen("    ld.global.f32 %f3, [%rd0];\n    setp.gt.s64 %p1, %rd3, 31;\n    @%p1 ret;\n", "    setp.gt.s64 %p1, %rd3, 31;\n    @%p1 ret;\n    bar.warp.sync 0xffffffff;\n    ld.global.f32 %f3, [%rd1];\n", 1);
    let good = good.replacen("st.global.f32 [%rd0], %f3;", "st.global.f32 [%rd1], %f3;", 1);
    assert!(run(&good, 64, 64, 1).is_ok(), "{:?}", run(&good, 64, 64, 1));
    let bad = good.replacen("    bar.warp.sync 0xffffffff;\n    setp.eq", "    setp.eq", 1);
    let found = run(&bad, 64, 64, 1).expect_err("a fault");
    assert!(found.contains("no barrier lies between"), "{found}");
}

/// As [`EXCHANGE`], by an asynchronous copy.
fn copied() -> String {
    let copy = "    mov.u32 %r5, 4;\n    @!%p0 mov.u32 %r5, 0;\n    cp.async.ca.shared.global [%r2], [%rd4], 4, %r5;\n    \
                cp.async.commit_group;\n    cp.async.wait_group 0;\n";
    let text = EXCHANGE.replacen(".version 6.0\n.target sm_50", ".version 7.0\n.target sm_80", 1);
    let text = text.replacen("    @%p0 ld.global.f32 %f0, [%rd4];\n", "", 1);
    text.replacen("    st.shared.f32 [%r2], %f0;\n", copy, 1)
}

/// The faults of `text` with `from` replaced, in eight orders of threads.
fn faults_of(text: &str, from: &str, to: &str) -> Vec<String> {
    assert!(text.contains(from), "nothing to replace");
    let text = text.replacen(from, to, 1);
    (0..8).map(|order| run(&text, 64, 64, order).expect_err("a fault")).collect()
}

#[test]
fn asynchronous_copies_without_faults() {
    for order in 0..20 {
        let expected: Vec<f32> = (0..64).map(|i| (63 - i) as f32 + 1.0).collect();
        assert_eq!(run(&copied(), 64, 64, order), Ok(expected));
        // Nothing is read for the last thread: zero comes of it.
        let expected: Vec<f32> = (0..63).map(|i| if i == 0 { 1.0 } else { (63 - i) as f32 + 1.0 }).collect();
        assert_eq!(run(&copied(), 63, 63, order), Ok(expected));
    }
}

#[test]
fn a_copy_that_nobody_waits_for() {
    let line = 1 + copied().lines().position(|line| line.contains("cp.async.ca")).unwrap();
    for (from, to) in [
        ("    cp.async.wait_group 0;\n", ""),
        ("cp.async.wait_group 0;", "cp.async.wait_group 1;"),
        // What is in no group, no group's end covers.
        ("    cp.async.commit_group;\n", ""),
    ] {
        for found in faults_of(&copied(), from, to) {
            assert!(found.contains(&format!("where the asynchronous copy of line {line} may still run")), "{found}");
        }
    }
    let unread = copied().replacen("    ld.shared.f32 %f1, [%r4];\n", "    mov.f32 %f1, %f0;\n", 1);
    assert!(run(&unread, 64, 64, 1).is_ok());
    for found in faults_of(&unread, "    cp.async.wait_group 0;\n", "") {
        assert!(
            found.contains(&format!("returns, and has not waited for the asynchronous copy of line {line}")),
            "{found}"
        );
    }
}

#[test]
fn a_copy_that_only_its_own_thread_may_read() {
    for found in faults_of(&copied(), "    bar.sync 0;\n", "") {
        assert!(found.contains("no barrier lies between") || found.contains("may still run"), "{found}");
    }
    // A barrier before the wait is none behind it.
    for found in
        faults_of(&copied(), "cp.async.wait_group 0;\n    bar.sync 0;", "bar.sync 0;\n    cp.async.wait_group 0;")
    {
        assert!(found.contains("no barrier lies between") || found.contains("may still run"), "{found}");
    }
}

#[test]
fn a_copy_that_is_not_aligned() {
    for from in ["[%r2], [%rd4], 4", "[%r2+2], [%rd4], 4", "[%r2], [%rd4+2], 4"] {
        let text = copied().replacen("[%r2], [%rd4], 4", from, 1);
        match run(&text, 64, 64, 1) {
            Ok(_) => assert_eq!(from, "[%r2], [%rd4], 4"),
            Err(found) => assert!(found.contains("not aligned"), "{found}"),
        }
    }
    for found in faults_of(&copied(), "[%r2], [%rd4], 4, %r5", "[%r2], [%rd4], 8, 4") {
        assert!(found.contains("not aligned"), "{found}");
    }
}

#[test]
fn a_copy_out_of_bounds() {
    for (from, to) in [("[%rd4], 4", "[%rd4+4], 4"), ("[%r2], [%rd4]", "[%r2+4], [%rd4]")] {
        for found in faults_of(&copied(), from, to) {
            assert!(found.contains("4 bytes at 256 of memory that has 256"), "{found}");
        }
    }
    for found in faults_of(&copied(), "mov.u32 %r5, 4;", "mov.u32 %r5, 5;") {
        assert!(found.contains("fills 5 of 4 bytes"), "{found}");
    }
}

#[test]
fn what_a_running_copy_reads_or_writes() {
    let wait = "    cp.async.wait_group 0;\n";
    for found in faults_of(&copied(), wait, &format!("    st.global.f32 [%rd4], %f0;\n{wait}")) {
        assert!(
            found.contains("was written before the thread waited for it") || found.contains("no barrier"),
            "{found}"
        );
    }
    for found in faults_of(&copied(), wait, &format!("    st.shared.f32 [%r2], %f0;\n{wait}")) {
        assert!(found.contains("writes byte") && found.contains("may still run"), "{found}");
    }
    // A second copy to the same place, before the first is over.
    let again = format!("    cp.async.ca.shared.global [%r2], [%rd4], 4;\n{wait}");
    for found in faults_of(&copied(), wait, &again) {
        assert!(found.contains("writes byte") && found.contains("may still run"), "{found}");
    }
}

/// Both warps multiply: every number of A is the thread's, B and the addend are one. The result is the sum of a row, plus one.
fn multiplied() -> String {
    let product = "    mov.f32 %f2, 0f3F800000;\n    mov.b32 %r5, %f0;\n    mov.b32 %r6, %f2;\n    mov.b32 %r8, %f0;\n    \
                   mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f2, %f3, %f4, %f5}, {%r5, %r8, %r5, %r8}, {%r6, %r6}, {%f2, %f2, %f2, %f2};\n";
    with_product(product)
}

/// The same with pairs of bf16, both of a pair alike: twice the sum.
fn multiplied_in_pairs() -> String {
    let product = "    mov.f32 %f2, 0f3F800000;\n    cvt.rn.bf16x2.f32 %r5, %f0, %f0;\n    cvt.rn.bf16x2.f32 %r6, %f2, %f2;\n    \
                   cvt.rn.bf16x2.f32 %r8, %f0, %f0;\n    \
                   mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f2, %f3, %f4, %f5}, {%r5, %r8, %r5, %r8}, {%r6, %r6}, {%f2, %f2, %f2, %f2};\n";
    with_product(product)
}

fn with_product(product: &str) -> String {
    let text = EXCHANGE.replacen(".version 6.0\n.target sm_50", ".version 7.0\n.target sm_80", 1);
    text.replacen("    add.rn.f32 %f2, %f1, 0f3F800000;\n", product, 1)
}

#[test]
fn a_product_that_part_of_a_warp_reaches() {
    for (text, times) in [(multiplied(), 2), (multiplied_in_pairs(), 4)] {
        let expected: Vec<f32> = (0..64).map(|i| (times * (4 * (i / 4 * 4) + 6) + 1) as f32).collect();
        assert_eq!(run(&text, 64, 64, 1), Ok(expected));
        for half in ["setp.gt.u32 %p1, %r0, 15;", "setp.lt.u32 %p1, %r0, 47;"] {
            for found in faults_of(&text, "    mma.sync", &format!("    {half}\n    @%p1 mma.sync")) {
                assert!(found.contains("does not take part in this exchange of its warp"), "{found}");
            }
        }
        // The rest of the warp is gone.
        for found in faults_of(&text, "    mma.sync", "    setp.gt.u32 %p1, %r0, 15;\n    @%p1 ret;\n    mma.sync") {
            assert!(found.contains("does not take part in this exchange of its warp"), "{found}");
        }
    }
    let mut memory = Memory::new();
    let x = memory.allocate(256);
    memory.write(x, &[0; 256]).unwrap();
    let parameters = [x, x, 0];
    let how = Launch { blocks: [1, 1, 1], threads: 1, shared: 0, parameters: &parameters, order: 0 };
    let alone = multiplied().replacen("    bar.sync 0;\n", "", 1).replacen("    ld.shared.f32 %f1, [%r4];\n", "", 1);
    let found = launch(&parse(&alone).unwrap(), &mut memory, &how).unwrap_err().to_string();
    assert!(found.contains("needs the 32 lanes of a warp, and there are 1"), "{found}");
}

#[test]
fn a_fragment_that_nobody_wrote() {
    // What comes out is of the upper rows, then of the lower ones.
    let lower = multiplied().replacen("{%f2, %f3, %f4, %f5}", "{%f6, %f3, %f2, %f5}", 1);
    let (upper_left, lower_left, right) =
        ("    mov.b32 %r5, %f0;\n", "    mov.b32 %r8, %f0;\n", "    mov.b32 %r6, %f2;\n");
    let addends = ("{%f2, %f2, %f2, %f2};", "{%f7, %f2, %f2, %f2};");
    for (text, from, to) in [
        (multiplied(), upper_left, ""),
        (multiplied(), right, ""),
        (multiplied(), addends.0, addends.1),
        (lower.clone(), lower_left, ""),
        (lower.clone(), right, ""),
    ] {
        for found in faults_of(&text, from, to) {
            assert!(found.contains("the host reads byte 0, which nobody wrote"), "{found}");
        }
    }
    // Half a pair is not a pair.
    let pairs = multiplied_in_pairs();
    for (from, to) in [
        ("%r5, %f0, %f0;", "%r5, %f7, %f0;"),
        ("%r5, %f0, %f0;", "%r5, %f0, %f7;"),
        ("%r6, %f2, %f2;", "%r6, %f7, %f2;"),
    ] {
        for found in faults_of(&pairs, from, to) {
            assert!(found.contains("the host reads byte 0, which nobody wrote"), "{found}");
        }
    }
    assert!(run(&pairs.replacen("%r8, %f0, %f0;", "%r8, %f7, %f0;", 1), 64, 64, 1).is_ok());
    // The rows of the other half do not depend on it.
    for (text, from, to) in
        [(multiplied(), lower_left, ""), (lower.clone(), upper_left, ""), (lower, addends.0, addends.1)]
    {
        assert!(run(&text.replacen(from, to, 1), 64, 64, 1).is_ok());
    }
}

/// Both warps load matrices of the numbers that all have written.
#[test]
fn matrices_that_are_not_there_yet() {
    let load = "    mad.lo.u32 %r6, %r0, 16, %r1;\n    and.b32 %r6, %r6, 255;\n    \
                ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r7, %r8, %r9, %r10}, [%r6];\n";
    let text = EXCHANGE.replacen(".version 6.0\n.target sm_50", ".version 7.0\n.target sm_80", 1);
    let text = text.replacen("    xor.b32 %r3, %r0, 63;\n", &format!("{load}    xor.b32 %r3, %r0, 63;\n"), 1);
    assert!(run(&text, 64, 64, 1).is_ok());
    for found in faults_of(&text, "    bar.sync 0;\n", "") {
        assert!(found.contains("no barrier lies between"), "{found}");
    }
    for found in faults_of(&text, "[%r6];", "[%r6+8];") {
        assert!(found.contains("not aligned") || found.contains("16 bytes at 248"), "{found}");
    }
    for found in faults_of(&text, "and.b32 %r6, %r6, 255;", "and.b32 %r6, %r6, 511;") {
        assert!(found.contains("16 bytes at 256 of memory that has 256"), "{found}");
    }
    // What was read may be written again after the next barrier.
    for found in faults_of(&text, "    ret;", "    st.shared.f32 [%r2], %f0;\n    ret;") {
        assert!(found.contains("no barrier lies between"), "{found}");
    }
    assert!(
        run(&text.replacen("    ret;", "    bar.sync 0;\n    st.shared.f32 [%r2], %f0;\n    ret;", 1), 64, 64, 1)
            .is_ok()
    );
}

/// A number of two bytes and one of four at one place: each sees the other.
#[test]
fn accesses_of_different_width() {
    let small = "    st.shared.b16 [%r2+2], %h0;\n";
    let text = EXCHANGE.replacen("    .reg .b32 %r<12>;\n", "    .reg .b32 %r<12>;\n    .reg .b16 %h<2>;\n", 1);
    let text = text.replacen("    bar.sync 0;\n", &format!("    mov.b16 %h0, 0;\n{small}    bar.sync 0;\n"), 1);
    assert!(run(&text, 64, 64, 1).is_ok());
    let late = text.replacen(small, "", 1);
    for found in faults_of(&late, "    ret;", &format!("{small}    ret;")) {
        assert!(found.contains("no barrier lies between"), "{found}");
    }
}

#[test]
fn what_is_read_as_constant() {
    let text = EXCHANGE.replacen("ld.global.f32 %f0, [%rd4];", "ld.global.nc.f32 %f0, [%rd4];", 1);
    assert!(run(&text, 64, 64, 1).is_ok());
    for found in faults_of(&text, "    ret;", "    bar.sync 0;\n    st.global.f32 [%rd4], %f0;\n    ret;") {
        assert!(found.contains("which this launch reads as what does not change"), "{found}");
    }
    for found in faults_of(
        &text,
        "    mov.f32 %f0, 0f00000000;\n",
        "    mov.f32 %f0, 0f00000000;\n    st.global.f32 [%rd4], %f0;\n",
    ) {
        assert!(found.contains("as what does not change, but this launch wrote it"), "{found}");
    }
}

#[test]
fn shared_memory_that_is_not_there() {
    let large = EXCHANGE.replacen("piece[64]", "piece[12289]", 1);
    assert!(parse(&large).unwrap_err().to_string().contains("49156 bytes of shared memory, of 49152 at most"));
    let function = parse(EXCHANGE).unwrap();
    let how = Launch { blocks: [1, 1, 1], threads: 64, shared: 16, parameters: &[0, 0, 0], order: 0 };
    let found = launch(&function, &mut Memory::new(), &how).unwrap_err().to_string();
    assert!(found.contains("for which the function has no name"), "{found}");
}

#[test]
fn what_is_not_known_is_not_believed() {
    for (from, to) in [
        ("add.rn.f32", "add.f32"),
        ("add.rn.f32 %f2, %f1", "add.rn.f32 %f2, %rd1"),
        ("bar.sync 0;", "bar.red.popc 0;"),
        ("mov.u32 %r1, piece;", "mov.u32 %r1, pieces;"),
        (".address_size 64", ".address_size 32"),
        // Of a newer version and a newer processor than the text says.
        ("bar.sync 0;", "cp.async.wait_all;"),
        ("bar.sync 0;", "redux.sync.add.u32 %r5, %r0, 0xffffffff;"),
        ("bar.sync 0;", "cvt.rna.tf32.f32 %r5, %f0;"),
        ("bar.sync 0;", "cvt.rn.bf16x2.f32 %r5, %f0, %f0;"),
        (
            "bar.sync 0;",
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r0,%r1}, {%r2,%r2}, {%f0,%f1,%f2,%f3};",
        ),
        ("bar.sync 0;", "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [%r2];"),
    ] {
        let text = EXCHANGE.replacen(from, to, 1);
        assert_ne!(text, EXCHANGE);
        assert!(parse(&text).is_err(), "{to} was understood");
    }
    for (from, to) in [
        ("cp.async.ca.shared.global [%r2], [%rd4], 4, %r5", "cp.async.cg.shared.global [%r2], [%rd4], 4, %r5"),
        ("cp.async.ca.shared.global [%r2], [%rd4], 4, %r5", "cp.async.ca.shared.global [%r2], [%rd4], 12, %r5"),
        ("cp.async.wait_group 0", "cp.async.wait_group %r5"),
        ("cp.async.wait_group 0", "cp.async.mbarrier.arrive.shared.b64 [%r2]"),
        ("cp.async.wait_group 0", "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r5}, [%r2]"),
        (
            "cp.async.wait_group 0",
            "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1}, {%r2}, {%f0,%f1,%f2,%f3}",
        ),
        // What exists with other shapes, or with other factors.
        (
            "cp.async.wait_group 0",
            "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1}, {%r2}, {%f0,%f1,%f2,%f3}",
        ),
        (
            "cp.async.wait_group 0",
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.tf32.f32 {%f0,%f1,%f2,%f3}, {%r0,%r1,%r0,%r1}, {%r2,%r2}, {%f0,%f1,%f2,%f3}",
        ),
        ("cp.async.wait_group 0", "cvt.rn.bf16x2.f32 %r5, %f0"),
    ] {
        assert!(parse(&copied()).is_ok());
        let text = copied().replacen(from, to, 1);
        assert_ne!(text, copied());
        assert!(parse(&text).is_err(), "{to} was understood");
    }
}
