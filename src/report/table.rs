//! Tables: a caption, columns with names, rows with names.
//!
//! May depend on nothing of the report.

use maud::{Markup, html};

/// A table that may be wider than the screen, in a frame that scrolls.
pub(super) struct Table {
    pub(super) caption: String,
    /// The name of the rows' names first.
    pub(super) columns: Vec<String>,
    /// What stands above that many columns each, from the second column on; may be empty.
    pub(super) groups: Vec<(String, usize)>,
    pub(super) rows: Vec<Row>,
}

/// A row of a table.
pub(super) struct Row {
    pub(super) name: Markup,
    pub(super) cells: Vec<Markup>,
    /// Set apart from the other rows.
    pub(super) marked: bool,
}

impl Row {
    pub(super) fn new(name: &str, cells: Vec<Markup>) -> Self {
        Row { name: text(name), cells, marked: false }
    }
}

/// `text` as a cell.
pub(super) fn text(text: &str) -> Markup {
    html! { (text) }
}

impl Table {
    pub(super) fn show(&self) -> Markup {
        html! {
            div.scroll role="region" aria-label=(self.caption) tabindex="0" {
                table {
                    caption { span { (self.caption) } }
                    thead {
                        @if !self.groups.is_empty() {
                            tr.groups {
                                td {}
                                @for (name, columns) in &self.groups {
                                    th scope="colgroup" colspan=(columns) { (name) }
                                }
                            }
                        }
                        tr { @for column in &self.columns { th scope="col" { (column) } } }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr.marked[row.marked] {
                                th scope="row" dir="auto" { (row.name) }
                                @for cell in &row.cells { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Folded away behind `title`, or open.
    pub(super) fn fold(&self, title: &str, open: bool) -> Markup {
        html! {
            details open[open] {
                summary { (title) }
                (self.show())
            }
        }
    }
}
