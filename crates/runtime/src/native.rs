//! Kernels: functions of this program that compiled modules call.
//!
//! A module made from a native text ([`stablemate_graph::Module::native`]) imports functions by name; the
//! device finds them when a session is loaded and keeps them for as long as it lives.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::{ptr, slice};

use eerie_sys::runtime as sys;
use stablemate_graph::{NativeBinding, NativeImport};

use crate::error::{Error, Result};
use crate::ffi;
use crate::float_environment::StandardFloats;
use crate::status::{check, host_allocator, string_view};

/// The most bindings of one dispatch that IREE runs.
const MAXIMUM_BINDINGS: usize = 32;

/// Finds the functions that native texts call.
pub trait KernelResolver: Send + Sync {
    /// The function called `symbol` ([`stablemate_graph::NativeCall::symbol`]), for memory of the sizes
    /// that the text states: operands in order, then the results that overwrite no operand. None when there
    /// is no such function; it is asked for once per device.
    fn resolve(&self, symbol: &str, bindings: &[NativeBinding]) -> Option<NativeKernel>;
}

/// What a kernel does with its memory; what goes wrong is said by the text of its error.
pub type KernelFunction = dyn Fn(&mut [Binding<'_>]) -> Result<(), String> + Send + Sync;

/// A function that native texts call.
pub struct NativeKernel {
    /// What it is called in messages, such as `linear [1, 2048] x [8192, 2048]`.
    pub name: String,
    /// The function. It runs on the thread that called [`crate::Session::call`].
    pub function: Box<KernelFunction>,
}

/// The memory of an operand or a result of a kernel, for the time of one call.
///
/// It is 64-byte aligned ([`crate::ALIGNMENT`]), unless it comes from [`crate::Buffer::import_unaligned`].
#[derive(Debug)]
pub enum Binding<'a> {
    /// An operand.
    Read(&'a [u8]),
    /// A result, whose contents are arbitrary before; or an operand that is overwritten by a result.
    Write(&'a mut [u8]),
}

/// The functions found so far, and what finds more.
pub(crate) struct Kernels {
    resolver: Option<Arc<dyn KernelResolver>>,
    /// By the names that texts import them under. Boxed: IREE keeps their addresses.
    found: Mutex<BTreeMap<String, Box<Resolved>>>,
}

struct Resolved {
    bindings: Vec<NativeBinding>,
    kernel: NativeKernel,
}

/// What a kernel, or the search for kernels, said on this thread while IREE was running. IREE reports
/// neither names nor messages. (The native device runs everything on the thread that calls it.)
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A kernel failed.
    Kernel {
        /// Its name.
        kernel: String,
        /// Its message.
        message: String,
    },
    /// Kernels were not found.
    Missing(Vec<String>),
}

thread_local! {
    static FAILURE: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// What has failed on this thread since this was called last.
pub(crate) fn take_failure() -> Option<Failure> {
    FAILURE.take()
}

impl Kernels {
    /// Nothing is found without a resolver.
    pub(crate) fn new(resolver: Option<Arc<dyn KernelResolver>>) -> Box<Self> {
        Box::new(Self { resolver, found: Mutex::default() })
    }

    /// Whether anything can be found.
    pub(crate) fn any(&self) -> bool {
        self.resolver.is_some()
    }

    /// IREE's object that asks these kernels. They must outlive all code that it is given to.
    pub(crate) fn manager(&self) -> Result<*mut sys::iree_hal_executable_plugin_manager_t> {
        let provider = sys::iree_hal_executable_import_provider_t {
            self_: ptr::from_ref(self).cast_mut().cast(),
            resolve: Some(resolve),
        };
        let mut manager = ptr::null_mut();
        // SAFETY: an out-parameter of ours; there is room for the one provider.
        let status = unsafe {
            ffi::iree_hal_executable_plugin_manager_create(1, host_allocator(), &mut manager)
        };
        check(status, || "create its list of native kernels".to_owned())?;
        // SAFETY: the manager was made above; it copies the provider, whose pointer the caller keeps valid.
        let registered =
            unsafe { ffi::iree_hal_executable_plugin_manager_register_provider(manager, provider) };
        if let Err(error) = check(registered, || "list native kernels".to_owned()) {
            // SAFETY: the reference is ours.
            unsafe { ffi::iree_hal_executable_plugin_manager_release(manager) };
            return Err(error);
        }
        Ok(manager)
    }

    /// The address of the kernel imported as `name`, valid as long as `self`.
    fn find(&self, name: &str) -> Option<*const Resolved> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolved) = found.get(name) {
            return Some(&raw const **resolved);
        }
        let import: NativeImport = name.parse().ok()?;
        if import.bindings.len() > MAXIMUM_BINDINGS {
            return None;
        }
        let kernel = self.resolver.as_ref()?.resolve(&import.symbol, &import.bindings)?;
        let resolved = Box::new(Resolved { bindings: import.bindings, kernel });
        Some(&raw const **found.entry(name.to_owned()).or_insert(resolved))
    }
}

/// Called by IREE for the imports of code that is being loaded.
unsafe extern "C" fn resolve(
    this: *mut c_void,
    count: usize,
    names: *const *const c_char,
    functions: *mut *mut c_void,
    contexts: *mut *mut c_void,
    resolution: *mut sys::iree_hal_executable_import_resolution_t,
) -> sys::iree_status_t {
    // SAFETY: `Kernels::manager` made this pointer, and its kernels outlive the code being loaded.
    let kernels = unsafe { &*this.cast::<Kernels>() };
    if !resolution.is_null() {
        // SAFETY: not null, hence an out-parameter.
        unsafe { *resolution = 0 };
    }
    let mut missing = Vec::new();
    for index in 0..count {
        // SAFETY: IREE passes `count` texts that end in a zero byte.
        let name = unsafe { CStr::from_ptr(*names.add(index)) }.to_string_lossy();
        // A leading question mark means that the code can do without; ours never has one.
        let name = name.trim_start_matches('?');
        let found = catch_unwind(AssertUnwindSafe(|| kernels.find(name))).unwrap_or_default();
        let Some(found) = found else {
            missing.push(name.split('.').next().unwrap_or(name).to_owned());
            continue;
        };
        // SAFETY: IREE passes room for `count` functions and contexts.
        unsafe {
            *functions.add(index) = call as *mut c_void;
            *contexts.add(index) = found.cast_mut().cast();
        }
    }
    if missing.is_empty() {
        return ptr::null_mut();
    }
    FAILURE.set(Some(Failure::Missing(missing)));
    // SAFETY: both texts are copied or static. "Not found" would be taken for "try another loader".
    unsafe {
        sys::iree_status_allocate(
            sys::iree_status_code_e_IREE_STATUS_FAILED_PRECONDITION,
            c"native.rs".as_ptr(),
            0,
            string_view("native kernels are missing"),
        )
    }
}

/// Called by compiled code: `parameters` are the bindings' addresses, `context` a kernel of ours.
unsafe extern "C" fn call(
    parameters: *mut c_void,
    context: *mut c_void,
    _reserved: *mut c_void,
) -> c_int {
    // SAFETY: `resolve` gave IREE this context, which lives as long as the device.
    let resolved = unsafe { &*context.cast::<Resolved>() };
    // SAFETY: compiled code passes an address for each binding of the import that it was resolved for:
    // memrefs of a static shape are passed as bare pointers.
    let addresses =
        unsafe { slice::from_raw_parts(parameters.cast::<*mut u8>(), resolved.bindings.len()) };
    let _standard = StandardFloats::enter();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: compiled code passes memory of the sizes that its import states, which nobody else
        // uses before this returns.
        unsafe { resolved.run(addresses) }
    }));
    let message = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => format!("it panicked: {}", panic_message(&*panic)),
    };
    let kernel = resolved.kernel.name.clone();
    FAILURE.set(Some(Failure::Kernel { kernel, message }));
    1
}

