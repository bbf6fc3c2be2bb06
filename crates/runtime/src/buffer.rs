//! Tensors in the device's memory.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use eerie_sys::runtime as sys;
use memmap2::Mmap;
use stablemate_graph::ElementType;

use crate::device::Device;
use crate::element::{self, Element};
use crate::error::{Error, Result};
use crate::memory::{self, ALIGNMENT, Arena, Extent, OwnMemory, RawBuffer};
use crate::status::check;

/// A tensor: dense, row-major, 64-byte aligned (but for [`Buffer::import_unaligned`]), in the memory of a
/// [`Device`].
///
/// Clones are the same tensor. A function that declares an argument as donated
/// ([`crate::Tensor::donated_to`]) overwrites that argument's memory, whoever holds it; whoever needs
/// the old contents makes a [`Buffer::copy`] before. Reading or writing a buffer while a call
/// that writes it runs on another thread gives a mixture of old and new.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

struct Inner {
    view: *mut sys::iree_hal_buffer_view_t,
    element: ElementType,
    shape: Vec<usize>,
    bytes: usize,
    /// What the memory may belong to (a session's constants). Released after the view.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
    /// The device outlives everything made by it.
    device: Device,
}

// SAFETY: IREE's buffers and buffer views are thread-safe: immutable but for their atomic reference
// counts; the contents are reached only through IREE's mapping functions.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: this reference is ours, and the device is still alive.
        unsafe { sys::iree_hal_buffer_view_release(self.view) };
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({}{:?})", self.0.element, self.0.shape)
    }
}

impl Device {
    /// A new buffer whose bytes `fill` writes where they will stay. They are zero before.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Runtime`], and those of `fill`.
    pub fn buffer<E: From<Error>>(
        &self,
        element: ElementType,
        shape: &[usize],
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Buffer, E> {
        let bytes = byte_count(element, shape)?;
        let mut memory = OwnMemory::zeroed(bytes, Extent::Whole)?;
        fill(memory.as_mut_slice(bytes))?;
        let buffer = memory.into_buffer(self, bytes)?;
        Ok(Buffer::describe(self, buffer, element, shape, bytes)?)
    }
}

impl Arena {
    /// As [`Device::buffer`], cut from this arena; a buffer of its own where there is no room left.
    ///
    /// # Errors
    /// Those of [`Device::buffer`].
    pub fn buffer<E: From<Error>>(
        &mut self,
        element: ElementType,
        shape: &[usize],
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Buffer, E> {
        let bytes = byte_count(element, shape)?;
        if !self.has_room(bytes) {
            return self.device().buffer(element, shape, fill);
        }
        let part = self.cut(bytes, fill)?;
        Ok(Buffer::describe(self.device(), part, element, shape, bytes)?)
    }
}

impl Buffer {
    /// A buffer of zeros. From 2 MiB on, it takes no memory before it is written, and then about as much
    /// as is written.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Runtime`].
    pub fn zeros(device: &Device, element: ElementType, shape: &[usize]) -> Result<Self> {
        let bytes = byte_count(element, shape)?;
        // Small pages, so that a cache takes memory as it fills.
        let buffer = OwnMemory::zeroed(bytes, Extent::AsTouched)?.into_buffer(device, bytes)?;
        Self::describe(device, buffer, element, shape, bytes)
    }

    /// A buffer with a copy of `values`, of the element type of `T`.
    ///
    /// # Errors
    /// [`Error::ByteCount`] when the shape has another number of elements; [`Error::Runtime`].
    pub fn from_slice<T: Element>(device: &Device, shape: &[usize], values: &[T]) -> Result<Self> {
        Self::from_bytes(device, T::TYPE, shape, bytemuck::cast_slice(values))
    }

