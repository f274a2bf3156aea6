//! The checks around every call from C: NULL pointers, forks and panics.
//!
//! Every object that C holds has a [`HandleState`]. Checking it takes two relaxed loads, so the guard costs no system
//! call, lock or allocation as long as nothing is wrong.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::status::fail;
use crate::error::{Error, Result, Status};
use crate::forks::Maker;
use crate::memory::has_room;

/// The state of an object that C holds: which process created it, and the panic that poisoned it, if there was one.
pub(crate) struct HandleState {
    maker: Maker,
    poisoned: AtomicBool,
    panic: OnceLock<String>,
}

impl HandleState {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { maker: Maker::here()?, poisoned: AtomicBool::new(false), panic: OnceLock::new() })
    }

    #[inline]
    fn is_foreign(&self) -> bool {
        self.maker.is_foreign()
    }

    #[inline]
    fn is_open(&self) -> bool {
        !self.is_foreign() && !self.poisoned.load(Ordering::Relaxed)
    }

    /// For an object that is an argument of a call on another one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_open() { Ok(()) } else { Err(self.refusal()) }
    }

    #[cold]
    fn refusal(&self) -> Error {
        if let Err(forked) = self.maker.check() {
            return forked;
        }
        Error::new(Status::Panic, self.panic.get().map_or("an earlier call failed inside the library", String::as_str))
    }

    #[cold]
    fn poison(&self, payload: &(dyn Any + Send)) -> Error {
        let text = self.panic.get_or_init(|| panic_text(payload));
        self.poisoned.store(true, Ordering::Relaxed);
        Error::new(Status::Panic, text.as_str())
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a text");
    format!("internal error: {text}")
}

/// An object that C holds a pointer to.
pub(crate) trait Guarded {
    /// The name of that pointer in the header, for error texts.
    const NAME: &'static str;
    fn gate(&self) -> &HandleState;
}

/// Runs `call` on the object that `handle` points to, unless the checks fail. A panic becomes a status and poisons the
/// object.
///
/// # Safety
/// `handle` is NULL or points to an `H` that stays alive during the call.
#[inline]
pub(crate) unsafe fn guard<H: Guarded>(handle: *const H, call: impl FnOnce(&H) -> Result<()>) -> Status {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_ref() }) else {
        return fail(is_null(H::NAME));
    };
    let gate = handle.gate();
    if !gate.is_open() {
        return fail(gate.refusal());
    }
    match catch_unwind(AssertUnwindSafe(|| call(handle))) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(error)) => fail(error),
        Err(payload) => fail(gate.poison(&*payload)),
    }
}

/// Like [`guard`], for functions without a status: returns `otherwise` instead of an error.
///
/// # Safety
/// As for [`guard`].
#[inline]
pub(crate) unsafe fn query<H: Guarded, T>(handle: *const H, otherwise: T, call: impl FnOnce(&H) -> T) -> T {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle.as_ref() }) else {
        return otherwise;
    };
    let gate = handle.gate();
    if !gate.is_open() {
        return otherwise;
    }
    match catch_unwind(AssertUnwindSafe(|| call(handle))) {
        Ok(value) => value,
        Err(payload) => {
            fail(gate.poison(&*payload));
            otherwise
        }
    }
}

/// Runs a call that belongs to no object.
#[inline]
pub(crate) fn guard_free(call: impl FnOnce() -> Result<()>) -> Status {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(error)) => fail(error),
        Err(payload) => fail(Error::new(Status::Panic, panic_text(&*payload))),
    }
}

/// Creates an object for C. If that fails, it returns NULL and sets the thread's error text.
pub(crate) fn make<H>(call: impl FnOnce() -> Result<H>) -> *mut H {
    let mut made = std::ptr::null_mut();
    guard_free(|| {
        made = Box::into_raw(boxed(call()?)?);
        Ok(())
    });
    made
}

/// Allocates a box, or fails where `Box::new` would end the process. Then `value` is dropped.
pub(crate) fn boxed<T>(value: T) -> Result<Box<T>> {
    let mut place = Vec::new();
    place.try_reserve_exact(1).map_err(|_| Error::out_of_memory(format_args!("{} bytes", size_of::<T>())))?;
    place.push(value);
    let slice: *mut [T] = Box::into_raw(place.into_boxed_slice());
    // SAFETY: a slice of one `T` lies in memory as that `T` does, so its box may be taken for a box of the `T`.
    Ok(unsafe { Box::from_raw(slice.cast::<T>()) })
}

/// The memory that creating a sender or receiver needs besides what its options ask for, with a margin.
const HANDLE_BYTES: usize = 256 << 10;

/// Fails if there is no memory for a handle. A handle takes many small allocations, whose failure would end the
/// process.
pub(crate) fn room_for_a_handle() -> Result<()> {
    if has_room(HANDLE_BYTES) { Ok(()) } else { Err(Error::out_of_memory(format_args!("a handle"))) }
}

