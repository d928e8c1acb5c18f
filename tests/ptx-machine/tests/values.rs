//! What instructions compute: small products of matrices, loads of fragments, asynchronous copies, against formulas of the manual.

mod common;

use common::{Run, WARP};

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed) % 101) as f32 / 37.0 - 1.3).collect()
}

fn bytes(words: impl IntoIterator<Item = f32>) -> Vec<u8> {
    words.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// `found` is a product of 16 rows and 8 columns, of numbers that were rounded before.
fn assert_product(found: &[u32], a: &[f32], b: &[f32], depth: usize, c: impl Fn(usize, usize) -> f64) {
    for row in 0..16 {
        for column in 0..8 {
            let terms = (0..depth).map(|k| f64::from(a[row * depth + k]) * f64::from(b[k * 8 + column]));
            let (sum, size) = terms.fold((c(row, column), 0.0), |(sum, size), x| (sum + x, size + x.abs()));
            let own = f64::from(f32::from_bits(found[row * 8 + column]));
            let error = (own - sum).abs();
            assert!(
                error <= depth as f64 * f64::from(f32::EPSILON) * (size + 1.0),
                "{row}, {column}: {own}, not {sum}"
            );
        }
    }
}

#[test]
fn a_product_of_tf32() {
    // g = lane / 4 and t = lane % 4; B stands row by row behind A.
    let run = Run {
        body: "
            shr.u32 %r1, %r0, 2;
            and.b32 %r2, %r0, 3;
            mad.lo.u32 %r3, %r1, 8, %r2;
            mad.wide.u32 %rd4, %r3, 4, %rd0;
            mad.lo.u32 %r4, %r2, 8, %r1;
            mad.wide.u32 %rd5, %r4, 4, %rd0;
            ld.global.f32 %f0, [%rd4];
            ld.global.f32 %f1, [%rd4+256];
            ld.global.f32 %f2, [%rd4+16];
            ld.global.f32 %f3, [%rd4+272];
            ld.global.nc.f32 %f4, [%rd5+512];
            ld.global.nc.f32 %f5, [%rd5+640];
            cvt.rna.tf32.f32 %r10, %f0;
            cvt.rna.tf32.f32 %r11, %f1;
            cvt.rna.tf32.f32 %r12, %f2;
            cvt.rna.tf32.f32 %r13, %f3;
            cvt.rna.tf32.f32 %r14, %f4;
            cvt.rna.tf32.f32 %r15, %f5;
            cvt.rn.f32.u32 %f6, %r0;
            mov.f32 %f7, 0f3F000000;
            mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f8, %f9, %f10, %f11}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f6, %f7, %f7, %f6};
            mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f8, %f9, %f10, %f11}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f8, %f9, %f10, %f11};
            mad.lo.u32 %r5, %r2, 2, 0;
            mad.lo.u32 %r5, %r1, 8, %r5;
            mad.wide.u32 %rd6, %r5, 4, %rd1;
            st.global.v2.f32 [%rd6], {%f8, %f9};
            st.global.v2.f32 [%rd6+256], {%f10, %f11};",
        ..WARP
    };
    let (a, b) = (numbers(128, 3), numbers(64, 11));
    let found = run.of(&bytes(a.iter().chain(&b).copied()), 128);
    // Nearest with 10 bits behind the point.
    let tf32 = |x: &f32| {
        let unit = 2f32.powi(x.abs().log2().floor() as i32 - 10);
        (x / unit).round() * unit
    };
    let (a, b): (Vec<f32>, Vec<f32>) = (a.iter().map(tf32).collect(), b.iter().map(tf32).collect());
    // Twice, with an addend: the lane's number at the first and the last of its four places, a half at the others.
    let twice: Vec<f32> = b.iter().map(|x| 2.0 * x).collect();
    let lane = |row: usize, column: usize| (row % 8 * 4 + column / 2) as f64;
    let c = |row: usize, column: usize| if (row < 8) == column.is_multiple_of(2) { lane(row, column) } else { 0.5 };
    assert_product(&found, &a, &twice, 8, c);
}

