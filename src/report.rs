//! The monthly webcare report as one HTML page that needs nothing else: no script, no network.
//!
//! Takes plain data and gives text; counts and tests nothing itself. May depend on the domain and on
//! the types of `kpi`.

mod cards;
mod chart;
mod data;
mod figure;
mod method;
mod number;
mod overview;
mod page;
mod paint;
mod parts;
mod sentiment;
mod signals;
mod table;
#[cfg(test)]
mod tests;
mod trend;
mod words;

pub use data::{
    Change, CrisisDay, Day, Language, Measure, Model, Month, MonthTotals, Part, Report, RisingWord,
    Sample, Totals,
};
pub use page::page;
