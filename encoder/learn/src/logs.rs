//! The log of a command.

use anyhow::Result;
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role::{LogConfig, LogFormat};

/// Begins the log of this process, as text on standard error.
pub(crate) fn init() -> Result<()> {
    let logs = LogConfig { filter: "info".to_owned(), format: LogFormat::Text };
    observe::init("ocelli-learn", &logs, &TracesConfig::default())?;
    Ok(())
}
