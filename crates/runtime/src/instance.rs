//! The process' one VM instance.

use std::ptr;
use std::sync::OnceLock;

use eerie_sys::runtime as sys;

use crate::error::{Error, Result};
use crate::status::{check, host_allocator};

struct Instance(*mut sys::iree_vm_instance_t);

// SAFETY: IREE's VM instances are thread-safe (`iree/vm/instance.h`).
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// The VM instance, with the HAL's types registered. IREE keeps the registered types in globals
/// of the process, so that there can be one instance, which is never released.
pub(crate) fn instance() -> Result<*mut sys::iree_vm_instance_t> {
    static INSTANCE: OnceLock<Result<Instance, String>> = OnceLock::new();
    match INSTANCE.get_or_init(|| create().map_err(|error| error.to_string())) {
        Ok(instance) => Ok(instance.0),
        Err(message) => Err(Error::Runtime {
            action: "start its virtual machine".to_owned(),
            message: message.clone(),
        }),
    }
}

fn create() -> Result<Instance> {
    let mut instance = ptr::null_mut();
    // SAFETY: plain values and an out-parameter of ours.
    let status = unsafe {
        sys::iree_vm_instance_create(
            sys::IREE_VM_TYPE_CAPACITY_DEFAULT as usize,
            host_allocator(),
            &mut instance,
        )
    };
    check(status, || "create its virtual machine".to_owned())?;
    // SAFETY: the instance was created above; the one caller runs once in the process.
    let status = unsafe { sys::iree_hal_module_register_all_types(instance) };
    check(status, || "register its types".to_owned())?;
    Ok(Instance(instance))
}
