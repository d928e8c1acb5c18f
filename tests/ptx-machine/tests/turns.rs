//! Blocks that share a sum: the last one adds what all have stored. Planted faults are found whatever the order of threads, and what PTX's memory
//! model promises passes.

use bdl_ptx_machine::{Launch, Memory, launch, parse};

/// Element `i` of each of `blocks` blocks of 64 goes into a sum, in the order of blocks, which thread `63 - i` of the last block computes.
const SHARED_SUM: &str = "
.version 6.0
.target sm_70
.address_size 64

.visible .entry shared_sum(
    .param .u64 x,
    .param .u64 parts,
    .param .u64 counter,
    .param .u64 sums,
    .param .u64 blocks
)
.maxntid 64, 1, 1
{
    .reg .pred %p<8>;
    .reg .b32 %r<16>;
    .reg .b64 %rd<16>;
    .reg .f32 %f<8>;
    .shared .align 16 .b32 turn[1];
    ld.param.u64 %rd0, [x];
    ld.param.u64 %rd1, [parts];
    ld.param.u64 %rd2, [counter];
    ld.param.u64 %rd3, [sums];
    ld.param.u64 %rd4, [blocks];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    cvt.u32.u64 %r2, %rd4;
    sub.u32 %r3, %r2, 1;
    setp.ne.u32 %p0, %r0, 0;
    mad.lo.u32 %r4, %r1, 64, %r0;
    mul.wide.u32 %rd5, %r4, 4;
    add.s64 %rd6, %rd5, %rd0;
    ld.global.f32 %f0, [%rd6];
    add.s64 %rd7, %rd5, %rd1;
    st.global.f32 [%rd7], %f0;
    // before
    membar.gl;
    bar.sync 0;
    // turn
    @%p0 bra $counted;
    atom.global.inc.u32 %r5, [%rd2], %r3;
    st.shared.b32 [turn], %r5;
$counted:
    bar.sync 0;
    ld.shared.b32 %r6, [turn];
    setp.ne.u32 %p1, %r6, %r3;
    @%p1 ret;
    membar.gl;
    // after
    sub.u32 %r7, 63, %r0;
    mov.u32 %r8, 0;
    mov.f32 %f1, 0f00000000;
$next:
    mad.lo.u32 %r9, %r8, 64, %r7;
    mul.wide.u32 %rd8, %r9, 4;
    add.s64 %rd9, %rd8, %rd1;
    ld.global.f32 %f2, [%rd9];
    add.rn.f32 %f1, %f1, %f2;
    add.u32 %r8, %r8, 1;
    setp.lt.u32 %p2, %r8, %r2;
    @%p2 bra $next;
    mul.wide.u32 %rd10, %r7, 4;
    add.s64 %rd11, %rd10, %rd3;
    st.global.f32 [%rd11], %f1;
    ret;
}
";

const BEFORE: &str = "    // before\n    membar.gl;\n    bar.sync 0;\n    // turn\n";
const AFTER: &str =
    "    bar.sync 0;\n    ld.shared.b32 %r6, [turn];\n    setp.ne.u32 %p1, %r6, %r3;\n    @%p1 ret;\n    membar.gl;\n";
const ORDERS: u64 = 20;

/// Large numbers that cancel: in f32 every other order of the sum gives other bits.
fn numbers(blocks: usize) -> Vec<f32> {
    let of_block = |b: usize| [1e8, 1.0, -1e8, 0.5, 3e7][b % 5];
    (0..64 * blocks).map(|i| of_block(i / 64) * (1 + i % 64) as f32).collect()
}