/// From registers: pairs of f32 that follow one another in a row of A, and in a column of B, which stands row by row behind A.
#[test]
fn a_product_of_bf16() {
    let run = Run {
        body: "
            shr.u32 %r1, %r0, 2;
            and.b32 %r2, %r0, 3;
            shl.b32 %r2, %r2, 1;
            mad.lo.u32 %r3, %r1, 16, %r2;
            mad.wide.u32 %rd4, %r3, 4, %rd0;
            mad.lo.u32 %r4, %r2, 8, %r1;
            mad.wide.u32 %rd5, %r4, 4, %rd0;
            ld.global.v2.f32 {%f0, %f1}, [%rd4];
            cvt.rn.bf16x2.f32 %r10, %f1, %f0;
            ld.global.v2.f32 {%f0, %f1}, [%rd4+512];
            cvt.rn.bf16x2.f32 %r11, %f1, %f0;
            ld.global.v2.f32 {%f0, %f1}, [%rd4+32];
            cvt.rn.bf16x2.f32 %r12, %f1, %f0;
            ld.global.v2.f32 {%f0, %f1}, [%rd4+544];
            cvt.rn.bf16x2.f32 %r13, %f1, %f0;
            ld.global.f32 %f0, [%rd5+1024];
            ld.global.f32 %f1, [%rd5+1056];
            cvt.rn.bf16x2.f32 %r14, %f1, %f0;
            ld.global.f32 %f0, [%rd5+1280];
            ld.global.f32 %f1, [%rd5+1312];
            cvt.rn.bf16x2.f32 %r15, %f1, %f0;
            cvt.rn.f32.u32 %f6, %r0;
            mov.f32 %f7, 0f3F000000;
            mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f8, %f9, %f10, %f11}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f6, %f7, %f7, %f6};
            mad.lo.u32 %r5, %r1, 8, %r2;
            mad.wide.u32 %rd6, %r5, 4, %rd1;
            st.global.v2.f32 [%rd6], {%f8, %f9};
            st.global.v2.f32 [%rd6+256], {%f10, %f11};",
        ..WARP
    };
    let (a, b) = (numbers(256, 3), numbers(128, 11));
    let found = run.of(&bytes(a.iter().chain(&b).copied()), 128);
    // Nearest with 7 bits behind the point.
    let bf16 = |x: &f32| {
        let unit = 2f32.powi(x.abs().log2().floor() as i32 - 7);
        (x / unit).round_ties_even() * unit
    };
    let (a, b): (Vec<f32>, Vec<f32>) = (a.iter().map(bf16).collect(), b.iter().map(bf16).collect());
    let lane = |row: usize, column: usize| (row % 8 * 4 + column / 2) as f64;
    let c = |row: usize, column: usize| if (row < 8) == column.is_multiple_of(2) { lane(row, column) } else { 0.5 };
    assert_product(&found, &a, &b, 16, c);
}

#[test]
fn tf32_looks_at_nineteen_bits() {
    let body = "
        mov.b32 %r1, 0x3f801fff;
        mov.b32 %r2, 0;
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f1, %f2, %f3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {0f00000000, 0f00000000, 0f00000000, 0f00000000};
        st.global.f32 [%rd3], %f0;";
    assert_eq!(Run { body, ..WARP }.of(&[0], 32), [8f32.to_bits(); 32]);
}