    /// A buffer with a copy of `bytes`, little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`Error::ByteCount`] when the shape takes another number of bytes; [`Error::Runtime`].
    pub fn from_bytes(
        device: &Device,
        element: ElementType,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Self> {
        check_byte_count(element, shape, bytes.len())?;
        device.buffer(element, shape, |memory| {
            memory.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// A buffer of the bytes `range` of a mapped file, for reading only: without a copy when they lie
    /// 64-byte aligned ([`ALIGNMENT`]), else with one. The map is kept as long as needed.
    ///
    /// Passing it for an argument that is declared as donated is an error. A function that updates
    /// an argument without declaring so cannot be told from others, and makes the system end
    /// this process.
    ///
    /// # Errors
    /// [`Error::MapRange`] when the map does not have these bytes; [`Error::ByteCount`] when the shape
    /// takes another number of them; [`Error::Runtime`].
    pub fn import(
        device: &Device,
        element: ElementType,
        shape: &[usize],
        map: &Arc<Mmap>,
        range: Range<usize>,
    ) -> Result<Self> {
        let bytes = mapped_bytes(element, shape, map, range)?;
        if bytes.is_empty() || !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Self::from_bytes(device, element, shape, bytes);
        }
        let buffer = memory::mapped(device, map, bytes)?;
        Self::describe(device, buffer, element, shape, bytes.len())
    }

    /// A buffer of the bytes `range` of a mapped file, for reading only and never a copy, wherever they
    /// lie: for arguments that only native kernels read ([`stablemate_graph::Module::native_arguments`]).
    ///
    /// Code made by the compiler assumes 64-byte alignment: passed for an argument that such code reads, a
    /// misaligned buffer makes the system end this process. On a device without kernels
    /// ([`Device::cpu`]) this is [`Buffer::import`].
    ///
    /// # Errors
    /// As [`Buffer::import`].
    pub fn import_unaligned(
        device: &Device,
        element: ElementType,
        shape: &[usize],
        map: &Arc<Mmap>,
        range: Range<usize>,
    ) -> Result<Self> {
        if !device.has_kernels() {
            return Self::import(device, element, shape, map, range);
        }
        let bytes = mapped_bytes(element, shape, map, range)?;
        if bytes.is_empty() {
            return Self::from_bytes(device, element, shape, bytes);
        }
        let buffer = memory::mapped(device, map, bytes)?;
        Self::describe(device, buffer, element, shape, bytes.len())
    }

    /// The tensor in `buffer`.
    fn describe(
        device: &Device,
        buffer: RawBuffer,
        element: ElementType,
        shape: &[usize],
        bytes: usize,
    ) -> Result<Self> {
        let view = buffer.view(element, shape)?;
        Ok(Self(Arc::new(Inner {
            view,
            element,
            shape: shape.to_vec(),
            bytes,
            _keep: None,
            device: device.clone(),
        })))
    }

    /// A new buffer with the same contents.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn copy(&self) -> Result<Self> {
        self.0.device.buffer(self.0.element, &self.0.shape, |memory| self.read_bytes(0, memory))
    }

    /// The elements, row-major.
    ///
    /// # Errors
    /// [`Error::ElementMismatch`] when `T` is not the type of the elements; [`Error::Runtime`].
    pub fn read<T: Element>(&self) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.elements()];
        self.read_into(0, &mut values)?;
        Ok(values)
    }

    /// Reads the elements from the one numbered `start` (row-major) on into `values`.
    ///
    /// # Errors
    /// [`Error::ElementMismatch`] when `T` is not the type of the elements; [`Error::ByteCount`] when
    /// there are not as many; [`Error::Runtime`].
    pub fn read_into<T: Element>(&self, start: usize, values: &mut [T]) -> Result<()> {
        let offset = self.offset::<T>(start, values.len())?;
        self.read_bytes(offset, bytemuck::cast_slice_mut(values))
    }

    /// Writes `values` over the elements from the one numbered `start` (row-major) on.
    ///
    /// # Errors
    /// [`Error::ElementMismatch`] when `T` is not the type of the elements; [`Error::ByteCount`] when
    /// there are not as many; [`Error::Runtime`], also for imported memory.
    pub fn write<T: Element>(&self, start: usize, values: &[T]) -> Result<()> {
        let offset = self.offset::<T>(start, values.len())?;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the buffer is alive, the source has as many bytes as is said, and IREE checks the
        // range and the right to write.
        let status = unsafe {
            sys::iree_hal_buffer_map_write(
                self.raw(),
                offset as sys::iree_device_size_t,
                bytes.as_ptr().cast(),
                bytes.len() as sys::iree_device_size_t,
            )
        };
        check(status, || format!("write {self:?}"))
    }

