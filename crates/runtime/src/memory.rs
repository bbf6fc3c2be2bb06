//! Memory of this process as IREE's buffers.

use std::any::Any;
use std::ptr;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use eerie_sys::runtime as sys;
use memmap2::{Mmap, MmapMut};
use stablemate_graph::ElementType;

use crate::device::Device;
use crate::element;
use crate::error::{Error, Result};
use crate::status::{check, host_allocator};

/// The alignment in bytes of every buffer's memory, but for buffers imported as they lie: compiled code
/// assumes it.
pub const ALIGNMENT: usize = sys::IREE_HAL_HEAP_BUFFER_ALIGNMENT as usize;

/// From this size on, a buffer gets pages of its own, large ones where the system has them.
const OWN_PAGES: usize = 2 << 20;

/// A buffer of `bytes`, which are part of `map`; for reading only. Compiled code needs them aligned.
pub(crate) fn mapped(device: &Device, map: &Arc<Mmap>, bytes: &[u8]) -> Result<RawBuffer> {
    let data = bytes.as_ptr().cast_mut();
    // SAFETY: the pages belong to the map, which the buffer then holds. The system lets nobody write
    // them, whatever code IREE runs.
    unsafe { RawBuffer::adopt(device, data, bytes.len(), Access::Read, Box::new(map.clone())) }
}

/// 64 aligned bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; ALIGNMENT]);

/// Memory of a buffer of ours.
pub(crate) enum OwnMemory {
    Lines(Vec<Line>),
    Pages(MmapMut),
}

/// How much of a buffer's memory will be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Whole,
    /// Perhaps only some.
    AsTouched,
}

impl OwnMemory {
    /// At least `bytes` zeros, and at least one.
    pub(crate) fn zeroed(bytes: usize, extent: Extent) -> Result<Self> {
        if bytes < OWN_PAGES {
            let lines = bytes.div_ceil(ALIGNMENT).max(1);
            return Ok(Self::Lines(vec![Line::zeroed(); lines]));
        }
        let pages = MmapMut::map_anon(bytes).map_err(|error| Error::Runtime {
            action: format!("get {bytes} bytes of memory"),
            message: error.to_string(),
        })?;
        // Large pages make reading gigabytes of weights cheaper. Not every system has them.
        #[cfg(target_os = "linux")]
        if extent == Extent::Whole
            && let Err(error) = pages.advise(memmap2::Advice::HugePage)
        {
            tracing::debug!(%error, "no large pages");
        }
        Ok(Self::Pages(pages))
    }

    /// The first `bytes` bytes.
    pub(crate) fn as_mut_slice(&mut self, bytes: usize) -> &mut [u8] {
        let all: &mut [u8] = match self {
            Self::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Self::Pages(pages) => pages,
        };
        all.get_mut(..bytes).unwrap_or_default()
    }

    /// A buffer of the first `bytes` bytes.
    pub(crate) fn into_buffer(mut self, device: &Device, bytes: usize) -> Result<RawBuffer> {
        let data = self.as_mut_slice(bytes).as_mut_ptr();
        // SAFETY: moving the vector or the map does not move what they point to, which nobody
        // else reaches.
        unsafe { RawBuffer::adopt(device, data, bytes, Access::Any, Box::new(self)) }
    }
}

/// Memory that buffers are cut from, one after the other, and that lives as long as any of them. One stretch of large
/// pages: reading gigabytes of weights from small ones costs a tenth of the speed.
pub struct Arena {
    device: Device,
    pages: Arc<MmapMut>,
    /// Where the pages begin. Parts from `used` on belong to nobody yet.
    start: *mut u8,
    used: usize,
}

// SAFETY: the pointer is to the pages that it holds; parts are handed out through `&mut self` only.
unsafe impl Send for Arena {}

impl Device {
    /// An arena of `bytes`, which take no memory before they are written.
    ///
    /// # Errors
    /// [`Error::Runtime`] when the system refuses.
    pub fn arena(&self, bytes: usize) -> Result<Arena> {
        let mut pages = match OwnMemory::zeroed(bytes.max(OWN_PAGES), Extent::Whole)? {
            OwnMemory::Pages(pages) => pages,
            OwnMemory::Lines(_) => unreachable!("so many bytes get pages"),
        };
        let start = pages.as_mut_ptr();
        Ok(Arena { device: self.clone(), pages: Arc::new(pages), start, used: 0 })
    }
}

impl Arena {
    /// Whether [`Self::cut`] has as many bytes left.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.used.checked_add(bytes).is_some_and(|end| end <= self.pages.len())
    }

    /// The next `bytes` bytes, zero so far, filled.
    ///
    /// # Errors
    /// Those of `fill`; [`Error::Runtime`], also where there is no room.
    pub(crate) fn cut<E: From<Error>>(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<RawBuffer, E> {
        if !self.has_room(bytes) {
            let action = format!("cut {bytes} bytes from an arena");
            return Err(Error::Runtime { action, message: "it is full".to_owned() }.into());
        }
        let begin = self.used;
        self.used = (begin + bytes).next_multiple_of(ALIGNMENT);
        // SAFETY: inside the pages, as was just checked, and nobody else's: parts do not overlap.
        let part = unsafe { std::slice::from_raw_parts_mut(self.start.add(begin), bytes) };
        fill(part)?;
        let (data, keep) = (part.as_mut_ptr(), Box::new(self.pages.clone()));
        // SAFETY: the part belongs to the pages, which the buffer then holds, and is used by it alone.
        Ok(unsafe { RawBuffer::adopt(&self.device, data, bytes, Access::Any, keep) }?)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}

/// A reference to an IREE buffer.
pub(crate) struct RawBuffer(*mut sys::iree_hal_buffer_t);

impl Drop for RawBuffer {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { sys::iree_hal_buffer_release(self.0) };
    }
}

