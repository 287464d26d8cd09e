// SPDX-License-Identifier: GPL-2.0-only

//! Whether bindgen (clang) and gcc agree about the structures that both touch.
//!
//! They read the same headers with almost the same options; "almost" is why this is checked, when
//! the module is loaded, for each line of `layout.list`.

use core::mem::offset_of;

/// Size of a structure and offset of one of its fields.
struct Field {
    name: &'static str,
    size: usize,
    offset: usize,
}

/// One line of `layout.list`.
macro_rules! field {
    ($structure:ident, $field:ident) => {
        Field {
            name: concat!(stringify!($structure), ".", stringify!($field)),
            size: size_of::<super::$structure>(),
            offset: offset_of!(super::$structure, $field),
        }
    };
}

static FIELDS: &[Field] = &include!(concat!(env!("COMPAT_GENERATED"), "/layout_list.rs"));

/// Compares every line of the list; hands the names of those that differ to `differs`.
pub fn check_layout(mut differs: impl FnMut(&'static str)) {
    for (at, field) in FIELDS.iter().enumerate() {
        // SAFETY: The function only reads a table, and takes any number.
        let agreed = unsafe {
            super::usb4_rxe_layout_agrees(
                at,
                field.name.as_ptr(),
                field.name.len(),
                field.size,
                field.offset,
            )
        };
        if !agreed {
            differs(field.name);
        }
    }
}
