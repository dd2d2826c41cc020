//! The method note: what is counted and how far it can be trusted.
//!
//! May depend on `cards`, `page`, `words`.

use maud::{Markup, html};

use super::cards::SIGNIFICANT;
use super::page::View;
use super::words::fill;

impl View<'_> {
    pub(super) fn method(self) -> Markup {
        let View { report, language, words } = self;
        let limit = language.decimal(SIGNIFICANT, 2);
        html! {
            section aria-labelledby="method" {
                h2 #method { (words.method) }
                ul.method {
                    li { (fill(words.method_counts, &[&report.time_zone])) }
                    li { (words.method_machine) }
                    li { (words.method_adjusted) }
                    li { (words.method_net) }
                    li { (fill(words.method_tests, &[&limit])) }
                    li { (words.method_answers) }
                    li { (words.method_crises) }
                    @if let Some(model) = &report.model {
                        li.digest { (fill(words.method_model, &[&model.version, &model.digest])) }
                    }
                }
            }
        }
    }
}