    /// Copies `count` elements from the one numbered `from` (row-major) on over those from `to` on.
    ///
    /// # Errors
    /// [`Error::ByteCount`] when the buffer does not have as many; [`Error::Runtime`] when both ranges
    /// overlap, and for imported memory.
    pub fn copy_within(&self, from: usize, to: usize, count: usize) -> Result<()> {
        let (from, to) = (self.byte(from, count)?, self.byte(to, count)?);
        // SAFETY: the buffer is alive, and IREE checks both ranges, that they are disjoint, and the
        // right to write.
        let status = unsafe {
            sys::iree_hal_buffer_map_copy(
                self.raw(),
                from as sys::iree_device_size_t,
                self.raw(),
                to as sys::iree_device_size_t,
                (count * self.0.element.bytes()) as sys::iree_device_size_t,
            )
        };
        check(status, || format!("copy within {self:?}"))
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.0.element
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Takes over a buffer view that a call returned; `keep` is what its memory may belong to.
    /// `Err` says what it is when it is of a type that we do not hold.
    ///
    /// # Safety
    /// `view` is a reference to a live buffer view on `device`, which passes to the new buffer.
    pub(crate) unsafe fn from_view(
        view: *mut sys::iree_hal_buffer_view_t,
        device: &Device,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, String> {
        // SAFETY: the view is live, and its dimensions are as many as its rank.
        let (number, shape) = unsafe {
            let rank = sys::iree_hal_buffer_view_shape_rank(view);
            let dimensions = sys::iree_hal_buffer_view_shape_dims(view);
            let shape = if rank == 0 {
                Vec::new()
            } else {
                std::slice::from_raw_parts(dimensions, rank).to_vec()
            };
            (sys::iree_hal_buffer_view_element_type(view), shape)
        };
        let described = element::from_iree(number)
            .and_then(|element| Some((element, byte_count(element, &shape).ok()?)));
        let Some((element, bytes)) = described else {
            // SAFETY: the reference is ours by this function's contract.
            unsafe { sys::iree_hal_buffer_view_release(view) };
            return Err(format!("a tensor of IREE's element type {number:#010x}"));
        };
        Ok(Self(Arc::new(Inner {
            view,
            element,
            shape,
            bytes,
            _keep: Some(keep),
            device: device.clone(),
        })))
    }

    /// The buffer view, valid as long as this buffer.
    pub(crate) fn view(&self) -> *mut sys::iree_hal_buffer_view_t {
        self.0.view
    }

    /// Whether the memory may only be read.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: the buffer is alive.
        let access = unsafe { sys::iree_hal_buffer_allowed_access(self.raw()) };
        let write = sys::iree_hal_memory_access_bits_t_IREE_HAL_MEMORY_ACCESS_WRITE
            as sys::iree_hal_memory_access_t;
        access & write == 0
    }

    fn raw(&self) -> *mut sys::iree_hal_buffer_t {
        // SAFETY: the view is alive, and it holds the buffer.
        unsafe { sys::iree_hal_buffer_view_buffer(self.0.view) }
    }

    fn elements(&self) -> usize {
        self.0.shape.iter().product()
    }

    /// The byte at which the element `start` begins, when `count` elements of type `T` follow it.
    fn offset<T: Element>(&self, start: usize, count: usize) -> Result<usize> {
        if !T::holds(self.0.element) {
            return Err(Error::ElementMismatch {
                element: self.0.element,
                given: std::any::type_name::<T>(),
            });
        }
        self.byte(start, count)
    }

    /// The byte at which the element `start` begins, when `count` elements follow it.
    fn byte(&self, start: usize, count: usize) -> Result<usize> {
        let end = start.checked_add(count);
        if end.is_none_or(|end| end > self.elements()) {
            return Err(Error::ByteCount {
                element: self.0.element,
                shape: self.0.shape.clone(),
                expected: self.0.bytes,
                given: end.unwrap_or(usize::MAX).saturating_mul(self.0.element.bytes()),
            });
        }
        // Both fit: they are no more than the buffer has.
        Ok(start * self.0.element.bytes())
    }

    /// Reads bytes, whatever the type of the elements, from the byte `offset` on.
    ///
    /// # Errors
    /// [`Error::Runtime`], also when there are not as many.
    pub fn read_bytes(&self, offset: usize, memory: &mut [u8]) -> Result<()> {
        if memory.is_empty() {
            return Ok(());
        }
        // SAFETY: the buffer is alive, the destination has as many bytes as is said, and IREE
        // checks the range.
        let status = unsafe {
            sys::iree_hal_buffer_map_read(
                self.raw(),
                offset as sys::iree_device_size_t,
                memory.as_mut_ptr().cast(),
                memory.len() as sys::iree_device_size_t,
            )
        };
        check(status, || format!("read {self:?}"))
    }
}

/// The bytes `range` of a map, which are as many as the shape takes.
fn mapped_bytes<'m>(
    element: ElementType,
    shape: &[usize],
    map: &'m Mmap,
    range: Range<usize>,
) -> Result<&'m [u8]> {
    let bytes = map.get(range.clone()).ok_or(Error::MapRange {
        start: range.start,
        end: range.end,
        length: map.len(),
    })?;
    check_byte_count(element, shape, bytes.len())?;
    Ok(bytes)
}

/// The bytes that a tensor takes.
fn byte_count(element: ElementType, shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(element.bytes(), |bytes, dimension| bytes.checked_mul(*dimension))
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| Error::TooLarge { element, shape: shape.to_vec() })
}

fn check_byte_count(element: ElementType, shape: &[usize], given: usize) -> Result<()> {
    let expected = byte_count(element, shape)?;
    if expected == given {
        return Ok(());
    }
    Err(Error::ByteCount { element, shape: shape.to_vec(), expected, given })
}
