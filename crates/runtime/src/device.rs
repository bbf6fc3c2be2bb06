//! The device: worker threads of our own configuration, and IREE's HAL on top of them.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::thread;

use eerie_sys::runtime as sys;

use crate::error::{Error, Result};
use crate::ffi;
use crate::native::{KernelResolver, Kernels};
use crate::status::{check, host_allocator, string_view};

/// The most worker threads IREE takes (`IREE_TASK_TOPOLOGY_MAX_GROUP_COUNT`).
const MAXIMUM_THREADS: usize = 256;

/// Each worker's stack. IREE's own default, the system's minimum, is too small for native
/// kernels with large frames: 160 KiB crashed at 128 KiB.
const STACK_BYTES: usize = 1 << 20;

/// How the CPU is used.
#[derive(Clone, Debug, Default)]
pub struct CpuOptions {
    /// Worker threads, 1 to 256; none is as many as this process may use cores.
    pub threads: Option<usize>,
}

/// A device that sessions run on and buffers live on. Clones are the same device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    device: *mut sys::iree_hal_device_t,
    group: *mut sys::iree_hal_device_group_t,
    threads: usize,
    /// What the code loaded on the device calls: dropped after it.
    kernels: Box<Kernels>,
}

// SAFETY: IREE's devices, device groups and allocators are thread-safe (`iree/hal/device.h`,
// `iree/hal/allocator.h`); the pointers are released once, in `drop`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: both references are ours. Buffers and sessions hold this structure, so that
        // nothing made by the device is left. The group holds the device, so it goes first.
        unsafe {
            sys::iree_hal_device_group_release(self.group);
            sys::iree_hal_device_release(self.device);
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl PartialEq for Device {
    /// Whether both are the same device.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Device {
    /// Starts worker threads on this machine's processor.
    ///
    /// # Errors
    /// [`Error::DeviceOption`] for an impossible number of threads; [`Error::Runtime`].
    pub fn cpu(options: &CpuOptions) -> Result<Self> {
        let threads = match options.threads {
            Some(threads) => threads,
            None => available_cores().min(MAXIMUM_THREADS),
        };
        if !(1..=MAXIMUM_THREADS).contains(&threads) {
            return Err(Error::DeviceOption {
                option: "threads",
                given: threads,
                reason: format!("1 to {MAXIMUM_THREADS} are possible"),
            });
        }
        let executor = Executor::start(threads)?;
        let kernels = Kernels::new(None);
        let device = task_device(&executor, &Parts::new(&kernels)?)?;
        Self::new(kernels, threads, device)
    }

    /// A device for native texts: it finds the kernels that they call by `resolver`, and runs everything on
    /// the thread that calls a session, which needs 1 MiB of stack. The kernels are meant to have threads of
    /// their own; a dispatch costs 0.2 to 0.4 us, and a call 2 us.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn native(resolver: Arc<dyn KernelResolver>) -> Result<Self> {
        let kernels = Kernels::new(Some(resolver));
        let device = sync_device(&Parts::new(&kernels)?)?;
        Self::new(kernels, 1, device)
    }

    fn new(
        kernels: Box<Kernels>,
        threads: usize,
        device: Owned<sys::iree_hal_device_t>,
    ) -> Result<Self> {
        let group = device_group(&device)?;
        Ok(Self(Arc::new(Inner { device: device.into_raw(), group, threads, kernels })))
    }

    /// The number of worker threads; 1 for a native device, which has none of its own.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// Whether sessions may call kernels of this program.
    pub(crate) fn has_kernels(&self) -> bool {
        self.0.kernels.any()
    }

    /// The allocator, valid as long as this device.
    pub(crate) fn allocator(&self) -> *mut sys::iree_hal_allocator_t {
        // SAFETY: the device is alive.
        unsafe { sys::iree_hal_device_allocator(self.0.device) }
    }

    /// The group that VM modules are created for, valid as long as this device.
    pub(crate) fn group(&self) -> *mut sys::iree_hal_device_group_t {
        self.0.group
    }
}

