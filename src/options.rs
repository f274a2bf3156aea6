//! The options that a live handle takes: a configuration of which some numbers may be replaced by name.

use std::sync::Arc;

use crate::error::{Error, Result, Status};
use crate::sync::Mutex;

/// A number in a configuration that may change while the handle lives.
pub(crate) struct LiveOption<C: 'static> {
    pub(crate) name: &'static str,
    /// The number; `None` if the configuration does not have what the option is about.
    pub(crate) get: fn(&C) -> Option<u64>,
    pub(crate) set: fn(&mut C, u64),
}

/// The configuration of a live handle. Whoever begins something takes it as it is then.
pub(crate) struct LiveConfig<C: 'static> {
    current: Mutex<Arc<C>>,
    options: &'static [LiveOption<C>],
}

impl<C: Clone> LiveConfig<C> {
    pub(crate) fn new(config: C, options: &'static [LiveOption<C>]) -> Self {
        Self { current: Mutex::new(Arc::new(config)), options }
    }

    /// The configuration as it is now.
    pub(crate) fn get(&self) -> Arc<C> {
        Arc::clone(&self.current.lock())
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Result<u64> {
        self.value(self.find(name)?, &self.get())
    }

    /// Changes an option. The whole is checked first; `apply` hands it on before another change may come.
    pub(crate) fn change(
        &self,
        name: &str,
        value: u64,
        check: impl FnOnce(&C) -> Result<()>,
        apply: impl FnOnce(&C),
    ) -> Result<()> {
        let option = self.find(name)?;
        let mut current = self.current.lock();
        self.value(option, &current)?;
        let mut changed = C::clone(&current);
        (option.set)(&mut changed, value);
        check(&changed)?;
        apply(&changed);
        *current = Arc::new(changed);
        Ok(())
    }

    /// Changes what is no number, if `change` takes it. Nothing is checked but that.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        let mut current = self.current.lock();
        let mut changed = C::clone(&current);
        change(&mut changed)?;
        *current = Arc::new(changed);
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&'static LiveOption<C>> {
        self.options.iter().find(|option| option.name == name).ok_or_else(|| {
            let names: Vec<_> = self.options.iter().map(|option| option.name).collect();
            let text =
                format!("no option \"{name}\" may change on a live handle; those that may: {}", names.join(", "));
            Error::new(Status::NotFound, text)
        })
    }

    fn value(&self, option: &LiveOption<C>, config: &C) -> Result<u64> {
        (option.get)(config).ok_or_else(|| {
            let text = format!("{} is about the log on disk, and wal_dir is not set", option.name);
            Error::new(Status::InvalidState, text)
        })
    }
}

/// A time in milliseconds; `u64::MAX` for one that never ends.
pub(crate) fn ms(time: std::time::Duration) -> Option<u64> {
    Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Config {
        limit: u64,
        of_log: Option<u64>,
    }

    const OPTIONS: &[LiveOption<Config>] = &[
        LiveOption { name: "limit", get: |config| Some(config.limit), set: |config, value| config.limit = value },
        LiveOption { name: "of_log", get: |config| config.of_log, set: |config, value| config.of_log = Some(value) },
    ];

    #[test]
    fn an_option_is_changed_whole_or_not_at_all() {
        let config = LiveConfig::new(Config { limit: 5, of_log: None }, OPTIONS);
        let check = |config: &Config| match config.limit {
            0 => Err(Error::new(Status::InvalidArgument, "limit must be at least 1")),
            _ => Ok(()),
        };
        let mut applied = Vec::new();
        let mut change = |name, value| {
            config.change(name, value, check, |config| applied.push(config.limit)).map_err(|error| error.status)
        };
        let before = config.get();
        assert_eq!(change("limit", 7), Ok(()));
        assert_eq!(change("limit", 0), Err(Status::InvalidArgument));
        assert_eq!(change("of_log", 1), Err(Status::InvalidState));
        assert_eq!(change("other", 1), Err(Status::NotFound));
        assert_eq!(applied, [7]);
        assert_eq!((before.limit, config.get().limit, config.option("limit")), (5, 7, Ok(7)));
        let unknown = config.option("lim\nit").unwrap_err();
        assert_eq!(
            unknown.message,
            "no option \"lim\\nit\" may change on a live handle; those that may: limit, of_log"
        );
    }
}
