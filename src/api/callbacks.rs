//! Wrappers through which the library calls the host's closures.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::host::{Event, LogLevel, Observer};
use crate::sender::{AccessRequest, Authorizer};

/// Receives events.
pub(super) type EventHandler = Box<dyn FnMut(&Event) + Send>;

/// Receives log records.
pub(super) type LogHandler = Box<dyn FnMut(LogLevel, &str, &Value) + Send>;

/// Decides about connections.
pub(super) type AuthorizeHandler = Box<dyn FnMut(&AccessRequest) + Send>;

/// Shut when a handle is dropped in one of its own callbacks; no callback begins after that.
#[derive(Clone, Default)]
pub(super) struct CallbackGate(Arc<AtomicBool>);

impl CallbackGate {
    pub(super) fn shut(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Calls the host and catches a panic, since the thread must continue. Returns the panic's text as the error.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| panic_text(&*payload))
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text");
    format!("the handler panicked: {text}")
}

/// The event and log handlers set on a builder.
#[derive(Default)]
pub(super) struct Handlers {
    pub(super) event: Option<EventHandler>,
    pub(super) log: Option<(LogLevel, LogHandler)>,
}

impl Handlers {
    pub(super) fn behind(self, gate: &CallbackGate) -> Box<dyn Observer> {
        Box::new(GatedHandlers { handlers: self, gate: gate.clone() })
    }
}

struct GatedHandlers {
    handlers: Handlers,
    gate: CallbackGate,
}

impl Observer for GatedHandlers {
    fn event(&mut self, event: &Event) {
        let Some(handler) = self.handlers.event.as_mut().filter(|_| !self.gate.is_shut()) else { return };
        // The panic hook has already reported the panic. Nothing depends on this handler.
        let _ = caught(|| handler(event));
    }

    fn log(&mut self, level: LogLevel, message: &str, fields: &Value) {
        match &mut self.handlers.log {
            Some((max_level, handler)) if level <= *max_level && !self.gate.is_shut() => {
                let _ = caught(|| handler(level, message, fields));
            }
            _ => {}
        }
    }

    fn max_level(&self) -> Option<LogLevel> {
        self.handlers.log.as_ref().map(|(max_level, _)| *max_level)
    }
}

/// An authorize handler behind the gate.
pub(super) struct GatedAuthorizer {
    pub(super) handler: AuthorizeHandler,
    pub(super) gate: CallbackGate,
}

impl Authorizer for GatedAuthorizer {
    fn authorize(&mut self, request: &AccessRequest) {
        if !self.gate.is_shut() {
            // A connection that gets no answer is refused in time.
            let _ = caught(|| (self.handler)(request));
        }
    }
}
