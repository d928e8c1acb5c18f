//! A function around a few instructions, run in many orders of threads.

#![allow(dead_code)]

use bdl_ptx_machine::{Fault, Launch, Memory, launch, parse};

/// A function of `x`, `y` and `n` with this body; `%rd0` and `%rd1` hold the addresses, `%r0` the thread, `%rd3` where its 4 bytes of `y` lie.
pub fn text(body: &str) -> String {
    let body = body.trim().lines().map(|line| format!("    {}\n", line.trim())).collect::<String>();
    format!(
        "
.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 behind[];

.visible .entry k(
    .param .u64 x,
    .param .u64 y,
    .param .u64 n
)
.maxntid 64, 1, 1
{{
    .reg .pred %p<4>;
    .reg .b16 %h<4>;
    .reg .b32 %r<40>;
    .reg .b64 %rd<20>;
    .reg .f32 %f<20>;
    .shared .align 16 .b8 a[1024];
    .shared .align 16 .b8 b[512];
    ld.param.u64 %rd0, [x];
    ld.param.u64 %rd1, [y];
    ld.param.u64 %rd2, [n];
    mov.u32 %r0, %tid.x;
    mad.wide.u32 %rd3, %r0, 4, %rd1;
{body}    ret;
}}
"
    )
}

pub struct Run<'b> {
    pub body: &'b str,
    pub blocks: [u32; 3],
    pub threads: u32,
    pub shared: usize,
    pub n: u64,
}

/// Enough for some in which lanes run one after the other.
const ORDERS: u64 = 20;

pub const WARP: Run<'static> = Run { body: "", blocks: [1, 1, 1], threads: 32, shared: 0, n: 0 };

impl Run<'_> {
    /// The words of `y`, or the fault.
    fn once(&self, x: &[u8], words: usize, order: u64) -> Result<Vec<u32>, Fault> {
        let function = parse(&text(self.body))?;
        let mut memory = Memory::new();
        let (from, to) = (memory.allocate(x.len()), memory.allocate(4 * words));
        memory.write(from, x)?;
        let parameters = [from, to, self.n];
        let Run { blocks, threads, shared, .. } = *self;
        launch(&function, &mut memory, &Launch { blocks, threads, shared, parameters: &parameters, order })?;
        let mut bytes = vec![0; 4 * words];
        memory.read(to, &mut bytes)?;
        Ok(bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The words of `y`, the same in every order of threads.
    pub fn of(&self, x: &[u8], words: usize) -> Vec<u32> {
        let run = |order| self.once(x, words, order).unwrap_or_else(|fault| panic!("order {order}: {fault}"));
        let first = run(0);
        (1..ORDERS).for_each(|order| assert_eq!(run(order), first, "order {order}"));
        first
    }

    /// In every order of threads there is a fault that says this.
    pub fn fails(&self, x: &[u8], words: usize, with: &str) {
        for order in 0..ORDERS {
            let found = self.once(x, words, order).expect_err("a fault").to_string();
            assert!(found.contains(with), "order {order}: {found}");
        }
    }
}
