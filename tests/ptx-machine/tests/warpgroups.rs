//! Products that four warps ask for together (`wgmma`): their values, and what goes wrong.

use bdl_ptx_machine::{Launch, Memory, launch, parse};

/// 128 threads bring A (64 x 32 of f32, rows of 128 bytes whose chunks of 16 bytes change places) and B (8 columns of the same form) to shared memory and
/// multiply eight of the sum twice: `K` is where the second eight begin, in sixteens of bytes.
const TEXT: &str = "
.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 stages[];
.visible .entry multiply(
    .param .u64 x,
    .param .u64 y
)
.maxntid 128, 1, 1
{
    .reg .pred %p<4>;
    .reg .b32 %r<16>;
    .reg .b64 %rd<8>;
    .reg .f32 %f<8>;
    ld.param.u64 %rd0, [x];
    ld.param.u64 %rd1, [y];
    cvta.to.global.u64 %rd0, %rd0;
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, stages;
    // 72 rows of 8 chunks: 576 chunks.
    mov.u32 %r2, %r0;
    next:
    setp.ge.u32 %p0, %r2, 576;
    @%p0 bra behind;
    mul.wide.u32 %rd2, %r2, 16;
    add.s64 %rd2, %rd2, %rd0;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd2];
    shr.u32 %r3, %r2, 3;
    and.b32 %r4, %r2, 7;
    and.b32 %r5, %r3, 7;
    xor.b32 %r4, %r4, %r5;
    mad.lo.u32 %r6, %r3, 128, %r1;
    mad.lo.u32 %r6, %r4, 16, %r6;
    st.shared.v4.f32 [%r6], {%f0, %f1, %f2, %f3};
    add.u32 %r2, %r2, 128;
    bra next;
    behind:
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mov.f32 %f4, 0f3F800000;
    mov.f32 %f5, %f4;
    mov.f32 %f6, %f4;
    mov.f32 %f7, %f4;
    shr.u32 %r7, %r1, 4;
    add.u32 %r8, %r7, 512;
    mov.u32 %r9, 1073741888;
    mov.b64 %rd3, {%r7, %r9};
    mov.b64 %rd4, {%r8, %r9};
    add.u32 %r7, %r7, K;
    add.u32 %r8, %r8, K;
    mov.b64 %rd5, {%r7, %r9};
    mov.b64 %rd6, {%r8, %r9};
    setp.eq.u32 %p1, 0, 0;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%f4, %f5, %f6, %f7}, %rd3, %rd4, %p1, 1, 1;
    wgmma.commit_group.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%f4, %f5, %f6, %f7}, %rd5, %rd6, %p1, 1, 1;
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    mul.wide.u32 %rd2, %r0, 16;
    add.s64 %rd2, %rd2, %rd1;
    st.global.v4.f32 [%rd2], {%f4, %f5, %f6, %f7};
    ret;
}
";

const WAIT: &str = "    wgmma.wait_group.sync.aligned 0;\n";
const FENCE: &str = "    fence.proxy.async.shared::cta;\n";
const BARRIER: &str = "    bar.sync 0;\n";

/// Row r, place k of A and, behind it, of B's columns.
fn numbers() -> Vec<f32> {
    (0..72 * 32).map(|i| ((i * 37 % 101) as f32 - 50.0) / 8.0).collect()
}

