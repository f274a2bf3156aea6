//! The `expect` steps, which wait until the expectation is met.

use std::time::{Duration, Instant};

use replication::{EventKind, LogLevel, Status};
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::objects::{Taken, level_name, named};
use crate::options::{number, text, unhex};
use crate::scenario::{Scenario, status};
use crate::steps::pattern;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Scenario<'_> {
    pub fn expect_step(&mut self, verb: &str, step: &Value) {
        let what = step.to_string();
        match verb {
            "entries" => self.expect_entries(step),
            "payloads" => {
                let wanted: Vec<_> = step["payloads"].as_array().unwrap().iter().map(unhex).collect();
                let taken = &named(&self.readers, &step["on"]).host.taken;
                until(&what, || taken.lock().unwrap().iter().map(|entry| &entry.payload).eq(&wanted));
            }
            "get" => until(&what, || self.get(step) == step["equals"]),
            "option" => assert_eq!(Value::from(self.option(step)), step["equals"], "{what}"),
            "stat" => until(&what, || {
                let found = self.stats(step);
                match step.get("equals") {
                    Some(equals) => found.as_ref() == Some(equals),
                    None => found.and_then(|it| it.as_f64()) >= step["at_least"].as_f64(),
                }
            }),
            "keys" => until(&what, || {
                let found = self.stats(step);
                let has = |key: &Value| found.as_ref().is_some_and(|found| found.get(text(key)).is_some());
                step["keys"].as_array().unwrap().iter().all(has)
            }),
            "event" => {
                let wanted = step.get("at_least").map_or(1, number) as usize;
                until(&what, || self.ears(step).count(step) >= wanted);
            }
            "log" => until(&what, || self.ears(step).has_logged(step)),
            "acked" => {
                let order = named(&self.orders, &step["on"]);
                until(&what, || order.ended().is_some());
                assert_eq!(order.ended(), Some(status(&step["status"])));
            }
            "stopped_inside" => {
                let stopped = || match self.is_sender(step) {
                    true => named(&self.writers, &step["on"]).heard.own.stopped(),
                    false => named(&self.readers, &step["on"]).host.own.stopped(),
                };
                until(&what, || stopped().is_some());
                assert_eq!(stopped(), Some(status(&step["status"])));
            }
            _ => panic!("unknown verb expect.{verb}"),
        }
    }

    fn expect_entries(&self, step: &Value) {
        let range = |range: &Value| {
            let bytes = range.get(2).map_or(64, number);
            (number(&range[0])..=number(&range[1])).map(move |sequence| (sequence, bytes))
        };
        let wanted: Vec<_> = step["entries"].as_array().unwrap().iter().flat_map(range).collect();
        let taken = &named(&self.readers, &step["on"]).host.taken;
        until(&step.to_string(), || taken.lock().unwrap().len() >= wanted.len());
        let taken = taken.lock().unwrap();
        assert_eq!(taken.len(), wanted.len(), "too many entries");
        for (Taken { sequence, payload }, (wanted, bytes)) in taken.iter().zip(wanted) {
            assert_eq!(*sequence, wanted);
            assert!(*payload == pattern(wanted, bytes), "the payload of entry {sequence} is another one");
        }
    }

    fn get(&self, step: &Value) -> Value {
        match text(&step["what"]) {
            "current_sequence" => json!(self.sender(step).current_sequence()),
            "reader_count" => json!(self.sender(step).reader_count()),
            "last_sequence" => json!(self.receiver(step).last_sequence()),
            "is_connected" => json!(self.receiver(step).is_connected()),
            other => panic!("unknown question {other}"),
        }
    }

    /// Reads an option back.
    fn option(&self, step: &Value) -> u64 {
        let name = text(&step["name"]);
        if self.is_sender(step) { self.sender(step).option(name) } else { self.receiver(step).option(name) }.unwrap()
    }

    /// Returns the statistics at the step's path, if they have that path yet.
    fn stats(&self, step: &Value) -> Option<Value> {
        let stats = if self.is_sender(step) { self.sender(step).stats() } else { self.receiver(step).stats() };
        let path = step.get("path").map_or("", text);
        path.split('.').filter(|part| !part.is_empty()).try_fold(stats.unwrap(), |value, part| {
            let found = part.parse::<usize>().map_or_else(|_| value.get(part), |at| value.get(at));
            found.cloned()
        })
    }

    /// Checks the names and numbers of statuses, event kinds and log levels.
    pub fn status_names(&self) {
        let table = |key: &str| self.file[key].as_object().unwrap().clone();
        for (name, number) in table("statuses") {
            let status = Status::from_name(&name).unwrap_or_else(|| panic!("no status {name}"));
            assert!(number == status as i32 && status.name() == name, "{name}");
        }
        for (name, number) in table("event_kinds") {
            let kind = EventKind::iter().find(|kind| kind.name() == name);
            assert_eq!(number, kind.unwrap_or_else(|| panic!("no kind of event {name}")) as i32, "{name}");
        }
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
        for (name, number) in table("log_levels") {
            let level = levels.into_iter().find(|level| level_name(*level) == name);
            assert_eq!(number, level.unwrap_or_else(|| panic!("no log level {name}")) as i32, "{name}");
        }
    }
}
