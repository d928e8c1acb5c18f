//! Kernels in, functions out.
//!
//! Equal kernels (up to the names of the kernel, its buffers and its indices) are compiled once, also when they occur in several
//! programs of one process (a training step and its evaluation share most of theirs). Compilation runs on up to four threads. The memory of
//! code goes with the last [`Code`] or [`CompiledKernels`] that uses it.

use crate::emit;
use crate::wide::function::Function;
use bdl_kernels::isa::{Isa, with_isa};
use bdl_plan::{CompiledKernels, Kernel, KernelFn};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::UserFuncName;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CompiledCode, Context};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

pub use bdl_plan::KernelError as Error;

/// Machine code of the kernels of a plan.
pub struct Code {
    kernels: CompiledKernels,
    distinct: usize,
    fresh: usize,
    bytes: usize,
}

impl Code {
    /// The functions, by kernel, to hand to the executor. They keep the code alive.
    pub fn kernels(&self) -> CompiledKernels {
        self.kernels.clone()
    }

    /// How many functions there are: equal kernels count once.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// How many of them were compiled by this call; the others were there already.
    pub fn fresh(&self) -> usize {
        self.fresh
    }

    /// Bytes of machine code that this call made.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Keeps the mapped code; unmaps it when the last user is gone.
struct Mapped(Mutex<Option<JITModule>>);

impl Drop for Mapped {
    fn drop(&mut self) {
        let module = self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(module) = module {
            // SAFETY: function pointers are only reachable through `CompiledKernels`, which owns this value: nobody can call them now.
            unsafe { module.free_memory() }
        }
    }
}

/// Functions of this process by the content of their kernels, as long as somebody uses them.
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Text of a kernel -> its code, and who keeps it mapped.
type Known = HashMap<String, (KernelFn, Weak<Mapped>)>;

fn known() -> MutexGuard<'static, HashMap<String, (KernelFn, Weak<Mapped>)>> {
    KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The code generator for this machine.
pub fn host_isa() -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
    ] {
        flags.set(name, value).map_err(|e| e.to_string())?;
    }
    let builder = cranelift_native::builder().map_err(str::to_string)?;
    builder.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())
}

/// Compiles every kernel, on up to four threads.
///
/// Errors: the first kernel that is not valid (a plan that passes `bdl_plan::verify` always compiles).
pub fn compile(kernels: &[Kernel]) -> Result<Code, Error> {
    compile_on(kernels, std::thread::available_parallelism().map_or(1, |n| n.get()).min(4))
}

/// As [`compile`], on so many threads: where several plans are compiled at once, each has its own.
pub fn compile_on(kernels: &[Kernel], threads: usize) -> Result<Code, Error> {
    let failed = |kernel: &Kernel, what: String| Error { kernel: kernel.name.clone(), what };
    let nobody = |what: String| Error { kernel: "".into(), what };
    let isa = host_isa().map_err(nobody)?;

    // Equal kernels share a number.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut distinct: Vec<(&Kernel, Option<KernelFn>)> = Vec::new();
    let mut owners: Vec<Arc<Mapped>> = Vec::new();
    let mut number_of = Vec::with_capacity(kernels.len());
    {
        let known = known();
        for kernel in kernels {
            let content = content(kernel);
            let number = *numbers.entry(content).or_insert_with_key(|content| {
                let old =
                    known.get(content).and_then(|(function, owner)| owner.upgrade().map(|owner| (*function, owner)));
                if let Some((_, owner)) = &old
                    && !owners.iter().any(|o| Arc::ptr_eq(o, owner))
                {
                    owners.push(owner.clone());
                }
                distinct.push((kernel, old.map(|(function, _)| function)));
                distinct.len() - 1
            });
            number_of.push(number);
        }
    }

    let new: Vec<&Kernel> = distinct.iter().filter(|(_, f)| f.is_none()).map(|(kernel, _)| *kernel).collect();
    let compiled = compile_all(&isa, &new, threads)?;
    let bytes_of = |blob: &Blob| blob.bytes.len() + blob.wide.iter().map(|w| w.bytes.len()).sum::<usize>();
    let bytes = compiled.iter().map(bytes_of).sum();
    let mut module = JITModule::new(JITBuilder::with_isa(isa.clone(), default_libcall_names()));
    let signature = emit::signature(&*isa);
    let mut ids = Vec::new();
    for (kernel, blob) in new.iter().zip(&compiled) {
        let mut define = |bytes: &[u8], alignment, relocs: &[ModuleReloc]| {
            let id = module.declare_anonymous_function(&signature).map_err(|e| failed(kernel, e.to_string()))?;
            let defined = module.define_function_bytes(id, alignment, bytes, relocs);
            defined.map(|()| id).map_err(|e| failed(kernel, e.to_string()))
        };
        let wide = blob.wide.iter().map(|function| define(&function.bytes, 64, &[])).collect::<Result<Vec<_>, _>>()?;
        // The kernel names its wide functions by their number.
        let relocs: Vec<ModuleReloc> = blob.relocs.iter().map(|reloc| linked(reloc, &wide)).collect();
        ids.push(define(&blob.bytes, blob.alignment, &relocs)?);
    }
    module.finalize_definitions().map_err(|e| nobody(e.to_string()))?;
    let mut functions = ids.iter().map(|id| {
        let pointer = module.get_finalized_function(*id);
        // SAFETY: the function was compiled with `emit::signature`, which is that of `KernelFn`.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(pointer) }
    });
    // Each distinct kernel has its old function or the next new one.
    let of_number: Vec<KernelFn> = distinct.iter().filter_map(|(_, old)| old.or_else(|| functions.next())).collect();
    drop(functions);
    let own = Arc::new(Mapped(Mutex::new(Some(module))));
    let mut known = known();
    known.retain(|_, (_, owner)| owner.strong_count() > 0);
    for (content, number) in numbers {
        if distinct[number].1.is_none() {
            known.insert(content, (of_number[number], Arc::downgrade(&own)));
        }
    }
    drop(known);
    owners.push(own);
    let functions = number_of.iter().map(|n| of_number[*n]).collect();
    // SAFETY: each function is the code of its kernel, holds no state, and stays mapped while its owner, one of these, lives.
    let kernels = unsafe { CompiledKernels::new(functions, Arc::new(owners)) };
    Ok(Code { kernels, distinct: distinct.len(), fresh: new.len(), bytes })
}