fn run(text: &str, order: u64) -> Result<Vec<f32>, String> {
    let function = parse(text).map_err(|fault| fault.to_string())?;
    let mut memory = Memory::new();
    let (x, y) = (memory.allocate(72 * 128), memory.allocate(128 * 16));
    let bytes: Vec<u8> = numbers().iter().flat_map(|x| x.to_le_bytes()).collect();
    memory.write(x, &bytes).unwrap();
    let how = Launch { blocks: [1, 1, 1], threads: 128, shared: 72 * 128, parameters: &[x, y], order };
    launch(&function, &mut memory, &how).map_err(|fault| fault.to_string())?;
    let mut found = vec![0; 128 * 16];
    memory.read(y, &mut found).map_err(|fault| fault.to_string())?;
    Ok(found.chunks(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect())
}

/// One more than the sums over the first eight and the eight from `second` on.
fn expected(second: usize) -> Vec<f32> {
    let x = numbers();
    let of_thread = |thread: usize| {
        let (warp, g, t) = (thread / 32, thread % 32 / 4, thread % 4);
        [(0, 0), (0, 1), (8, 0), (8, 1)].map(|(down, next)| {
            let (row, column) = (16 * warp + g + down, 2 * t + next);
            let product = |k: usize| x[row * 32 + k] * x[(64 + column) * 32 + k];
            1.0 + (0..8).chain(second..second + 8).map(product).sum::<f32>()
        })
    };
    (0..128).flat_map(of_thread).collect()
}

fn text() -> String {
    TEXT.replace('K', "2")
}

fn fault(text: &str, from: &str, to: &str) -> Vec<String> {
    assert!(text.contains(from), "{from}");
    let changed = text.replacen(from, to, 1);
    (0..4).map(|order| run(&changed, order).expect_err(&changed)).collect()
}

#[test]
fn products_of_two_matrices() {
    for order in 0..8 {
        assert_eq!(run(&text(), order), Ok(expected(8)));
        assert_eq!(run(&TEXT.replace('K', "6"), order), Ok(expected(24)));
    }
    // Without what was there before: where the predicate is false.
    let without = text().replacen("setp.eq.u32 %p1, 0, 0;", "setp.eq.u32 %p1, 0, 1;", 1);
    let only_second: Vec<f32> = run(&without, 1).unwrap();
    let first: Vec<f32> = expected(8).iter().zip(&only_second).map(|(both, second)| both - second).collect();
    let alone = expected(0).iter().map(|twice| (twice - 1.0) / 2.0 + 1.0).collect::<Vec<f32>>();
    assert!(first.iter().zip(&alone).all(|(x, y)| (x - y).abs() < 1e-3));
}

/// Two numbers of bf16 a word, sixteen of the sum at a time.
#[test]
fn products_of_bf16() {
    let text =
        text().replace("m64n8k8.f32.tf32.tf32", "m64n8k16.f32.bf16.bf16").replace("%p1, 1, 1;", "%p1, 1, 1, 0, 0;");
    let x = numbers();
    let halves = |row: usize, word: usize| {
        let bits = x[row * 32 + word].to_bits();
        [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)]
    };
    let found = run(&text, 3).unwrap();
    for (i, found) in found.iter().enumerate() {
        let (thread, at) = (i / 4, i % 4);
        let (row, column) = (16 * (thread / 32) + thread % 32 / 4 + 8 * (at / 2), 2 * (thread % 4) + at % 2);
        let product = |word: usize| {
            let ([a, b], [c, d]) = (halves(row, word), halves(64 + column, word));
            f64::from(a) * f64::from(c) + f64::from(b) * f64::from(d)
        };
        let sum = 1.0 + (0..16).map(product).sum::<f64>();
        assert!((f64::from(*found) - sum).abs() <= 1e-4 * (1.0 + sum.abs()), "{i}: {found}, not {sum}");
    }
}

#[test]
fn shared_memory_that_tensor_cores_need_not_see() {
    for (from, to) in [
        (FENCE, ""),
        // Behind the barrier it tells nobody in time.
        (&*format!("{FENCE}{BARRIER}"), &*format!("{BARRIER}{FENCE}")),
    ] {
        for found in fault(&text(), from, to) {
            assert!(found.contains("no `fence.proxy.async` and barrier lie between"), "{found}");
        }
    }
    for found in fault(&text(), BARRIER, "") {
        assert!(found.contains("barrier lie"), "{found}");
    }
}

