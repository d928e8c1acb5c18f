//! Lanes that go on side by side: where they part and meet again, and what they touch together.

mod common;

use common::{Run, WARP};

const TWO_WARPS: Run<'static> = Run { threads: 64, ..WARP };

/// `%rd4` is where the thread's word of `x` lies, `%rd3` that of `y`.
const PLACES: &str = "mad.wide.u32 %rd4, %r0, 4, %rd0;\n";

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(|i| (i * i + 7).to_le_bytes()).collect()
}

/// Each lane goes round a loop as often as its number says, odd ones by another way; behind it they exchange.
#[test]
fn lanes_part_and_meet_again() {
    let body = "
        and.b32 %r1, %r0, 1;
        setp.ne.u32 %p1, %r1, 0;
        mov.u32 %r2, 0;
        mov.u32 %r3, 0;
        next:
        setp.ge.u32 %p0, %r2, %r0;
        @%p0 bra behind;
        @%p1 bra odd;
        add.u32 %r3, %r3, %r2;
        bra both;
        odd:
        add.u32 %r3, %r3, 100;
        both:
        add.u32 %r2, %r2, 1;
        bra next;
        behind:
        shfl.sync.bfly.b32 %r4, %r3, 1, 31, 0xffffffff;
        st.global.b32 [%rd3], %r4;
    ";
    let own = |lane: u32| if lane % 2 == 1 { 100 * lane } else { (0..lane).sum() };
    let found = Run { body, ..TWO_WARPS }.of(&[0], 64);
    assert_eq!(found, (0..64).map(|thread| own(thread ^ 1)).collect::<Vec<u32>>());
    // A lane that does not come: in its warp nobody can go on.
    let lost = body.replace("behind:", "behind:\n        setp.eq.u32 %p2, %r0, 40;\n        @%p2 ret;");
    Run { body: &lost, ..TWO_WARPS }.fails(&[0], 64, "does not take part in this exchange of its warp");
}

/// Some lanes of a warp are at one barrier, the others at another: the lines are told apart.
#[test]
fn lanes_that_part_before_a_barrier() {
    let body = |here: &str, behind: &str| {
        format!(
            "setp.gt.u32 %p0, %r0, 7;\nmov.u32 %r1, 1;\n@%p0 bra others;\nmov.u32 %r1, 2;\n{here}bra behind;\nothers:\n{here}behind:\n{behind}\
             st.global.b32 [%rd3], %r1;"
        )
    };
    let barrier = "bar.sync 0;\n";
    Run { body: &body(barrier, ""), ..WARP }.fails(&[0], 32, "waits elsewhere while others wait at this barrier");
    let found = Run { body: &body("", barrier), ..WARP }.of(&[0], 32);
    assert_eq!(found, (0..32).map(|t| if t > 7 { 1 } else { 2 }).collect::<Vec<u32>>());
}

/// At distances of two words, by steps of pages, backwards, and all the same.
#[test]
fn places_at_equal_distances() {
    let x = numbers(256);
    for (place, of_thread) in [
        ("mul.lo.u32 %r1, %r0, 2;", (|t| 2 * t) as fn(u32) -> u32),
        ("mul.lo.u32 %r1, %r0, 4;", |t| 4 * t),
        ("and.b32 %r2, %r0, 1;\nmul.lo.u32 %r1, %r2, 128;", |t| t % 2 * 128),
        ("sub.u32 %r1, 255, %r0;", |t| 255 - t),
        ("shr.u32 %r1, %r0, 4;", |t| t / 16),
        ("mov.u32 %r1, 77;", |_| 77),
        ("and.b32 %r1, %r0, 7;", |t| t % 8),
    ] {
        for load in ["ld.global.b32", "ld.global.nc.b32"] {
            let body =
                format!("{place}\nmad.wide.u32 %rd4, %r1, 4, %rd0;\n{load} %r3, [%rd4];\nst.global.b32 [%rd3], %r3;");
            let found = Run { body: &body, ..TWO_WARPS }.of(&x, 64);
            assert_eq!(found, (0..64).map(|t| of_thread(t).pow(2) + 7).collect::<Vec<u32>>(), "{place}");
        }
    }
    // As a store, of two words each.
    let body = format!(
        "{PLACES}ld.global.b32 %r3, [%rd4];\nadd.u32 %r4, %r3, 1;\nmad.wide.u32 %rd5, %r0, 16, %rd1;\n\
         st.global.v2.b32 [%rd5], {{%r3, %r4}};\nst.global.v2.b32 [%rd5+8], {{%r4, %r3}};"
    );
    let found = Run { body: &body, ..TWO_WARPS }.of(&x, 256);
    let own = |i: u32| (i / 4).pow(2) + 7 + u32::from(i % 4 == 1 || i % 4 == 2);
    assert_eq!(found, (0..256).map(own).collect::<Vec<u32>>());
}