/// A of 16 x 64 and B of 64 x 8, each row of A and column of B in one piece: copied in stages of 16, two at a time, and loaded as matrices.
#[test]
fn a_product_of_bf16_in_stages() {
    let run = Run {
        body: "
            shr.u32 %r3, %r0, 1;
            and.b32 %r4, %r0, 1;
            mul.lo.u32 %r5, %r3, 64;
            mad.lo.u32 %r5, %r4, 8, %r5;
            mad.wide.u32 %rd5, %r5, 2, %rd0;
            add.s64 %rd6, %rd5, 2048;
            mad.lo.u32 %r10, %r0, 16, 0;
            mov.u32 %r8, b;
            mad.lo.u32 %r11, %r0, 16, %r8;
            setp.lt.u32 %p1, %r0, 16;
            cp.async.cg.shared.global [%r10], [%rd5], 16;
            @%p1 cp.async.cg.shared.global [%r11], [%rd6], 16;
            cp.async.commit_group;
            mov.f32 %f1, 0f00000000;
            mov.f32 %f2, %f1;
            mov.f32 %f3, %f1;
            mov.f32 %f4, %f1;
            mov.u32 %r12, 0;
            mov.u32 %r13, 0;
            next:
            add.u32 %r14, %r12, 16;
            setp.ge.u32 %p2, %r14, 64;
            @%p2 bra last;
            xor.b32 %r15, %r13, 1;
            mad.lo.u32 %r18, %r15, 512, %r10;
            mad.lo.u32 %r19, %r15, 256, %r11;
            add.s64 %rd5, %rd5, 32;
            add.s64 %rd6, %rd6, 32;
            cp.async.cg.shared.global [%r18], [%rd5], 16;
            @%p1 cp.async.cg.shared.global [%r19], [%rd6], 16;
            last:
            cp.async.commit_group;
            cp.async.wait_group 1;
            bar.sync 0;
            and.b32 %r24, %r0, 15;
            shr.u32 %r26, %r0, 4;
            mad.lo.u32 %r28, %r24, 32, 0;
            mad.lo.u32 %r28, %r26, 16, %r28;
            mad.lo.u32 %r28, %r13, 512, %r28;
            ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r29, %r30, %r31, %r32}, [%r28];
            and.b32 %r33, %r0, 7;
            shr.u32 %r34, %r0, 3;
            and.b32 %r34, %r34, 1;
            mad.lo.u32 %r35, %r33, 32, %r8;
            mad.lo.u32 %r35, %r34, 16, %r35;
            mad.lo.u32 %r35, %r13, 256, %r35;
            ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r36, %r37}, [%r35];
            mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r29, %r30, %r31, %r32}, {%r36, %r37}, {%f1, %f2, %f3, %f4};
            bar.sync 0;
            xor.b32 %r13, %r13, 1;
            mov.u32 %r12, %r14;
            setp.lt.u32 %p3, %r12, 64;
            @%p3 bra next;
            cp.async.wait_all;
            shr.u32 %r24, %r0, 2;
            and.b32 %r25, %r0, 3;
            mad.lo.u32 %r26, %r24, 8, 0;
            mad.lo.u32 %r26, %r25, 2, %r26;
            mad.wide.u32 %rd8, %r26, 4, %rd1;
            st.global.v2.f32 [%rd8], {%f1, %f2};
            st.global.v2.f32 [%rd8+256], {%f3, %f4};",
        ..WARP
    };
    let (a, b) = (numbers(16 * 64, 3), numbers(64 * 8, 11));
    let half = |x: &f32| (x.to_bits() >> 16) as u16;
    let columns = (0..8 * 64).map(|i| &b[i % 64 * 8 + i / 64]);
    let x: Vec<u8> = a.iter().chain(columns).flat_map(|x| half(x).to_le_bytes()).collect();
    let found = run.of(&x, 128);
    let cut = |x: &f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    let (a, b): (Vec<f32>, Vec<f32>) = (a.iter().map(cut).collect(), b.iter().map(cut).collect());
    assert_product(&found, &a, &b, 64, |_, _| 0.0);
}

