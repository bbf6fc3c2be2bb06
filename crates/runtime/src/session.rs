//! Loading compiled modules and calling their functions.

use std::any::Any;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use eerie_sys::runtime as sys;
use memmap2::Mmap;

use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::instance::instance;
use crate::native;
use crate::signature::{Function, type_text};
use crate::status::{check, host_allocator, string_view, text_of};

/// A loaded module, ready to be called. Clones are the same session.
///
/// Calls of one session from several threads wait for each other; sessions on one device run at the
/// same time and share its worker threads.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    /// IREE's contexts are not thread-safe: held during a call.
    context: Mutex<Context>,
    functions: Vec<Function>,
    /// For each of `functions`, what to call and whether it takes and returns tensors only.
    entries: Vec<(sys::iree_vm_function_t, bool)>,
    by_name: HashMap<String, usize>,
    path: PathBuf,
    // Dropped after the context, in this order.
    _map: Mmap,
    device: Device,
}

// SAFETY: the pointers in `entries` are to the context's modules, which are immutable; the context
// itself is behind the mutex.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// The modules and their state.
struct Context {
    context: *mut sys::iree_vm_context_t,
    /// The module of the file, held by the context too.
    module: *mut sys::iree_vm_module_t,
}

// SAFETY: IREE's contexts may be used on any thread, by one at a time (`iree/vm/context.h`).
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: both references are ours; the context uses the module, so it goes first.
        unsafe {
            sys::iree_vm_context_release(self.context);
            sys::iree_vm_module_release(self.module);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Session {
    /// Loads the vmfb file at `path`, which must stay unchanged while it is in use (the cache only
    /// ever replaces whole files).
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Runtime`] when it is not a module for this device.
    pub fn load(device: &Device, path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        // SAFETY: the file is not changed while it is mapped (see above).
        let map = unsafe { Mmap::map(&file) }.map_err(Error::file("map", path))?;
        let context = Context::new(device, &map, path)?;
        let mut functions = Vec::new();
        let mut entries = Vec::new();
        let mut by_name = HashMap::new();
        for (entry, function, plain) in context.exports()? {
            by_name.insert(function.name.clone(), functions.len());
            functions.push(function);
            entries.push((entry, plain));
        }
        Ok(Self(Arc::new(Inner {
            context: Mutex::new(context),
            functions,
            entries,
            by_name,
            path: path.to_path_buf(),
            _map: map,
            device: device.clone(),
        })))
    }

    /// The module's functions.
    pub fn functions(&self) -> &[Function] {
        &self.0.functions
    }

    /// The function `name`.
    ///
    /// # Errors
    /// [`Error::NoFunction`], naming those there are.
    pub fn function(&self, name: &str) -> Result<&Function> {
        self.find(name).map(|(function, _)| function)
    }

    /// Calls `function` and waits for its results.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`Error::ArgumentCount`] and [`Error::Argument`] before anything runs;
    /// [`Error::Runtime`]; [`Error::UnsupportedResult`].
    pub fn call(&self, function: &str, arguments: &[impl Borrow<Buffer>]) -> Result<Vec<Buffer>> {
        let (function, entry) = self.find(function)?;
        self.check_arguments(function, arguments)?;
        let inputs = List::new(arguments.len())?;
        for argument in arguments {
            inputs.push(argument.borrow())?;
        }
        let outputs = List::new(function.results.len())?;
        {
            native::take_failure();
            // A panic of another caller leaves IREE's context as it was.
            let context = self.0.context.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: context, function and lists are alive, and the lock keeps others out.
            let status = unsafe {
                sys::iree_vm_invoke(
                    context.context,
                    entry,
                    0,
                    ptr::null(),
                    inputs.0,
                    outputs.0,
                    host_allocator(),
                )
            };
            check(status, || format!("run {:?} of {}", function.name, self.0.path.display()))
                .map_err(|error| explain(error, &self.0.path))?;
        }
        (0..function.results.len()).map(|index| self.result(function, &outputs, index)).collect()
    }

    fn find(&self, name: &str) -> Result<(&Function, sys::iree_vm_function_t)> {
        let found = self.0.by_name.get(name).and_then(|index| {
            let function = self.0.functions.get(*index)?;
            let (entry, plain) = self.0.entries.get(*index)?;
            Some((function, *entry, *plain))
        });
        match found {
            Some((function, entry, true)) => Ok((function, entry)),
            Some((function, _, false)) => Err(Error::Runtime {
                action: format!("call {:?} of {}", function.name, self.0.path.display()),
                message: "it takes or returns something other than tensors".to_owned(),
            }),
            None => Err(Error::NoFunction {
                module: self.0.path.clone(),
                function: name.to_owned(),
                available: self
                    .0
                    .functions
                    .iter()
                    .map(|function| format!("{:?}", function.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    fn check_arguments(
        &self,
        function: &Function,
        arguments: &[impl Borrow<Buffer>],
    ) -> Result<()> {
        if arguments.len() != function.arguments.len() {
            return Err(Error::ArgumentCount {
                function: function.name.clone(),
                expected: function.arguments.len(),
                given: arguments.len(),
            });
        }
        for (index, (declared, given)) in function.arguments.iter().zip(arguments).enumerate() {
            let given: &Buffer = given.borrow();
            let given = if *given.device() != self.0.device {
                "a buffer of another device".to_owned()
            } else if !declared.accepts(given) {
                type_text(given)
            } else if declared.donated_to.is_some() && given.is_read_only() {
                format!("{} for reading only, and the call overwrites it,", type_text(given))
            } else {
                continue;
            };
            return Err(Error::Argument {
                function: function.name.clone(),
                index,
                expected: declared.to_string(),
                given,
            });
        }
        Ok(())
    }

    /// Takes one result out of the list.
    fn result(&self, function: &Function, outputs: &List, index: usize) -> Result<Buffer> {
        let unsupported = |found: String| Error::UnsupportedResult {
            function: function.name.clone(),
            index,
            found,
        };
        // SAFETY: the list is alive; what is no buffer view comes out as null.
        let view = unsafe { sys::iree_vm_list_get_buffer_view_retain(outputs.0, index) };
        if view.is_null() {
            return Err(unsupported("no tensor".to_owned()));
        }
        // A result may be a constant that lies in the module.
        let keep: Arc<dyn Any + Send + Sync> = self.0.clone();
        // SAFETY: the reference was made above, on this session's device.
        unsafe { Buffer::from_view(view, &self.0.device, keep) }.map_err(unsupported)
    }
}

impl Context {
    /// Loads the module in `map`, which the caller keeps for as long as this context.
    fn new(device: &Device, map: &Mmap, path: &Path) -> Result<Self> {
        let instance = instance()?;
        let host = host_allocator();
        let mut module = ptr::null_mut();
        let archive = sys::iree_const_byte_span_t { data: map.as_ptr(), data_length: map.len() };
        let nobody = sys::iree_allocator_t { self_: ptr::null_mut(), ctl: None };
        // SAFETY: the archive outlives the module, and is not IREE's to free.
        let status = unsafe {
            sys::iree_vm_bytecode_module_create(instance, 0, archive, nobody, host, &mut module)
        };
        check(status, || format!("load {}", path.display()))?;
        let mut context = Self { context: ptr::null_mut(), module };
        let mut hal = ptr::null_mut();
        // SAFETY: instance and group are alive; the module retains the group.
        let status = unsafe {
            sys::iree_hal_module_create(
                instance,
                sys::iree_hal_module_device_policy_default(),
                device.group(),
                sys::iree_hal_module_flag_bits_t_IREE_HAL_MODULE_FLAG_SYNCHRONOUS
                    as sys::iree_hal_module_flags_t,
                sys::iree_hal_module_debug_sink_null(),
                host,
                &mut hal,
            )
        };
        check(status, || "create its module for devices".to_owned())?;
        let mut modules = [hal, module];
        native::take_failure();
        // SAFETY: both modules are alive and retained by the context; our reference to the first
        // one is given up.
        let created = unsafe {
            let status = sys::iree_vm_context_create_with_modules(
                instance,
                0,
                modules.len(),
                modules.as_mut_ptr(),
                host,
                &mut context.context,
            );
            sys::iree_vm_module_release(hal);
            status
        };
        check(created, || format!("prepare {}", path.display()))
            .map_err(|error| explain(error, path))?;
        Ok(context)
    }

    /// The functions, with whether they take and return tensors only.
    fn exports(&self) -> Result<Vec<(sys::iree_vm_function_t, Function, bool)>> {
        // SAFETY: the module is alive.
        let count = unsafe { sys::iree_vm_module_signature(self.module) }.export_function_count;
        let mut exports = Vec::new();
        for ordinal in 0..count {
            let mut entry = sys::iree_vm_function_t::default();
            // SAFETY: the module is alive, and the out-parameter ours.
            let status = unsafe {
                sys::iree_vm_module_lookup_function_by_ordinal(
                    self.module,
                    sys::iree_vm_function_linkage_e_IREE_VM_FUNCTION_LINKAGE_EXPORT,
                    ordinal,
                    &mut entry,
                )
            };
            check(status, || format!("find function {ordinal}"))?;
            // SAFETY: the function was found in the module, which owns the texts.
            let (name, convention, declaration) = unsafe {
                (
                    text_of(sys::iree_vm_function_name(&entry)),
                    text_of(sys::iree_vm_function_signature(&entry).calling_convention),
                    text_of(sys::iree_vm_function_lookup_attr_by_name(
                        &entry,
                        string_view("iree.abi.declaration"),
                    )),
                )
            };
            // `__init` and the like are not for callers.
            if !name.starts_with("__") {
                let (arguments, results, plain) = counts(&convention);
                let function = Function::new(name, arguments, results, &declaration);
                exports.push((entry, function, plain));
            }
        }
        Ok(exports)
    }
}

/// What a native kernel said in place of what IREE says about it.
fn explain(error: Error, path: &Path) -> Error {
    native::take_failure().map_or(error, |failure| failure.into_error(path))
}

/// The numbers of arguments and results in a calling convention such as `0rr_r`, and whether all
/// are objects (`r`) and not numbers.
fn counts(convention: &str) -> (usize, usize, bool) {
    let parts = convention.strip_prefix('0').unwrap_or(convention);
    let (arguments, results) = parts.split_once('_').unwrap_or((parts, ""));
    let count = |part: &str| part.chars().filter(|c| *c != 'v').count();
    let plain = parts.chars().all(|c| "rv_".contains(c));
    (count(arguments), count(results), plain)
}

/// A list of arguments or results.
struct List(*mut sys::iree_vm_list_t);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { sys::iree_vm_list_release(self.0) };
    }
}

impl List {
    fn new(capacity: usize) -> Result<Self> {
        let mut list = ptr::null_mut();
        // SAFETY: an undefined element type makes a list of anything.
        let status = unsafe {
            sys::iree_vm_list_create(
                sys::iree_vm_type_def_t::default(),
                capacity,
                host_allocator(),
                &mut list,
            )
        };
        check(status, || "create a list of arguments".to_owned())?;
        Ok(Self(list))
    }

    fn push(&self, buffer: &Buffer) -> Result<()> {
        // SAFETY: the view is alive; the list takes the reference made here.
        let status = unsafe {
            let mut reference = sys::iree_hal_buffer_view_retain_ref(buffer.view());
            sys::iree_vm_list_push_ref_move(self.0, &mut reference)
        };
        check(status, || format!("pass {buffer:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn calling_conventions() {
        assert_eq!(counts("0rrr_rr"), (3, 2, true));
        assert_eq!(counts("0v_r"), (0, 1, true));
        assert_eq!(counts("0ri_v"), (2, 0, false));
        assert_eq!(counts(""), (0, 0, true));
    }
}