/// The sums, or the fault. The counter is 0 again after the launch.
fn run(text: &str, blocks: usize, order: u64) -> Result<Vec<f32>, String> {
    let function = parse(text).map_err(|fault| fault.to_string())?;
    let mut memory = Memory::new();
    let [x, parts] = [0; 2].map(|_| memory.allocate(256 * blocks));
    let (counter, sums) = (memory.allocate(4), memory.allocate(256));
    let bytes: Vec<u8> = numbers(blocks).iter().flat_map(|x| x.to_le_bytes()).collect();
    memory.write(x, &bytes).unwrap();
    memory.write(counter, &[0; 4]).unwrap();
    let parameters = [x, parts, counter, sums, blocks as u64];
    let how = Launch { blocks: [blocks as u32, 1, 1], threads: 64, shared: 0, parameters: &parameters, order };
    let mut found = vec![0; 256];
    // The second launch finds everything as the first one found it.
    for _ in 0..2 {
        launch(&function, &mut memory, &how).map_err(|fault| fault.to_string())?;
        let mut count = [1; 4];
        memory.read(counter, &mut count).map_err(|fault| fault.to_string())?;
        assert_eq!(count, [0; 4]);
        memory.read(sums, &mut found).map_err(|fault| fault.to_string())?;
    }
    Ok(found.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

fn expected(blocks: usize) -> Vec<f32> {
    let numbers = numbers(blocks);
    (0..64).map(|i| (0..blocks).fold(0.0, |sum, b| sum + numbers[64 * b + i])).collect()
}

fn with(from: &str, to: &str) -> String {
    assert_eq!(SHARED_SUM.matches(from).count(), 1, "{from}");
    SHARED_SUM.replace(from, to)
}

fn passes(text: &str) {
    for (blocks, order) in [1, 2, 5].into_iter().flat_map(|blocks| (0..ORDERS).map(move |order| (blocks, order))) {
        assert_eq!(run(text, blocks, order), Ok(expected(blocks)), "{blocks} blocks, order {order}");
    }
}

/// In every order of threads.
fn fails(text: &str, with: &str) {
    for (blocks, order) in [2, 5].into_iter().flat_map(|blocks| (0..ORDERS).map(move |order| (blocks, order))) {
        let found = run(text, blocks, order).expect_err("a fault");
        assert!(found.contains(with), "{blocks} blocks, order {order}: {found}");
    }
}

const UNORDERED: &str = "and no barrier lies between";

#[test]
fn the_last_block_adds_what_all_have_stored() {
    passes(SHARED_SUM);
    let backwards: Vec<f32> = (0..64).map(|i| (0..5).rev().fold(0.0, |sum, b| sum + numbers(5)[64 * b + i])).collect();
    assert_ne!(backwards, expected(5), "the order of the sum makes no difference");
}

#[test]
fn a_missing_fence() {
    fails(&with(BEFORE, "    bar.sync 0;\n"), UNORDERED);
    fails(&with(AFTER, &AFTER.replace("    membar.gl;\n", "")), UNORDERED);
}

#[test]
fn a_missing_barrier() {
    fails(&with(BEFORE, "    membar.gl;\n"), UNORDERED);
    // What shared memory holds is not there yet.
    fails(&with(AFTER, &AFTER.replace("    bar.sync 0;\n", "")), "");
}

/// Each of these threads learns by itself that all blocks are done, but not that its own fence comes after that.
#[test]
fn a_thread_that_goes_on_before_its_block_has_learnt() {
    let text = with(
        AFTER,
        "    membar.gl;\n    mov.b32 %r6, %r3;\n    @%p0 bra $counted_too;\n    mov.b32 %r6, %r5;\n$counted_too:\n",
    );
    let text = text.replace("    // after\n", "    setp.ne.u32 %p1, %r6, %r3;\n    @%p1 ret;\n");
    fails(&text, UNORDERED);
}

#[test]
fn what_others_stored_without_a_turn() {
    fails(&with("    atom.global.inc.u32 %r5, [%rd2], %r3;\n", "    mov.b32 %r5, %r3;\n"), UNORDERED);
    // Every block has a counter of its own.
    let own = "    mul.wide.u32 %rd12, %r1, 4;\n    add.s64 %rd12, %rd12, %rd2;\n    atom.global.inc.u32 %r5, [%rd12], %r3;\n";
    fails(&with("    atom.global.inc.u32 %r5, [%rd2], %r3;\n", own), "");
}

#[test]
fn a_fence_behind_the_barrier() {
    // Thread 0 tells of what its block has stored.
    passes(&with(BEFORE, "    bar.sync 0;\n    @!%p0 membar.gl;\n"));
    passes(&with(BEFORE, "    bar.sync 0;\n    membar.gl;\n"));
    // Those that do not tell may pass their fences much later, whatever the order here.
    fails(&with(BEFORE, "    bar.sync 0;\n    @%p0 membar.gl;\n"), UNORDERED);
    // A fence of any thread does, between two barriers.
    passes(&with(BEFORE, "    bar.sync 0;\n    setp.eq.u32 %p3, %r0, 40;\n    @%p3 membar.gl;\n    bar.sync 0;\n"));
    // Of those that learn, the one that counted may pass it before the barrier.
    let early = AFTER.replacen("    bar.sync 0;\n", "    @!%p0 membar.gl;\n    bar.sync 0;\n", 1);
    passes(&with(AFTER, early.strip_suffix("    membar.gl;\n").unwrap()));
    // Others may not: it comes too early to be behind the count.
    let early = AFTER.replacen("    bar.sync 0;\n", "    @%p0 membar.gl;\n    bar.sync 0;\n", 1);
    fails(&with(AFTER, early.strip_suffix("    membar.gl;\n").unwrap()), UNORDERED);
}

#[test]
fn a_load_of_which_one_half_is_told() {
    let load = "    and.b32 %r10, %r9, 0x7ffffffe;\n    mul.wide.u32 %rd12, %r10, 4;\n    add.s64 %rd12, %rd12, %rd1;\n    \
                ld.global.b64 %rd13, [%rd12];\n    ld.global.f32 %f2, [%rd9];\n";
    let text = with("    ld.global.f32 %f2, [%rd9];\n", load);
    passes(&text);
    for half in [0, 1] {
        let fence = format!(
            "    and.b32 %r11, %r0, 1;\n    setp.eq.u32 %p3, %r11, {half};\n    @%p3 membar.gl;\n    bar.sync 0;\n"
        );
        // Thread 0's fence is its own before the barrier; the others' writes need theirs.
        fails(&text.replace(BEFORE, &fence), UNORDERED);
    }
}

#[test]
fn the_last_block_may_write_where_others_wrote() {
    let store = "    st.global.f32 [%rd11], %f1;\n";
    let over = |lines: &str| with(store, &format!("{store}{lines}"));
    // The part of the first block that this very thread has read.
    let own = "    add.s64 %rd12, %rd10, %rd1;\n    st.global.f32 [%rd12], %f1;\n";
    passes(&over(own));
    // One that another thread reads.
    fails(&over("    st.global.f32 [%rd7], %f1;\n"), UNORDERED);
    passes(&over("    bar.sync 0;\n    st.global.f32 [%rd7], %f1;\n"));
    // Without its turn.
    let early = with(
        "    // before\n",
        "    and.b32 %r10, %r4, 63;\n    mul.wide.u32 %rd12, %r10, 4;\n    add.s64 %rd12, %rd12, %rd1;\n    \
         st.global.f32 [%rd12], %f0;\n    // before\n",
    );
    fails(&early, UNORDERED);
    // What others only read: they have told that, too.
    passes(&over(
        "    add.s64 %rd12, %rd10, %rd0;\n    ld.global.f32 %f3, [%rd12];\n    st.global.f32 [%rd12], %f3;\n",
    ));
    fails(
        &with(
            "    // before\n",
            "    mul.wide.u32 %rd12, %r0, 4;\n    add.s64 %rd12, %rd12, %rd0;\n    st.global.f32 [%rd12], %f0;\n    // before\n",
        ),
        UNORDERED,
    );
}

#[test]
fn a_counter_is_for_counting() {
    let counts = "counts by atomic operations";
    for plain in ["    ld.global.b32 %r5, [%rd2];\n", "    mov.b32 %r10, 0;\n    st.global.b32 [%rd2], %r10;\n"] {
        fails(&with("    st.shared.b32 [turn], %r5;\n", &format!("{plain}    st.shared.b32 [turn], %r5;\n")), counts);
        let before = with("    atom.global", &format!("{plain}    atom.global"));
        fails(&before, "where this launch reads or writes without one");
    }
    fails(&with("[%rd2], %r3;", "[%rd2+2], %r3;"), "");
}

#[test]
fn a_counter_that_nobody_cleared() {
    let function = parse(SHARED_SUM).unwrap();
    let mut memory = Memory::new();
    let [x, parts, counter, sums] = [0; 4].map(|_| memory.allocate(256));
    memory.write(x, &[0; 256]).unwrap();
    let parameters = [x, parts, counter, sums, 1];
    let how = Launch { blocks: [1, 1, 1], threads: 64, shared: 0, parameters: &parameters, order: 0 };
    let found = launch(&function, &mut memory, &how).unwrap_err().to_string();
    assert!(found.contains("counts on at byte 0 from what nobody wrote"), "{found}");
}
