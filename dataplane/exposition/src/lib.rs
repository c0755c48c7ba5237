//! What a scrape gets of either daemon: metrics as text, in the format that the scraper wants.
//!
//! A metric is declared once, in the table of its daemon. Its unit is read off its name, which by the rules of OpenMetrics ends in it, so a
//! page can't say something else than the name does. Both formats have the same series.
#![forbid(unsafe_code)]

mod encode;
mod format;
mod unit;

pub mod process;

pub use encode::encode;
pub use format::Format;
pub use unit::unit;