#[test]
fn distances_that_leave_what_is_aligned_or_there() {
    let x = numbers(256);
    let of = |place: &str| {
        format!(
            "{place}\nadd.s64 %rd5, %rd4, %rd0;\nld.global.v2.b32 {{%r3, %r4}}, [%rd5];\nst.global.b32 [%rd3], %r3;"
        )
    };
    let good = of("mul.wide.u32 %rd4, %r0, 16;");
    assert_eq!(Run { body: &good, ..WARP }.of(&x, 32)[31], (4u32 * 31).pow(2) + 7);
    // The first lane's place is right.
    Run { body: &of("mul.wide.u32 %rd4, %r0, 12;"), ..WARP }.fails(&x, 32, "an access of 8 bytes");
    let shared = "mov.u32 %r1, a;\nmad.lo.u32 %r1, %r0, 12, %r1;\nst.shared.v2.b32 [%r1], {%r0, %r0};";
    Run { body: shared, ..WARP }.fails(&x, 32, "an access of 8 bytes");
    // The last lane alone.
    Run { body: &of("mul.wide.u32 %rd4, %r0, 32;\nadd.s64 %rd4, %rd4, 32;"), ..WARP }.fails(
        &x,
        32,
        "4 bytes at 1024 of memory that has 1024",
    );
}

/// Reads are noted, and entered when somebody asks: few or many, before a barrier or behind it.
#[test]
fn a_write_where_others_have_read() {
    for reads in [1, 2, 40, 200] {
        let read = "ld.shared.b32 %r3, [%r2];\n".repeat(reads);
        let body = |between: &str| {
            format!(
                "mov.u32 %r1, a;\nmad.lo.u32 %r4, %r0, 4, %r1;\nxor.b32 %r5, %r0, 63;\nmad.lo.u32 %r2, %r5, 4, %r1;\n\
                 st.shared.b32 [%r4], %r0;\nbar.sync 0;\n{read}{between}st.shared.b32 [%r4], %r3;\nbar.sync 0;\n\
                 ld.shared.b32 %r6, [%r4];\nst.global.b32 [%rd3], %r6;"
            )
        };
        let found = Run { body: &body("bar.sync 0;\n"), ..TWO_WARPS }.of(&[0], 64);
        assert_eq!(found, (0..64).map(|t| 63 - t).collect::<Vec<u32>>());
        Run { body: &body(""), ..TWO_WARPS }.fails(&[0], 64, "no barrier lies between");
        // The readers are of the other warp.
        Run { body: &body("bar.warp.sync 0xffffffff;\n"), ..TWO_WARPS }.fails(&[0], 64, "no barrier lies between");
        // Of this warp: its own barrier is enough, and without one it is not.
        let near = |between: &str| body(between).replace("%r0, 63;", "%r0, 1;");
        assert_eq!(Run { body: &near("bar.warp.sync 0xffffffff;\n"), ..TWO_WARPS }.of(&[0], 64)[5], 4);
        Run { body: &near(""), ..TWO_WARPS }.fails(&[0], 64, "no barrier lies between");
    }
}

/// What one block reads, another writes: in global memory no barrier helps.
#[test]
fn a_block_that_writes_what_another_reads() {
    let read = format!("{PLACES}ld.global.b32 %r3, [%rd4];\nbar.sync 0;\n");
    let body = format!(
        "{read}mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p0, %r1, 2;\n@%p0 st.global.b32 [%rd4], %r3;\n@%p0 st.global.b32 [%rd3], %r3;"
    );
    let x = numbers(64);
    Run { body: &body, blocks: [3, 1, 1], ..TWO_WARPS }.fails(&x, 64, "no barrier lies between");
    // Alone it may.
    let alone = body.replace("%r1, 2;", "%r1, 0;");
    assert_eq!(Run { body: &alone, ..TWO_WARPS }.of(&x, 64)[3], 16);
}

/// Between the places of a group lie those of others: they have nothing to do with it.
#[test]
fn what_lies_between_belongs_to_others() {
    for load in ["ld.global.b32", "ld.global.nc.b32"] {
        // Even words are read by the first warp, odd ones are written by the second.
        let body = format!(
            "and.b32 %r1, %r0, 31;\nmul.wide.u32 %rd4, %r1, 8;\nadd.s64 %rd4, %rd4, %rd0;\nsetp.gt.u32 %p0, %r0, 31;\n\
             mov.b32 %r3, %r0;\n@!%p0 {load} %r3, [%rd4];\n@%p0 st.global.b32 [%rd4+4], %r3;\nst.global.b32 [%rd3], %r3;"
        );
        let own = |t: u32| if t < 32 { (2 * t).pow(2) + 7 } else { t };
        assert_eq!(Run { body: &body, ..TWO_WARPS }.of(&numbers(64), 64), (0..64).map(own).collect::<Vec<u32>>());
        // The same word, whichever of the two comes first.
        let what = if load.contains("nc") { "does not change" } else { "no barrier lies between" };
        Run { body: &body.replace("[%rd4+4]", "[%rd4]"), ..TWO_WARPS }.fails(&numbers(64), 64, what);
    }
}