/// Row `r` of matrix `m` holds `100 m + 10 r + column`, in rows of 16 bytes.
#[test]
fn matrices_that_are_loaded() {
    let fill = "
        shr.u32 %r1, %r0, 3;
        and.b32 %r2, %r0, 7;
        mad.lo.u32 %r3, %r1, 100, 0;
        mad.lo.u32 %r3, %r2, 10, %r3;
        mov.u32 %r4, a;
        mad.lo.u32 %r4, %r0, 16, %r4;
        mov.u32 %r5, 0;
        more:
        add.u32 %r6, %r3, %r5;
        cvt.u16.u32 %h0, %r6;
        mad.lo.u32 %r7, %r5, 2, %r4;
        st.shared.b16 [%r7], %h0;
        add.u32 %r5, %r5, 1;
        setp.lt.u32 %p0, %r5, 8;
        @%p0 bra more;
        bar.warp.sync 0xffffffff;
        mov.u32 %r10, 0;
        mov.u32 %r11, 0;
        mov.u32 %r12, 0;
        mov.u32 %r13, 0;
        LOAD;
        mad.wide.u32 %rd4, %r0, 16, %rd1;
        st.global.v4.b32 [%rd4], {%r10, %r11, %r12, %r13};";
    for (count, registers) in [(1, "{%r10}"), (2, "{%r10, %r11}"), (4, "{%r10, %r11, %r12, %r13}")] {
        for (transposed, word) in [(false, ""), (true, ".trans")] {
            let load = format!("ldmatrix.sync.aligned.m8n8.x{count}{word}.shared.b16 {registers}, [%r4];");
            let found = Run { body: &fill.replace("LOAD;", &load), ..WARP }.of(&[0], 128);
            for lane in 0..32 {
                for m in 0..4 {
                    let (row, column) = (lane / 4, 2 * (lane % 4));
                    let element =
                        |row, column| (100 * m + if transposed { 10 * column + row } else { 10 * row + column }) as u32;
                    let pair = element(row, column) | element(row, column + 1) << 16;
                    let expected = if m < count { pair } else { 0 };
                    assert_eq!(found[4 * lane + m], expected, "x{count}{word}, lane {lane}, matrix {m}");
                }
            }
        }
    }
}

/// Thread `i` copies `i` of 16 bytes; the rest of the memory that it reads would be out of bounds for the last ones.
#[test]
fn copies_fill_with_zeros() {
    let body = "
        setp.le.u32 %p0, %r0, 16;
        mov.u32 %r1, 0;
        @%p0 mov.u32 %r1, %r0;
        mov.u32 %r2, a;
        mad.lo.u32 %r2, %r0, 16, %r2;
        mad.wide.u32 %rd4, %r0, 16, %rd0;
        cp.async.cg.shared.global [%r2], [%rd4], 16, %r1;
        cp.async.wait_all;
        ld.shared.v4.f32 {%f0, %f1, %f2, %f3}, [%r2];
        mad.wide.u32 %rd4, %r0, 16, %rd1;
        st.global.v4.f32 [%rd4], {%f0, %f1, %f2, %f3};";
    let x: Vec<u8> = (0..17 * 16).map(|i| (i % 251 + 1) as u8).collect();
    let found = Run { body, ..WARP }.of(&x, 128);
    let found: Vec<u8> = found.into_iter().flat_map(u32::to_le_bytes).collect();
    for (at, byte) in found.iter().enumerate() {
        let (thread, i) = (at / 16, at % 16);
        let expected = if thread <= 16 && i < thread { x[at] } else { 0 };
        assert_eq!(*byte, expected, "byte {i} of thread {thread}");
    }
    // Smaller copies, of a size that is written down, and under a guard.
    let body = "
        mad.lo.u32 %r2, %r0, 16, 0;
        setp.lt.u32 %p0, %r0, 16;
        mad.wide.u32 %rd4, %r0, 16, %rd0;
        mov.u32 %r3, 7;
        st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3};
        @!%p0 cp.async.ca.shared.global [%r2], [%rd0], 8, 0;
        @%p0 cp.async.ca.shared.global [%r2], [%rd4], 8, 5;
        @%p0 cp.async.ca.shared.global [%r2+8], [%rd4+4], 4;
        cp.async.commit_group;
        cp.async.wait_group 0;
        ld.shared.v4.f32 {%r10, %r11, %r12, %r13}, [%r2];
        mad.wide.u32 %rd4, %r0, 16, %rd1;
        st.global.v4.b32 [%rd4], {%r10, %r11, %r12, %r13};";
    let found = Run { body, ..WARP }.of(&x, 128);
    let word = |at: usize, mask: u32| u32::from_le_bytes([x[at], x[at + 1], x[at + 2], x[at + 3]]) & mask;
    for thread in 0..32 {
        let at = 16 * thread;
        let expected = match thread < 16 {
            true => [word(at, u32::MAX), word(at + 4, 0xff), word(at + 4, u32::MAX), 7],
            false => [0, 0, 7, 7],
        };
        assert_eq!(found[4 * thread..4 * thread + 4], expected, "thread {thread}");
    }
}