#[test]
fn sums_that_are_not_told_of() {
    for found in fault(&text(), "    wgmma.fence.sync.aligned;\n", "") {
        assert!(found.contains("without a `wgmma.fence` before it"), "{found}");
    }
    let commit = "    wgmma.commit_group.sync.aligned;\n";
    let written = format!("{commit}{WAIT}    add.rn.f32 %f4, %f4, %f4;\n");
    for found in fault(&text(), commit, &written) {
        assert!(found.contains("a sum that was written, and no `wgmma.fence` lies between"), "{found}");
    }
}

#[test]
fn sums_that_are_used_too_early() {
    for found in fault(&text(), WAIT, "") {
        assert!(found.contains("has not waited for the product") || found.contains("nobody wrote"), "{found}");
    }
    // One group may go on, and it adds to the same sums.
    let early = "    wgmma.wait_group.sync.aligned 1;\n    mov.f32 %f0, %f4;\n    wgmma.wait_group.sync.aligned 0;\n    mov.f32 %f4, %f0;\n";
    for found in fault(&text(), WAIT, early) {
        assert!(found.contains("nobody wrote"), "{found}");
    }
}

#[test]
fn shared_memory_that_is_written_meanwhile() {
    let write = format!("{BARRIER}    setp.eq.u32 %p2, %r0, 5;\n    @%p2 st.shared.f32 [%r1], %f0;\n{WAIT}");
    for found in fault(&text(), WAIT, &write) {
        assert!(found.contains("was written before its warpgroup waited for it"), "{found}");
    }
    // Another warp may still be before the wait.
    let unordered = format!("{WAIT}    setp.eq.u32 %p2, %r0, 5;\n    @%p2 st.shared.f32 [%r1], %f0;\n");
    for found in fault(&text(), WAIT, &unordered) {
        assert!(found.contains("no barrier lies between"), "{found}");
    }
    let ordered = format!("{WAIT}{BARRIER}    setp.eq.u32 %p2, %r0, 5;\n    @%p2 st.shared.f32 [%r1], %f0;\n");
    assert_eq!(run(&text().replacen(WAIT, &ordered, 1), 2), Ok(expected(8)));
}

#[test]
fn a_product_that_part_of_a_warpgroup_reaches() {
    let product = "    wgmma.mma_async";
    for found in fault(&text(), product, &format!("    setp.lt.u32 %p2, %r0, 96;\n    @%p2 {}", product.trim_start())) {
        assert!(found.contains("does not reach"), "{found}");
    }
    let function = parse(&text()).unwrap();
    let mut memory = Memory::new();
    let x = memory.allocate(72 * 128);
    memory.write(x, &[0; 72 * 128]).unwrap();
    let how = Launch { blocks: [1, 1, 1], threads: 96, shared: 72 * 128, parameters: &[x, x], order: 0 };
    let found = launch(&function, &mut memory, &how).unwrap_err().to_string();
    assert!(found.contains("needs the 128 threads of a warpgroup"), "{found}");
}

#[test]
fn matrices_and_processors_that_are_not_known() {
    // Without chunks that change places; a group that does not begin where it must.
    for (upper, what) in [("64", "in the layout 0"), ("1073741860", "do not begin at multiples of 1024")] {
        for found in fault(&text(), "1073741888", upper) {
            assert!(found.contains(what), "{found}");
        }
    }
    for found in fault(&text(), ".target sm_90a", ".target sm_90") {
        assert!(found.contains("needs a .target of one processor"), "{found}");
    }
    for found in fault(&text(), ".version 8.0", ".version 7.8") {
        assert!(found.contains("needs .version 8.0"), "{found}");
    }
    // Two threads of one warpgroup with two descriptors.
    for found in fault(
        &text(),
        "mov.b64 %rd3, {%r7, %r9};",
        "and.b32 %r10, %r0, 1;\n    add.u32 %r10, %r10, %r7;\n    mov.b64 %rd3, {%r10, %r9};",
    ) {
        assert!(found.contains("not one for the whole warpgroup"), "{found}");
    }
}
