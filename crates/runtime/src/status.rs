//! IREE's status objects and strings as Rust's.

use std::ffi::c_char;
use std::ptr;

use eerie_sys::runtime as sys;

use crate::error::{Error, Result};
use crate::ffi;

/// The longest status text kept, in characters; IREE appends a stack of its own.
const TEXT_LIMIT: usize = 1200;

/// The allocator given to IREE for its own objects.
pub(crate) fn host_allocator() -> sys::iree_allocator_t {
    sys::iree_allocator_t { self_: ptr::null_mut(), ctl: Some(ffi::iree_allocator_libc_ctl) }
}

/// A view of `text` for the duration of a call.
pub(crate) fn string_view(text: &str) -> sys::iree_string_view_t {
    sys::iree_string_view_t { data: text.as_ptr().cast(), size: text.len() }
}

/// A copy of what a view shows.
///
/// # Safety
/// The view is null, or shows bytes that are valid for the duration of the call.
pub(crate) unsafe fn text_of(view: sys::iree_string_view_t) -> String {
    if view.data.is_null() || view.size == 0 {
        return String::new();
    }
    // SAFETY: not null, and valid by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(view.data.cast::<u8>(), view.size) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Turns a status into a result and frees it; `action` completes "IREE cannot …".
pub(crate) fn check(status: sys::iree_status_t, action: impl FnOnce() -> String) -> Result<()> {
    if status.is_null() {
        return Ok(());
    }
    let allocator = host_allocator();
    let mut text: *mut c_char = ptr::null_mut();
    let mut length = 0;
    // SAFETY: the status is one that IREE returned and that nobody has freed, which every caller
    // passes on directly; the out-parameters are ours, and the text is freed with the
    // allocator that made it.
    let message = unsafe {
        let formatted = sys::iree_status_to_string(status, &allocator, &mut text, &mut length);
        let message = if formatted {
            text_of(sys::iree_string_view_t { data: text, size: length })
        } else {
            String::new()
        };
        sys::iree_allocator_free(allocator, text.cast());
        sys::iree_status_free(status);
        message
    };
    Err(Error::Runtime { action: action(), message: tidy(&message) })
}

/// Removes the C file and line that IREE puts first, and shortens.
fn tidy(message: &str) -> String {
    let message = message.trim();
    // `…/file.c:123: INVALID_ARGUMENT; text`
    let tidied = message
        .split_once(": ")
        .filter(|(place, _)| {
            place.rsplit_once(':').is_some_and(|(_, line)| line.parse::<u32>().is_ok())
        })
        .map_or(message, |(_, rest)| rest);
    if tidied.is_empty() {
        return "it gives no reason".to_owned();
    }
    tidied.chars().take(TEXT_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_c_files_are_removed() {
        assert_eq!(
            tidy("/a/b/c.c:123: INVALID_ARGUMENT; input0: wrong\n"),
            "INVALID_ARGUMENT; input0: wrong"
        );
        assert_eq!(tidy("NOT_FOUND: it"), "NOT_FOUND: it");
        assert_eq!(tidy(""), "it gives no reason");
        assert_eq!(tidy(&"x".repeat(5000)).len(), TEXT_LIMIT);
    }

    #[test]
    fn a_status_becomes_an_error() {
        check(ptr::null_mut(), || unreachable!()).unwrap();
        // SAFETY: both texts outlive the call; the status is handed on to `check`.
        let status = unsafe {
            sys::iree_status_allocate(
                sys::iree_status_code_e_IREE_STATUS_NOT_FOUND,
                c"file.c".as_ptr(),
                7,
                string_view("no such thing"),
            )
        };
        let error = check(status, || "look".to_owned()).unwrap_err().to_string();
        assert!(error.starts_with("IREE cannot look: NOT_FOUND"), "{error}");
        assert!(error.contains("no such thing"), "{error}");
    }
}
