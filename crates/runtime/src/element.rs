//! Element types in Rust and in IREE.

use eerie_sys::runtime as sys;
use half::{bf16, f16};
use stablemate_graph::ElementType;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type whose values can be the elements of a [`crate::Buffer`].
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// The element type of a buffer made from values of this type.
    const TYPE: ElementType;

    /// Whether the elements of a buffer of this type may be read and written as this Rust type.
    fn holds(element: ElementType) -> bool {
        element == Self::TYPE
    }
}

macro_rules! element {
    ($($rust:ty: $element:ident),*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const TYPE: ElementType = ElementType::$element;
        }
    )*};
}

element!(f32: F32, f16: F16, bf16: Bf16, i8: I8, i16: I16, i32: I32, i64: I64);

impl sealed::Sealed for u8 {}
/// Bytes: `I8` without its sign (of packed weights, say), and `I1` (0 and 1).
impl Element for u8 {
    const TYPE: ElementType = ElementType::I8;

    fn holds(element: ElementType) -> bool {
        matches!(element, ElementType::I8 | ElementType::I1)
    }
}

/// IREE's number of an element type.
pub(crate) fn to_iree(element: ElementType) -> sys::iree_hal_element_type_t {
    let number = match element {
        ElementType::F32 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_FLOAT_32,
        ElementType::F16 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_FLOAT_16,
        ElementType::Bf16 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_BFLOAT_16,
        ElementType::I1 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_BOOL_8,
        ElementType::I8 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_INT_8,
        ElementType::I16 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_INT_16,
        ElementType::I32 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_INT_32,
        ElementType::I64 => sys::iree_hal_element_types_t_IREE_HAL_ELEMENT_TYPE_INT_64,
    };
    // Bindgen's type of an enumeration differs between C compilers.
    number as sys::iree_hal_element_type_t
}

/// Every element type.
pub(crate) const ALL: [ElementType; 8] = [
    ElementType::F32,
    ElementType::F16,
    ElementType::Bf16,
    ElementType::I1,
    ElementType::I8,
    ElementType::I16,
    ElementType::I32,
    ElementType::I64,
];

/// The element type with IREE's number, if it is one of ours.
pub(crate) fn from_iree(number: sys::iree_hal_element_type_t) -> Option<ElementType> {
    ALL.into_iter().find(|element| to_iree(*element) == number)
}

/// The element type that StableHLO's text writes so, if it is one of ours.
pub(crate) fn from_text(text: &str) -> Option<ElementType> {
    ALL.into_iter().find(|element| element.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_inverse() {
        for element in ALL {
            assert_eq!(from_iree(to_iree(element)), Some(element));
            assert_eq!(from_text(&element.to_string()), Some(element));
        }
        assert_eq!(from_iree(0), None);
        assert_eq!(from_text("f64"), None);
    }

    #[test]
    fn bytes_serve_for_booleans() {
        assert!(u8::holds(ElementType::I1) && u8::holds(ElementType::I8));
        assert!(!i8::holds(ElementType::I1) && !f32::holds(ElementType::I32));
    }
}