fn available_cores() -> usize {
    // It fails where the system does not tell; one thread always works.
    thread::available_parallelism().map_or(1, usize::from)
}

/// A reference to an object of IREE's, released when dropped.
struct Owned<T> {
    object: *mut T,
    release: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Hands the reference over.
    fn into_raw(self) -> *mut T {
        let object = self.object;
        std::mem::forget(self);
        object
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `create` stored a reference that is ours, with the function for its type.
        unsafe { (self.release)(self.object) }
    }
}

/// Calls a function of IREE's that creates an object.
fn create<T>(
    what: &str,
    release: unsafe extern "C" fn(*mut T),
    call: impl FnOnce(*mut *mut T) -> sys::iree_status_t,
) -> Result<Owned<T>> {
    let mut object = ptr::null_mut();
    check(call(&mut object), || format!("create {what}"))?;
    Ok(Owned { object, release })
}

/// The worker threads.
struct Executor(Owned<ffi::TaskExecutor>);

impl Executor {
    fn start(threads: usize) -> Result<Self> {
        let mut options = ffi::TaskExecutorOptions::default();
        // SAFETY: the out-parameter has the header's layout (asserted in `ffi`).
        unsafe { ffi::iree_task_executor_options_initialize(&mut options) };
        // A call returns when the workers have gone idle, and a worker that looks for more work is not:
        // an empty call took 8 us with 0, 20 us with 10 us, and 60 us with 50 us.
        options.worker_spin_ns = 0;
        options.worker_stack_size = STACK_BYTES;
        let mut topology = ffi::TaskTopology::zeroed();
        // SAFETY: the out-parameter has the header's size and alignment (asserted in `ffi`), and
        // the number of threads was checked.
        unsafe { ffi::iree_task_topology_initialize_from_group_count(threads, &mut topology) };
        let executor = create(
            "its worker threads",
            ffi::iree_task_executor_release,
            // SAFETY: the topology was initialised above and is copied by the call.
            |out| unsafe {
                ffi::iree_task_executor_create(options, &topology, host_allocator(), out)
            },
        );
        // SAFETY: initialised above, and no longer used.
        unsafe { ffi::iree_task_topology_deinitialize(&mut topology) };
        Ok(Self(executor?))
    }
}

/// What devices are made of.
struct Parts {
    loader: Owned<sys::iree_hal_executable_loader_t>,
    allocator: Owned<sys::iree_hal_allocator_t>,
    proactors: Owned<sys::iree_async_proactor_pool_t>,
}

impl Parts {
    /// `kernels` must outlive the device made of these parts.
    fn new(kernels: &Kernels) -> Result<Self> {
        let host = host_allocator();
        let manager = Owned {
            object: kernels.manager()?,
            release: ffi::iree_hal_executable_plugin_manager_release,
        };
        // Modules' CPU code is position-independent ELF that IREE loads itself. Its imports are
        // resolved by the manager, that is, by `kernels`.
        let loader = create(
            "its loader of CPU code",
            sys::iree_hal_executable_loader_release,
            // SAFETY: the manager is alive, and retained by the loader.
            |out| unsafe { sys::iree_hal_embedded_elf_loader_create(manager.object, host, out) },
        )?;
        let allocator = create(
            "its allocator",
            sys::iree_hal_allocator_release,
            // SAFETY: the identifier is copied by the call.
            |out| unsafe {
                sys::iree_hal_allocator_create_heap(string_view("local"), host, host, out)
            },
        )?;
        let proactors = create(
            "its event loop",
            sys::iree_async_proactor_pool_release,
            // SAFETY: one node needs no node identifiers (`proactor_pool.h`).
            |out| unsafe {
                let options = sys::iree_async_proactor_pool_options_default();
                sys::iree_async_proactor_pool_create(1, ptr::null(), options, host, out)
            },
        )?;
        Ok(Self { loader, allocator, proactors })
    }

