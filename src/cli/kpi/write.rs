//! Figures as CSV, JSON and Parquet. May depend on `kpi`.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Number, Value, json};

use super::columns::{Cell, Column, columns};
use super::{KpiFormat, spelt, text};
use crate::kpi::crisis::Episode;
use crate::kpi::{Group, Table};
use crate::message::Prevalence;

/// Writes what a table says.
pub(super) fn write(
    table: &mut Table,
    priors: Option<&Prevalence>,
    format: KpiFormat,
    sink: &mut (dyn Write + Send),
) -> io::Result<()> {
    let groups = table.groups(priors);
    let crises = table.crises();
    if matches!(format, KpiFormat::Csv | KpiFormat::Parquet) {
        // Their rows are groups; what is none is told beside them.
        crises.iter().for_each(|crisis| eprintln!("{}", text::crisis(crisis)));
    }
    match format {
        KpiFormat::Text => text::write(table, &groups, priors, &crises, sink),
        KpiFormat::Csv => csv(&groups, sink),
        KpiFormat::Json => {
            let total = Group { figures: table.figures(priors), ..Group::default() };
            json(&groups, &total, &crises, sink)
        }
        KpiFormat::Parquet => parquet(&groups, sink),
    }
}

fn csv(groups: &[Group], sink: &mut dyn Write) -> io::Result<()> {
    let columns = columns();
    let mut rows = csv::Writer::from_writer(sink);
    rows.write_record(columns.iter().map(|(name, _)| name)).map_err(io::Error::other)?;
    for group in groups {
        let cells = columns.iter().map(|(_, value)| match value(group) {
            Cell::Text(text) => text.unwrap_or_default(),
            Cell::Count(count) => count.map(|count| count.to_string()).unwrap_or_default(),
            Cell::Number(number) => number.map(|number| number.to_string()).unwrap_or_default(),
        });
        rows.write_record(cells).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            _ => io::Error::other("a row that is none"),
        })?;
    }
    rows.flush()
}

fn object(group: &Group, columns: &[Column]) -> Value {
    let number = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    let value = |(name, value): &Column| {
        let value = match value(group) {
            Cell::Text(text) => text.map_or(Value::Null, Value::String),
            Cell::Count(count) => count.map_or(Value::Null, Value::from),
            Cell::Number(value) => value.map_or(Value::Null, number),
        };
        ((*name).to_owned(), value)
    };
    Value::Object(columns.iter().map(value).collect::<Map<_, _>>())
}

fn json(
    groups: &[Group],
    total: &Group,
    crises: &[Episode],
    sink: &mut dyn Write,
) -> io::Result<()> {
    let columns = columns();
    let crisis = |crisis: &Episode| {
        json!({
            "from_hour": spelt(crisis.from),
            "last_hour": spelt(crisis.to),
            "series": crisis.series.name(),
            "observed": crisis.observed,
            "expected": crisis.expected,
        })
    };
    let all = json!({
        "groups": groups.iter().map(|group| object(group, &columns)).collect::<Vec<_>>(),
        "total": object(total, &columns),
        "crises": crises.iter().map(crisis).collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *sink, &all)?;
    writeln!(sink)
}

fn parquet(groups: &[Group], sink: &mut (dyn Write + Send)) -> io::Result<()> {
    let named = columns().into_iter().map(|(name, value)| {
        let cells: Vec<Cell> = groups.iter().map(value).collect();
        let kind = value(&Group::default());
        let array: ArrayRef = match kind {
            Cell::Text(_) => Arc::new(StringArray::from_iter(cells.into_iter().map(|c| match c {
                Cell::Text(text) => text,
                Cell::Count(_) | Cell::Number(_) => None,
            }))),
            // Signed, as most tools have their whole numbers.
            Cell::Count(_) => Arc::new(Int64Array::from_iter(cells.into_iter().map(|c| match c {
                Cell::Count(count) => count.and_then(|count| i64::try_from(count).ok()),
                Cell::Text(_) | Cell::Number(_) => None,
            }))),
            Cell::Number(_) => {
                Arc::new(Float64Array::from_iter(cells.into_iter().map(|c| match c {
                    Cell::Number(number) => number,
                    Cell::Text(_) | Cell::Count(_) => None,
                })))
            }
        };
        (name, array, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(named).map_err(io::Error::other)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer =
        ArrowWriter::try_new(sink, batch.schema(), Some(properties)).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    writer.close().map_err(io::Error::other)?;
    Ok(())
}