/// `body` leaves a result in `%r9`.
fn each(body: &str, expected: impl Fn(u32) -> u32) {
    let body = format!("{body}\nst.global.b32 [%rd3], %r9;");
    let found = Run { body: &body, ..WARP }.of(&[0], 32);
    let expected: Vec<u32> = (0..32).map(expected).collect();
    assert_eq!(found, expected, "{body}");
}

#[test]
fn instructions_of_one_thread() {
    each("prmt.b32 %r9, 0x33221100, 0x77665544, 0x6420;", |_| 0x6644_2200);
    each("prmt.b32 %r9, 0x33228100, 0x77665544, 0x09F1;", |_| 0x00ff_0081);
    each("lop3.b32 %r9, %r0, 12, 10, 0xE8;", |i| i & 12 | i & 10 | 12 & 10);
    each("lop3.b32 %r9, %r0, 5, 9, 0x96;", |i| i ^ 5 ^ 9);
    each("mul.hi.u32 %r9, 0xfffffff0, 0x80000001;", |_| ((0xffff_fff0u64 * 0x8000_0001) >> 32) as u32);
    each("mul.hi.s32 %r9, -7, 0x40000000;", |_| ((-7i64 * 0x4000_0000) >> 32) as u32);
    each("mul.wide.s32 %rd4, %r0, -3;\nmov.b64 {%r8, %r9}, %rd4;", |i| if i == 0 { 0 } else { u32::MAX });
    each("mad.wide.s32 %rd4, -2, 3, 4;\nmov.b64 {%r9, %r8}, %rd4;", |_| (-2i32) as u32);
    each("mov.b64 %rd4, {%r0, 17};\nshr.u64 %rd4, %rd4, 32;\ncvt.u32.u64 %r9, %rd4;", |_| 17);
    each("mov.b32 {%h0, %h1}, 0x00120034;\nmov.b32 %r9, {%h1, %h0};", |_| 0x0034_0012);
    each("min.s32 %r8, -1, 3;\nmax.u32 %r9, %r8, 3;", |_| u32::MAX);
    each("shl.b32 %r8, 0x80000001, 1;\nshr.s32 %r9, 0x80000000, 33;\nadd.u32 %r9, %r9, %r8;", |_| 1);
    each("setp.lt.u32 %p1, %r0, 7;\nsetp.gt.and.u32 %p0, %r0, 3, !%p1;\nselp.b32 %r9, 1, 2, %p0;", |i| {
        if i >= 7 { 1 } else { 2 }
    });
    each("setp.lt.u32 %p1, %r0, 7;\nsetp.gt.xor.u32 %p0, %r0, 3, %p1;\nselp.b32 %r9, 1, 2, %p0;", |i| {
        if (i < 7) != (i > 3) { 1 } else { 2 }
    });
    each("mov.u32 %r9, 5;\nsetp.lt.u32 %p1, %r0, 7;\n@!%p1 mov.u32 %r9, %laneid;", |i| if i < 7 { 5 } else { i });
    each(
        "mov.u64 %rd4, b;\ncvta.shared.u64 %rd5, %rd4;\ncvta.to.shared.u64 %rd6, %rd5;\ncvt.u32.u64 %r9, %rd6;",
        |_| 1024,
    );
    // Ties of tf32 go away from zero, those of bf16 to even; a carry reaches the exponent.
    each("cvt.rna.tf32.f32 %r9, 0f3F801000;", |_| 0x3f80_2000);
    each("cvt.rna.tf32.f32 %r9, 0fBFFFF000;", |_| 0xc000_0000);
    each("cvt.rna.tf32.f32 %r9, 0f3F800FFF;", |_| 0x3f80_0000);
    each("cvt.rn.bf16x2.f32 %r9, 0f3F808000, 0f3F818000;", |_| 0x3f80_3f82);
    each("cvt.rn.bf16.f32 %h0, 0f40490FDB;\nmov.b32 %r9, {%h0, %h0};", |_| 0x4049_4049);
}

