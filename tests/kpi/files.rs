//! The same messages as JSON lines, CSV and Parquet, in and out.

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::{INTENTS, handled, klankbord, path, program, written};

/// What `kpi` says of a file.
fn told(file: &std::path::Path, by: &str) -> Value {
    let output = klankbord(&["kpi", path(file), "--by", by, "--output-format", "json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_file_says_the_same_in_every_format() {
    let records = handled(&written()[..120]);
    let (folder, messages) = super::folder_with(&records);
    let (lines, rows) = (folder.path().join("v.jsonl"), folder.path().join("v.csv"));
    klankbord(&["classify", "-i", path(&messages), "-o", path(&lines)]);
    klankbord(&["classify", "-i", path(&messages), "-o", path(&rows)]);
    let verdicts: Vec<Value> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |of: &dyn Fn(&Value) -> Option<String>| -> ArrayRef {
        Arc::new(verdicts.iter().map(of).collect::<StringArray>())
    };
    let micros = |key: &str| -> ArrayRef {
        let of = |v: &Value| v[key].as_str().map(|t| t.parse::<i64>().unwrap() * 1_000_000);
        let times: TimestampMicrosecondArray = verdicts.iter().map(of).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("channel".into(), text(&|v| v["channel"].as_str().map(str::to_owned))),
        ("Merk".into(), text(&|v| v["brand"].as_str().map(str::to_owned))),
        ("received_at".into(), micros("received_at")),
        ("answered_at".into(), micros("answered_at")),
        ("sentiment".into(), text(&|v| v["sentiment"]["label"].as_str().map(str::to_owned))),
    ];
    let number = |of: &dyn Fn(&Value) -> f64| -> ArrayRef {
        Arc::new(verdicts.iter().map(|v| Some(of(v) as f32)).collect::<Float32Array>())
    };
    for name in INTENTS {
        let holds = verdicts.iter().map(|v| v["intents"][name]["holds"].as_bool());
        columns.push((name.into(), Arc::new(holds.collect::<BooleanArray>())));
        let p = number(&|v| v["intents"][name]["probability"].as_f64().unwrap());
        columns.push((format!("{name}_p"), p));
    }
    for name in ["negative", "neutral", "positive"] {
        let p = number(&|v| v["sentiment"]["probabilities"][name].as_f64().unwrap());
        columns.push((format!("{name}_p"), p));
    }
    let flags = |of: &dyn Fn(&Value) -> Option<bool>| -> ArrayRef {
        Arc::new(verdicts.iter().map(of).collect::<BooleanArray>())
    };
    columns.push(("urgent".into(), flags(&|v| v["urgent"]["holds"].as_bool())));
    columns.push(("needs_review".into(), flags(&|v| v["needs_review"].as_bool())));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let table = folder.path().join("v.parquet");
    let mut writer =
        ArrowWriter::try_new(File::create(&table).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let by = "week,channel,brand";
    let expected = told(&messages, by);
    assert!(expected["groups"].as_array().unwrap().len() > 20);
    assert_eq!(told(&lines, by), expected);
    assert_eq!(told(&rows, by), expected);
    let named =
        ["kpi", path(&table), "--by", by, "--column", "brand=Merk", "--output-format", "json"];
    let output = klankbord(&named);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);
    // Without texts too, as somebody's spreadsheet may have it.
    let lean = folder.path().join("lean.csv");
    std::fs::write(
        &lean,
        "Ontvangen;intents;sentiment\n01-03-2026 10:00;complaint|question;negative\n\
         2026-03-29 02:30;none;neutral\n",
    )
    .unwrap();
    let output = klankbord(&[
        "kpi",
        path(&lean),
        "--column",
        "received_at=Ontvangen",
        "--output-format",
        "csv",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    let march: Vec<_> = text.lines().nth(1).unwrap().split(',').take(10).collect();
    let expected =
        ["2026-03", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", "", "", "2", "1", "", "1", ""];
    assert_eq!(march, expected);
}

#[test]
fn what_is_written_can_be_read_by_others() {
    let records = handled(&written()[..60]);
    let (folder, messages) = super::folder_with(&records);
    let (rows, table) = (folder.path().join("kpi.csv"), folder.path().join("kpi.parquet"));
    let by = ["--by", "month,channel"];
    klankbord(&["kpi", path(&messages), by[0], by[1], "-o", path(&rows)]);
    klankbord(&["kpi", path(&messages), by[0], by[1], "-o", path(&table)]);
    let mut reader = csv::Reader::from_path(&rows).unwrap();
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let cells: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&table).unwrap()).unwrap();
    let batch = file.build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.num_rows(), cells.len());
    assert!(cells.len() > 5);
    let schema = batch.schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, names);
    for (at, column) in batch.columns().iter().enumerate() {
        for (row, cells) in cells.iter().enumerate() {
            let value = match column.is_null(row) {
                true => String::new(),
                false => match column.data_type() {
                    arrow_schema::DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
                    arrow_schema::DataType::Int64 => {
                        column.as_primitive::<Int64Type>().value(row).to_string()
                    }
                    _ => column.as_primitive::<Float64Type>().value(row).to_string(),
                },
            };
            assert_eq!(cells[at], value, "{} of row {row}", names[at]);
        }
    }
}

#[test]
fn a_bad_row_is_told_by_its_line_and_costs_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "bad.csv",
            "received_at,question,complaint,compliment,factual_error,sentiment\n\
             2026-03-01,true,false,false,false,neutral\n\
             gisteren,true,false,false,false,neutral\n\
             2026-03-01,true,false,false,false,kanarie-geheim-4711 en zo\n\
             2026-03-02,misschien,false,false,false,neutral\n",
            [
                "line 3: received_at: is not a time",
                "line 4: sentiment: holds something",
                "line 5: question: is neither",
            ],
        ),
        (
            "bad.jsonl",
            "{\"received_at\":\"2026-03-01\",\"intents\":[],\"sentiment\":\"neutral\"}\n\
             {\"received_at\":true,\"text\":\"kanarie-geheim-4711\"}\n\
             {\"received_at\":\"2026-03-01\",\"intents\":{\"question\":{\"probability\":0.1,\"holds\":false}},\"sentiment\":\"neutral\"}\n\
             {\"received_at\":\"2026-03-01\"}\n",
            [
                "line 2: received_at: is not a string or a whole number",
                "line 3: intents: lacks one of the four",
                "line 4: text: is missing, and so are the labels",
            ],
        ),
    ];
    for (name, text, reasons) in cases {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let output = program::program()
            .args(["kpi", path(&file), "--output-format", "csv"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        for reason in reasons {
            assert!(told.contains(reason), "{reason} not in {told}");
        }
        assert!(told.contains("1 counted, 3 could not be") && !told.contains("kanarie"), "{told}");
        let counted = String::from_utf8(output.stdout).unwrap();
        assert_eq!(counted.lines().nth(1).unwrap().split(',').nth(5), Some("1"));
    }
    for (file, what) in [("none.csv", "cannot read"), ("v.xls", "does not tell the format")] {
        let output = program::program().args(["kpi", file]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(what));
    }
}