/// Position-independent code of one kernel.
struct Blob {
    bytes: Vec<u8>,
    alignment: u64,
    relocs: Vec<ModuleReloc>,
    /// What it calls, by number.
    wide: Vec<Function>,
}

/// The reference to wide function number so-and-so as one to the module's function.
fn linked(reloc: &ModuleReloc, wide: &[FuncId]) -> ModuleReloc {
    let mut reloc = reloc.clone();
    if let ModuleRelocTarget::User { namespace: 0, index } = reloc.name
        && let Some(id) = wide.get(index as usize)
    {
        reloc.name = (*id).into();
    }
    reloc
}

fn compile_all(isa: &OwnedTargetIsa, kernels: &[&Kernel], threads: usize) -> Result<Vec<Blob>, Error> {
    // Each thread takes the next kernel when it is done with one: they differ in size.
    let next = AtomicUsize::new(0);
    // What this thread was told to use holds for the others.
    let set = Isa::current();
    let share = || {
        let mut context = Context::new();
        let mut builder = FunctionBuilderContext::new();
        let mut blobs = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(at) else { return blobs };
            blobs.push((at, blob(isa, kernel, &mut context, &mut builder)));
            context.clear();
        }
    };
    let mut blobs = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(kernels.len())).map(|_| scope.spawn(|| with_isa(set, share))).collect();
        let mut blobs = share();
        for other in others {
            blobs.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        blobs
    });
    blobs.sort_by_key(|(at, _)| *at);
    blobs.into_iter().map(|(_, blob)| blob).collect()
}

fn blob(
    isa: &OwnedTargetIsa,
    kernel: &Kernel,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Result<Blob, Error> {
    let (code, wide) = compile_one(isa, kernel, context, builder)?;
    let relocs = code.buffer.relocs().iter();
    let relocs = relocs.map(|r| ModuleReloc::from_mach_reloc(r, &context.func, cranelift_module::FuncId::from_u32(0)));
    let relocs = relocs.collect();
    Ok(Blob { bytes: code.code_buffer().to_vec(), alignment: u64::from(code.buffer.alignment), relocs, wide })
}

fn compile_one(
    isa: &OwnedTargetIsa,
    kernel: &Kernel,
    context: &mut Context,
    builder: &mut FunctionBuilderContext,
) -> Result<(CompiledCode, Vec<Function>), Error> {
    let failed = |what: String| Error { kernel: kernel.name.clone(), what };
    context.func.signature = emit::signature(&**isa);
    context.func.name = UserFuncName::user(0, 0);
    let wide = emit::kernel(kernel, &**isa, &mut context.func, builder).map_err(|what| {
        // Half of a function is left in it.
        *builder = FunctionBuilderContext::new();
        failed(what)
    })?;
    context.compile(&**isa, &mut ControlPlane::default()).map_err(|e| failed(format!("{:?}", e.inner)))?;
    let code = context.take_compiled_code().ok_or_else(|| failed("no code came back".to_string()))?;
    Ok((code, wide))
}

/// A kernel without its names, as a key; with the instruction set, whose slice functions the code calls.
fn content(kernel: &Kernel) -> String {
    let mut kernel = kernel.clone();
    kernel.name = Isa::current().name().into();
    kernel.buffers.iter_mut().for_each(|b| b.name = "".into());
    kernel.indices.iter_mut().for_each(|i| *i = "".into());
    kernel.to_string()
}

/// The CLIF of a kernel as text, before optimisation.
pub fn clif_text(kernel: &Kernel) -> Result<String, Error> {
    let failed = |what: String| Error { kernel: kernel.name.clone(), what };
    let isa = host_isa().map_err(failed)?;
    let mut context = Context::new();
    context.func.signature = emit::signature(&*isa);
    let wide = emit::kernel(kernel, &*isa, &mut context.func, &mut FunctionBuilderContext::new()).map_err(failed)?;
    Ok(format!("; kernel {}\n{}{}", kernel.name, context.func.display(), wide_text(&wide)))
}

/// The machine code of a kernel as assembly text of this machine.
pub fn asm_text(kernel: &Kernel) -> Result<String, Error> {
    let failed = |what: String| Error { kernel: kernel.name.clone(), what };
    let isa = host_isa().map_err(failed)?;
    let mut context = Context::new();
    context.set_disasm(true);
    let (code, wide) = compile_one(&isa, kernel, &mut context, &mut FunctionBuilderContext::new())?;
    let text = code.vcode.ok_or_else(|| failed("no text came back".to_string()))?;
    Ok(format!("; kernel {}\n{text}{}", kernel.name, wide_text(&wide)))
}

/// The wide functions of a kernel, under the names that its code calls them by.
fn wide_text(functions: &[Function]) -> String {
    functions.iter().enumerate().map(|(number, function)| format!("; u0:{number}\n{}", function.text())).collect()
}