/// Takes the object back from C and hands it to `end`. In a forked child it is left alone: its threads and locks
/// stayed in the parent, so that taking it apart could hang.
///
/// # Safety
/// `handle` is NULL or came from [`make`] or `Box::into_raw`, and C does not use it again.
pub(crate) unsafe fn release<H: Guarded>(handle: *mut H, end: impl FnOnce(Box<H>)) {
    // SAFETY: the caller's promise.
    match unsafe { handle.as_ref() } {
        None => return,
        Some(alive) if alive.gate().is_foreign() => return,
        Some(_) => {}
    }
    guard_free(|| {
        // SAFETY: `handle` came from a box and nobody uses it any more.
        end(unsafe { Box::from_raw(handle) });
        Ok(())
    });
}

#[cold]
pub(crate) fn is_null(name: &str) -> Error {
    Error::new(Status::InvalidArgument, format!("{name} is NULL"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::ffi::status::last_error;

    struct Object {
        gate: HandleState,
        calls: AtomicU32,
    }

    impl Guarded for Object {
        const NAME: &'static str = "object";
        fn gate(&self) -> &HandleState {
            &self.gate
        }
    }

    fn object() -> Object {
        Object { gate: HandleState::new().unwrap(), calls: AtomicU32::new(0) }
    }

    fn count(object: &Object) -> Result<()> {
        object.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[test]
    fn null_is_refused_by_name() {
        // SAFETY: NULL is allowed.
        let status = unsafe { guard(std::ptr::null::<Object>(), count) };
        assert_eq!(status, Status::InvalidArgument);
        assert_eq!(last_error(), "object is NULL");
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { query(std::ptr::null::<Object>(), 7, |_| 8) }, 7);
        // SAFETY: NULL is allowed.
        unsafe { release(std::ptr::null_mut::<Object>(), |_| panic!("nothing to end")) };
    }

    #[test]
    fn p9_a_panic_becomes_a_status_and_poisons_the_object() {
        let object = object();
        // SAFETY: a reference is a valid pointer.
        let status = unsafe { guard(&object, |_| panic!("entry {} is missing", 7)) };
        assert_eq!(status, Status::Panic);
        assert_eq!(last_error(), "internal error: entry 7 is missing");
        fail(Error::new(Status::Io, "another error of this thread"));
        // SAFETY: a reference is a valid pointer.
        assert_eq!(unsafe { guard(&object, count) }, Status::Panic);
        assert_eq!(last_error(), "internal error: entry 7 is missing");
        // SAFETY: a reference is a valid pointer.
        assert_eq!(unsafe { query(&object, 1, |_| 2) }, 1);
        assert_eq!(object.calls.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_first_panic_is_the_one_that_is_told() {
        let object = object();
        // SAFETY: a reference is a valid pointer.
        assert_eq!(unsafe { query(&object, 1, |_| panic!("first")) }, 1);
        assert_eq!(object.gate.poison(&"second").message, "internal error: first");
        assert_eq!(object.gate.refusal().message, "internal error: first");
    }

    #[test]
    fn the_error_of_the_core_is_handed_on() {
        let object = object();
        // SAFETY: a reference is a valid pointer.
        let status = unsafe { guard(&object, |_| Err(Error::new(Status::AddressInUse, "port 7 is taken"))) };
        assert_eq!(status, Status::AddressInUse);
        assert_eq!(last_error(), "port 7 is taken");
        // SAFETY: a reference is a valid pointer.
        assert_eq!(unsafe { guard(&object, count) }, Status::Ok);
        assert_eq!(object.calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_without_an_object_is_a_status_too() {
        assert_eq!(guard_free(|| std::panic::panic_any(7_u8)), Status::Panic);
        assert_eq!(last_error(), "internal error: a panic without a text");
        assert!(make::<Object>(|| panic!("no object")).is_null());
        assert_eq!(last_error(), "internal error: no object");
    }

    #[test]
    fn an_object_of_another_process_is_refused_and_left_alone() {
        let foreign = Object {
            gate: HandleState { maker: Maker::elsewhere(), poisoned: AtomicBool::new(false), panic: OnceLock::new() },
            calls: AtomicU32::new(0),
        };
        let foreign = Box::into_raw(Box::new(foreign));
        // SAFETY: `foreign` is alive; `release` leaves it alone, so it can be taken back after it.
        let back = unsafe {
            assert_eq!(guard(foreign, count), Status::Forked);
            assert_eq!(query(foreign, 1, |_| 2), 1);
            release(foreign, |_| panic!("must not be ended here"));
            Box::from_raw(foreign)
        };
        assert_eq!(back.calls.load(Ordering::Relaxed), 0);
    }
}
