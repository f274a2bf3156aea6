//! # Access
//!
//! In `replication_access.h`.
//!
//! Who may follow a sender, what its readers may do, and whom a receiver takes for its writer.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::callbacks::{Callback, Muted};
use super::status::c_string;
use crate::sender::{AccessRequest, Authorizer};

/// A connection that asks to follow, about which the host decides. New fields are only added at the end. Strings are never
/// NULL.
#[repr(C)]
pub struct AccessRequestView {
    /// sizeof(replication_access_request) in the library; read no field beyond it.
    pub struct_size: usize,
    /// What sender_authorize() names it by.
    pub ticket: u64,
    /// The id that the reader claims.
    pub reader_id: *const c_char,
    /// The peer's address.
    pub address: *const c_char,
    /// Who the peer is, as far as the connection proves it, or "none". See docs/events.md.
    pub identity: *const c_char,
    /// The 16 bytes of the stream that the reader's position belongs to; NULL if it names none.
    pub stream_id: *const u8,
    /// The latest epoch that the reader has seen; 0 if it names none.
    pub epoch: u64,
    /// The last entry that the reader has.
    pub sequence: u64,
    /// What it may have at most, a sum of replication_right numbers: what the access rules give it, or all rights without
    /// rules.
    pub rights: u32,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the host handed it over.
    pub handed: bool,
}

/// Decides about a connection: calls sender_authorize() with the request's ticket, before it returns or later. The request
/// lives as long as the call.
pub type AuthorizeFn = Option<unsafe extern "C" fn(user_data: *mut c_void, request: *const AccessRequestView)>;

/// Passes requests to the host.
pub(crate) struct HostAuthorizer {
    pub(crate) callback: Arc<Callback<AuthorizeFn>>,
    pub(crate) muted: Muted,
}

impl Authorizer for HostAuthorizer {
    fn authorize(&mut self, request: &AccessRequest) {
        if self.muted.is_muted() {
            return;
        }
        let reader_id = c_string(request.reader_id.as_str());
        let address = c_string(request.address.as_str());
        let identity = c_string(request.identity.as_str());
        let view = AccessRequestView {
            struct_size: size_of::<AccessRequestView>(),
            ticket: request.ticket,
            reader_id: reader_id.as_ptr(),
            address: address.as_ptr(),
            identity: identity.as_ptr(),
            stream_id: request.stream_id.as_ref().map_or(std::ptr::null(), |id| id.as_ptr()),
            epoch: request.epoch,
            sequence: request.sequence,
            rights: request.rights.bits(),
            tls: request.tls,
            handed: request.handed,
        };
        let (call, user_data) = self.callback.parts();
        // SAFETY: the function and its data were registered together; the view and its texts outlive the call.
        unsafe { call(user_data, &view) };
    }
}
