//! Parquet files, read column by column, a batch of rows at a time.
//!
//! By the file's own types and not by those that its writer kept in Arrow's metadata: text is text then, whether it
//! was a dictionary or not.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, TimeUnit};

use super::super::csv_rows::{boolean, ours};
use super::super::{Column, OpenError, RecordError};
use super::{COLUMNS, Handled, NEEDED, PROBABILITIES, Table, When, probability};

/// Rows read at once.
const BATCH: usize = 8192;
pub(super) struct ParquetRows {
    reader: ParquetRecordBatchReader,
    /// Places of the columns by the names that we have for them.
    places: HashMap<String, usize>,
    batch: Option<RecordBatch>,
    /// Next row of the batch, and of the file.
    at: usize,
    row: u64,
    ended: bool,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, renamed: &[Column]) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let header = |reason: String| OpenError::Header { path: name.clone(), reason };
        let file =
            File::open(path).map_err(|source| OpenError::Read { path: name.clone(), source })?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .map_err(|_| header("is no Parquet file that can be read".into()))?;
        let schema = Arc::clone(builder.schema());
        let names: Vec<String> =
            schema.fields().iter().map(|field| ours(field.name(), renamed)).collect();
        if let Some(missing) = renamed.iter().find(|column| !names.contains(&column.field)) {
            return Err(header(format!("has no column `{}`", missing.header)));
        }
        if !names.iter().any(|name| NEEDED.contains(&name.as_str())) {
            return Err(header(format!("has no column `{}`", NEEDED[0])));
        }
        let known = |name: &&String| {
            COLUMNS.contains(&name.as_str()) || PROBABILITIES.contains(&name.as_str())
        };
        let wanted = names.iter().enumerate().filter(|(_, name)| known(name)).map(|(at, _)| at);
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH)
            .build()
            .map_err(|_| header("is no Parquet file that can be read".into()))?;
        let read = RecordBatchReader::schema(&reader);
        let places = read.fields().iter().enumerate();
        let places = places.map(|(at, field)| (ours(field.name(), renamed), at)).collect();
        Ok(ParquetRows { reader, places, batch: None, at: 0, row: 0, ended: false })
    }
}

impl Iterator for ParquetRows {
    type Item = Result<(u64, Handled), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(batch) = &self.batch
                && self.at < batch.num_rows()
            {
                let line = self.row + 1;
                let handled = Row { batch, places: &self.places, at: self.at }.handled();
                (self.at, self.row) = (self.at + 1, line);
                return Some(
                    handled.map(|h| (line, h)).map_err(|reason| RecordError { line, reason }),
                );
            }
            self.at = 0;
            match self.reader.next() {
                Some(Ok(batch)) => self.batch = Some(batch),
                None => self.ended = true,
                Some(Err(_)) => {
                    self.ended = true;
                    let reason = "cannot be read, nor what follows it".to_owned();
                    return Some(Err(RecordError { line: self.row + 1, reason }));
                }
            }
        }
    }
}

/// One row of a batch.
struct Row<'a> {
    batch: &'a RecordBatch,
    places: &'a HashMap<String, usize>,
    at: usize,
}

impl Row<'_> {
    /// The column of that name, where it has something in this row.
    fn column(&self, name: &str) -> Option<&ArrayRef> {
        let place = self.places.get(name)?;
        // A column of nothing but nulls has a type of its own, and no mask.
        let there =
            |column: &&ArrayRef| column.data_type() != &DataType::Null && column.is_valid(self.at);
        Some(self.batch.column(*place)).filter(there)
    }

    fn value<T: ArrowPrimitiveType>(&self, column: &ArrayRef) -> T::Native {
        column.as_primitive::<T>().value(self.at)
    }
}

impl Table for Row<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let text = match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().value(self.at),
            DataType::LargeUtf8 => column.as_string::<i64>().value(self.at),
            DataType::Utf8View => column.as_string_view().value(self.at),
            _ => return Err(format!("{name}: is not a string")),
        };
        Ok(Some(text.to_owned()).filter(|text| !text.trim().is_empty()))
    }

    fn id(&self) -> Result<Option<String>, String> {
        let Some(column) = self.column("id") else { return Ok(None) };
        Ok(match column.data_type() {
            DataType::Int64 => Some(self.value::<Int64Type>(column).to_string()),
            DataType::Int32 => Some(self.value::<Int32Type>(column).to_string()),
            _ => self.text("id")?,
        })
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        let Some(column) = self.column(name) else { return Ok(None) };
        match column.data_type() {
            DataType::Boolean => Ok(Some(column.as_boolean().value(self.at))),
            _ => self.text(name)?.map(|word| boolean(name, &word)).transpose(),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f32>, String> {
        let Some(column) = self.column(name) else { return Ok(None) };
        let value = match column.data_type() {
            DataType::Float32 => Some(self.value::<Float32Type>(column)),
            DataType::Float64 => Some(self.value::<Float64Type>(column) as f32),
            _ => None,
        };
        probability(name, value).map(Some)
    }

    fn when(&self, name: &str) -> Result<Option<When>, String> {
        let far = || format!("{name}: is too far from today");
        let Some(column) = self.column(name) else { return Ok(None) };
        let (instant, local) = match column.data_type() {
            DataType::Timestamp(unit, zone) => {
                let time = match unit {
                    TimeUnit::Second => {
                        Timestamp::from_second(self.value::<TimestampSecondType>(column))
                    }
                    TimeUnit::Millisecond => {
                        Timestamp::from_millisecond(self.value::<TimestampMillisecondType>(column))
                    }
                    TimeUnit::Microsecond => {
                        Timestamp::from_microsecond(self.value::<TimestampMicrosecondType>(column))
                    }
                    TimeUnit::Nanosecond => Timestamp::from_nanosecond(
                        self.value::<TimestampNanosecondType>(column).into(),
                    ),
                };
                (time.map_err(|_| far())?, zone.is_none())
            }
            DataType::Date32 => {
                let days = i64::from(self.value::<Date32Type>(column));
                let seconds = days.checked_mul(86_400).ok_or_else(far)?;
                (Timestamp::from_second(seconds).map_err(|_| far())?, true)
            }
            DataType::Int64 => {
                return Ok(Some(When::Text(self.value::<Int64Type>(column).to_string())));
            }
            _ => return Ok(self.text(name)?.map(When::Text)),
        };
        // Without a zone the number is that of a clock on the wall, counted as if it hung in Greenwich.
        Ok(Some(match local {
            true => When::Local(TimeZone::UTC.to_datetime(instant)),
            false => When::Instant(instant),
        }))
    }
}
