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
    let how = Launch { blocks: [1, 1], threads: 64, parameters: &parameters, order };
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

#[test]
fn what_is_not_known_is_not_believed() {
    for (from, to) in [
        ("add.rn.f32", "add.f32"),
        ("add.rn.f32 %f2, %f1", "add.rn.f32 %f2, %rd1"),
        ("bar.sync 0;", "bar.red.popc 0;"),
        ("mov.u32 %r1, piece;", "mov.u32 %r1, pieces;"),
        (".address_size 64", ".address_size 32"),
    ] {
        let text = EXCHANGE.replacen(from, to, 1);
        assert_ne!(text, EXCHANGE);
        assert!(parse(&text).is_err(), "{to} was understood");
    }
}