    fn create_parameters(&self) -> sys::iree_hal_device_create_params_t {
        sys::iree_hal_device_create_params_t {
            next: ptr::null(),
            proactor_pool: self.proactors.object,
        }
    }
}

/// The device that runs modules' CPU code on the worker threads.
fn task_device(executor: &Executor, parts: &Parts) -> Result<Owned<sys::iree_hal_device_t>> {
    let mut parameters = ffi::TaskDeviceParams::default();
    // SAFETY: the out-parameter has the header's layout (asserted in `ffi`).
    unsafe { ffi::iree_hal_task_device_params_initialize(&mut parameters) };
    let create_parameters = parts.create_parameters();
    let executors = [executor.0.object];
    let mut loaders = [parts.loader.object];
    create(
        "its CPU device",
        sys::iree_hal_device_release,
        // SAFETY: the arrays hold as many objects as is said, all alive; the device retains
        // what it keeps (`task_device.h`), and ours are released when they go out of scope.
        |out| unsafe {
            ffi::iree_hal_task_device_create(
                string_view("local-task"),
                &parameters,
                executors.len(),
                executors.as_ptr(),
                loaders.len(),
                loaders.as_mut_ptr(),
                parts.allocator.object,
                &create_parameters,
                host_allocator(),
                out,
            )
        },
    )
}

/// The device that runs modules' CPU code on the thread that calls it.
fn sync_device(parts: &Parts) -> Result<Owned<sys::iree_hal_device_t>> {
    let mut parameters = ffi::SyncDeviceParams::default();
    // SAFETY: the out-parameter has the header's layout (`sync_device.h`).
    unsafe { ffi::iree_hal_sync_device_params_initialize(&mut parameters) };
    let create_parameters = parts.create_parameters();
    let mut loaders = [parts.loader.object];
    create(
        "its CPU device",
        sys::iree_hal_device_release,
        // SAFETY: as for `task_device`.
        |out| unsafe {
            ffi::iree_hal_sync_device_create(
                string_view("local-sync"),
                &parameters,
                &create_parameters,
                loaders.len(),
                loaders.as_mut_ptr(),
                parts.allocator.object,
                host_allocator(),
                out,
            )
        },
    )
}

/// The group of just this device.
fn device_group(
    device: &Owned<sys::iree_hal_device_t>,
) -> Result<*mut sys::iree_hal_device_group_t> {
    let host = host_allocator();
    let tracker = create(
        "its frontier tracker",
        sys::iree_async_frontier_tracker_release,
        // SAFETY: plain values: the defaults of `frontier_tracker.h`, whose function for them
        // is inline and cannot be called from here.
        |out| unsafe {
            let options = sys::iree_async_frontier_tracker_options_t {
                axis_table_capacity: 256,
                session_epoch: 1,
                machine_index: 0,
            };
            sys::iree_async_frontier_tracker_create(options, host, out)
        },
    )?;
    let group = create(
        "its device group",
        sys::iree_hal_device_group_release,
        // SAFETY: device and tracker are alive, and retained by the group.
        |out| unsafe {
            sys::iree_hal_device_group_create_from_device(device.object, tracker.object, host, out)
        },
    )?;
    Ok(group.into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_checked() {
        for threads in [0, 257] {
            let error = Device::cpu(&CpuOptions { threads: Some(threads) }).unwrap_err();
            assert!(error.to_string().contains("1 to 256"), "{error}");
        }
    }

    #[test]
    fn as_many_threads_as_cores_by_default() {
        let device = Device::cpu(&CpuOptions::default()).unwrap();
        assert_eq!(device.threads(), available_cores());
        assert_eq!(device, device.clone());
        assert_ne!(device, Device::cpu(&CpuOptions::default()).unwrap());
    }
}