#[test]
fn instructions_of_a_warp() {
    each("shfl.sync.bfly.b32 %r9, %r0, 5, 31, 0xffffffff;", |i| i ^ 5);
    each("shfl.sync.down.b32 %r9, %r0, 3, 31, 0xffffffff;", |i| if i < 29 { i + 3 } else { i });
    each("shfl.sync.up.b32 %r9, %r0, 3, 0, 0xffffffff;", |i| if i >= 3 { i - 3 } else { i });
    each("shfl.sync.idx.b32 %r9, %r0, 9, 31, 0xffffffff;", |_| 9);
    each("redux.sync.add.u32 %r9, %r0, 0xffffffff;", |_| 31 * 16);
    each("sub.s32 %r8, %r0, 7;\nredux.sync.min.s32 %r9, %r8, 0xffffffff;", |_| (-7i32) as u32);
    each("sub.s32 %r8, %r0, 7;\nredux.sync.max.u32 %r9, %r8, 0xffffffff;", |_| u32::MAX);
    each("shl.b32 %r8, 1, %r0;\nredux.sync.or.b32 %r9, %r8, 0xffffffff;", |_| u32::MAX);
    each("redux.sync.xor.b32 %r9, %r0, 0xffffffff;", |_| 0);
}

#[test]
fn blocks_in_three_directions() {
    let body = "
        mov.u32 %r1, %ctaid.z;
        mov.u32 %r2, %ctaid.y;
        mov.u32 %r3, %ctaid.x;
        mad.lo.u32 %r4, %r1, 3, %r2;
        mad.lo.u32 %r4, %r4, 2, %r3;
        mad.wide.u32 %rd4, %r4, 4, %rd1;
        mad.lo.u32 %r1, %r1, 10, %r2;
        mad.lo.u32 %r1, %r1, 10, %r3;
        setp.eq.u32 %p0, %r0, 0;
        @%p0 st.global.b32 [%rd4], %r1;";
    let found = Run { body, blocks: [2, 3, 2], ..WARP }.of(&[0], 12);
    assert_eq!(found, [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121]);
}

/// More shared memory than a text can declare, behind what it declares.
#[test]
fn shared_memory_whose_size_the_launch_says() {
    let body = "
        mov.u32 %r1, behind;
        mad.lo.u32 %r2, %r0, 3200, %r1;
        st.shared.b32 [%r2+3196], %r0;
        ld.shared.b32 %r3, [%r2+3196];
        sub.u32 %r1, %r1, 1536;
        add.u32 %r3, %r3, %r1;
        st.global.b32 [%rd3], %r3;";
    let found = Run { body, shared: 32 * 3200, ..WARP }.of(&[0], 32);
    assert_eq!(found, (0..32).collect::<Vec<u32>>());
}