impl Resolved {
    /// Calls the kernel.
    ///
    /// # Safety
    /// There are as many addresses as bindings, each of memory of its binding's size that is valid, and that
    /// nobody else writes (for those that are written: uses) until this returns.
    unsafe fn run(&self, addresses: &[*mut u8]) -> Result<(), String> {
        self.check_overlaps(addresses)?;
        let mut bindings: [Binding<'_>; MAXIMUM_BINDINGS] =
            std::array::from_fn(|_| Binding::Read(&[]));
        for ((slot, binding), address) in bindings.iter_mut().zip(&self.bindings).zip(addresses) {
            // SAFETY: by this function's contract; what is written does not overlap the others, as was
            // just checked.
            *slot = unsafe {
                if binding.written {
                    Binding::Write(slice::from_raw_parts_mut(*address, binding.bytes))
                } else {
                    Binding::Read(slice::from_raw_parts(*address, binding.bytes))
                }
            };
        }
        let count = self.bindings.len().min(MAXIMUM_BINDINGS);
        (self.kernel.function)(bindings.get_mut(..count).unwrap_or_default())
    }

    /// Refuses memory that is written under one name and used under another, and null pointers.
    fn check_overlaps(&self, addresses: &[*mut u8]) -> Result<(), String> {
        if let Some(index) = addresses.iter().position(|address| address.is_null()) {
            return Err(format!("its binding {index} has no memory"));
        }
        let range = |index: usize| -> Option<Range<usize>> {
            let start = addresses.get(index)?.addr();
            Some(start..start.checked_add(self.bindings.get(index)?.bytes)?)
        };
        for (written, binding) in self.bindings.iter().enumerate() {
            if !binding.written {
                continue;
            }
            for other in (0..self.bindings.len()).filter(|other| *other != written) {
                let (Some(a), Some(b)) = (range(written), range(other)) else {
                    return Err(format!("its binding {written} or {other} is no memory"));
                };
                if a.start < b.end && b.start < a.end {
                    return Err(format!(
                        "its binding {written} is written and overlaps binding {other}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

impl Failure {
    /// The error for a caller: of the module at `path`.
    pub(crate) fn into_error(self, path: &std::path::Path) -> Error {
        match self {
            Self::Kernel { kernel, message } => Error::Kernel { kernel, message },
            Self::Missing(kernels) => {
                Error::MissingKernels { module: path.to_path_buf(), kernels: kernels.join(", ") }
            }
        }
    }
}