impl RawBuffer {
    /// A buffer of the `bytes` bytes at `data`; `owner` is dropped with the last reference to it.
    ///
    /// # Safety
    /// The bytes are valid, and with [`Access::Any`] ours to write, until `owner` is dropped.
    unsafe fn adopt(
        device: &Device,
        data: *mut u8,
        bytes: usize,
        access: Access,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        // Boxed once more: IREE keeps one thin pointer.
        let owner = Box::into_raw(Box::new(owner));
        let mut external = sys::iree_hal_external_buffer_t {
            type_:
                sys::iree_hal_external_buffer_type_e_IREE_HAL_EXTERNAL_BUFFER_TYPE_HOST_ALLOCATION,
            flags: 0,
            size: bytes as sys::iree_device_size_t,
            handle: sys::iree_hal_external_buffer_t__bindgen_ty_1 {
                host_allocation: sys::iree_hal_external_buffer_t__bindgen_ty_1__bindgen_ty_1 {
                    ptr: data.cast(),
                },
            },
        };
        let callback = sys::iree_hal_buffer_release_callback_t {
            fn_: Some(release_owner),
            user_data: owner.cast(),
        };
        let mut buffer = ptr::null_mut();
        // SAFETY: the memory is valid by this function's contract until the callback drops its
        // owner, which IREE calls once, when the last reference to the buffer goes.
        let status = unsafe {
            sys::iree_hal_allocator_import_buffer(
                device.allocator(),
                parameters(access),
                &mut external,
                callback,
                &mut buffer,
            )
        };
        let imported = check(status, || format!("use {bytes} bytes of memory"));
        if let Err(error) = imported {
            // SAFETY: the import failed, so that IREE does not have the owner.
            drop(unsafe { Box::from_raw(owner) });
            return Err(error);
        }
        Ok(Self(buffer))
    }

    /// A view of this buffer, which is as large as the shape, as a tensor; it holds the buffer.
    pub(crate) fn view(
        &self,
        element: ElementType,
        shape: &[usize],
    ) -> Result<*mut sys::iree_hal_buffer_view_t> {
        let dimensions: Vec<_> =
            shape.iter().map(|dimension| *dimension as sys::iree_hal_dim_t).collect();
        let mut view = ptr::null_mut();
        // SAFETY: the buffer is alive, and the shape is copied.
        let status = unsafe {
            sys::iree_hal_buffer_view_create(
                self.0,
                dimensions.len(),
                dimensions.as_ptr(),
                element::to_iree(element),
                sys::iree_hal_encoding_types_t_IREE_HAL_ENCODING_TYPE_DENSE_ROW_MAJOR
                    as sys::iree_hal_encoding_type_t,
                host_allocator(),
                &mut view,
            )
        };
        check(status, || format!("describe a buffer {element}{shape:?}"))?;
        Ok(view)
    }
}

/// What IREE may do with memory.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Any,
}

fn parameters(access: Access) -> sys::iree_hal_buffer_params_t {
    let access = match access {
        // Our callers decide what may be unaligned; without this IREE refuses it.
        Access::Read => {
            sys::iree_hal_memory_access_bits_t_IREE_HAL_MEMORY_ACCESS_READ
                | sys::iree_hal_memory_access_bits_t_IREE_HAL_MEMORY_ACCESS_UNALIGNED
        }
        Access::Any => sys::iree_hal_memory_access_bits_t_IREE_HAL_MEMORY_ACCESS_ALL,
    };
    // Bindgen's type of an enumeration differs between C compilers, hence the casts.
    sys::iree_hal_buffer_params_t {
        usage: (sys::iree_hal_buffer_usage_bits_t_IREE_HAL_BUFFER_USAGE_DEFAULT
            | sys::iree_hal_buffer_usage_bits_t_IREE_HAL_BUFFER_USAGE_MAPPING)
            as sys::iree_hal_buffer_usage_t,
        access: access as sys::iree_hal_memory_access_t,
        type_: (sys::iree_hal_memory_type_bits_t_IREE_HAL_MEMORY_TYPE_HOST_LOCAL
            | sys::iree_hal_memory_type_bits_t_IREE_HAL_MEMORY_TYPE_DEVICE_VISIBLE)
            as sys::iree_hal_memory_type_t,
        queue_affinity: 0,
        min_alignment: 0,
    }
}

/// Called by IREE, on any thread, when the last reference to adopted memory goes.
unsafe extern "C" fn release_owner(
    owner: *mut std::ffi::c_void,
    _buffer: *mut sys::iree_hal_buffer_t,
) {
    // SAFETY: `adopt` made this pointer of a box of this type, and IREE calls this once.
    drop(unsafe { Box::from_raw(owner.cast::<Box<dyn Any + Send + Sync>>()) });
}
