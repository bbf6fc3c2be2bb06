//! Functions of IREE's C runtime that `eerie-sys` links but does not bind, declared by hand.
//!
//! They follow IREE 3.13's headers `iree/task/executor.h`, `iree/task/topology.h`,
//! `iree/hal/drivers/local_task/task_device.h`, `iree/hal/drivers/local_sync/sync_device.h`, `iree/hal/local/executable_plugin_manager.h` and
//! `iree/base/allocator.h`; `eerie-sys` is pinned to the one version that contains these.

use std::ffi::c_void;

use eerie_sys::runtime as sys;

/// `iree_task_topology_t`: written by IREE only, hence opaque.
#[repr(C, align(8))]
pub(crate) struct TaskTopology([u8; TASK_TOPOLOGY_BYTES]);

/// The size of `iree_task_topology_t`: 16 bytes and 256 groups of 88.
const TASK_TOPOLOGY_BYTES: usize = 22_544;

impl TaskTopology {
    pub(crate) fn zeroed() -> Self {
        Self([0; TASK_TOPOLOGY_BYTES])
    }
}

/// `iree_task_executor_options_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct TaskExecutorOptions {
    pub(crate) scheduling_mode: u32,
    pub(crate) worker_base_index: usize,
    pub(crate) worker_spin_ns: i64,
    pub(crate) worker_stack_size: usize,
    pub(crate) worker_local_memory_size: usize,
}

/// `iree_hal_task_device_params_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct TaskDeviceParams {
    pub(crate) arena_block_size: usize,
    pub(crate) queue_scope_flags: u32,
    pub(crate) inline_transfer_threshold: u64,
}

/// `iree_hal_sync_device_params_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct SyncDeviceParams {
    pub(crate) arena_block_size: usize,
}

/// `iree_task_executor_t`.
#[repr(C)]
pub(crate) struct TaskExecutor {
    _opaque: [u8; 0],
}

// The headers' layouts, on the 64-bit machines IREE's compiler is distributed for.
const _: () = {
    assert!(size_of::<TaskTopology>() == 22_544 && align_of::<TaskTopology>() == 8);
    assert!(size_of::<TaskExecutorOptions>() == 40);
    assert!(std::mem::offset_of!(TaskExecutorOptions, worker_stack_size) == 24);
    assert!(size_of::<TaskDeviceParams>() == 24);
    assert!(size_of::<sys::iree_allocator_t>() == 16);
    assert!(size_of::<sys::iree_hal_executable_import_provider_t>() == 16);
};

unsafe extern "C" {
    /// The control function of the allocator that uses `malloc`.
    pub(crate) fn iree_allocator_libc_ctl(
        self_: *mut c_void,
        command: sys::iree_allocator_command_t,
        params: *const c_void,
        inout_ptr: *mut *mut c_void,
    ) -> sys::iree_status_t;

    pub(crate) fn iree_task_topology_initialize_from_group_count(
        group_count: usize,
        out_topology: *mut TaskTopology,
    );

    pub(crate) fn iree_task_topology_deinitialize(topology: *mut TaskTopology);

    pub(crate) fn iree_task_executor_options_initialize(out_options: *mut TaskExecutorOptions);

    pub(crate) fn iree_task_executor_create(
        options: TaskExecutorOptions,
        topology: *const TaskTopology,
        allocator: sys::iree_allocator_t,
        out_executor: *mut *mut TaskExecutor,
    ) -> sys::iree_status_t;

    pub(crate) fn iree_task_executor_release(executor: *mut TaskExecutor);

    pub(crate) fn iree_hal_task_device_params_initialize(out_params: *mut TaskDeviceParams);

    pub(crate) fn iree_hal_task_device_create(
        identifier: sys::iree_string_view_t,
        params: *const TaskDeviceParams,
        queue_count: usize,
        queue_executors: *const *mut TaskExecutor,
        loader_count: usize,
        loaders: *mut *mut sys::iree_hal_executable_loader_t,
        device_allocator: *mut sys::iree_hal_allocator_t,
        create_params: *const sys::iree_hal_device_create_params_t,
        host_allocator: sys::iree_allocator_t,
        out_device: *mut *mut sys::iree_hal_device_t,
    ) -> sys::iree_status_t;

    pub(crate) fn iree_hal_sync_device_params_initialize(out_params: *mut SyncDeviceParams);

    pub(crate) fn iree_hal_sync_device_create(
        identifier: sys::iree_string_view_t,
        params: *const SyncDeviceParams,
        create_params: *const sys::iree_hal_device_create_params_t,
        loader_count: usize,
        loaders: *mut *mut sys::iree_hal_executable_loader_t,
        device_allocator: *mut sys::iree_hal_allocator_t,
        host_allocator: sys::iree_allocator_t,
        out_device: *mut *mut sys::iree_hal_device_t,
    ) -> sys::iree_status_t;

    pub(crate) fn iree_hal_executable_plugin_manager_create(
        capacity: usize,
        host_allocator: sys::iree_allocator_t,
        out_manager: *mut *mut sys::iree_hal_executable_plugin_manager_t,
    ) -> sys::iree_status_t;

    pub(crate) fn iree_hal_executable_plugin_manager_release(
        manager: *mut sys::iree_hal_executable_plugin_manager_t,
    );

    pub(crate) fn iree_hal_executable_plugin_manager_register_provider(
        manager: *mut sys::iree_hal_executable_plugin_manager_t,
        provider: sys::iree_hal_executable_import_provider_t,
    ) -> sys::iree_status_t;
}
