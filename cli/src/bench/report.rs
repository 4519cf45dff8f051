//! What a run measured, for people and for machines.

use std::iter;

use comfy_table::Table;
use lfbm_wire::Priority;
use serde_json::{Map, Value, json};
use tonic::Code;

use super::BenchArgs;
use super::latency::{Latencies, QUANTILES};
use super::measurement::Measurement;
use crate::output::new_table;
use crate::status::code_name;

/// Columns of counts.
pub(super) const COUNTS: [&str; 2] = ["requests", "per s"];

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Unspecified => "unspecified",
        Priority::Interactive => "interactive",
        Priority::Bulk => "bulk",
    }
}

/// A table, and what it does not say.
pub(super) fn text(args: &BenchArgs, measurement: &Measurement) -> String {
    let seconds = measurement.duration().as_secs_f64();
    let load = match args.rate {
        Some(rate) => format!("open loop, {rate} requests/s, Poisson arrivals"),
        None => format!("closed loop, {} at once", args.concurrency),
    };
    let mut table = quantiles_table(&["priority", "code"], &COUNTS);
    for ((priority, code), answers) in &measurement.answers {
        let mut row = vec![
            priority_name(*priority).to_owned(),
            code_name(Code::from_i32(*code)).to_owned(),
            answers.latency.len().to_string(),
            format!("{:.1}", answers.in_window as f64 / seconds),
        ];
        row.extend(quantiles_ms(&answers.latency));
        table.add_row(row);
    }
    let mut parts = quantiles_table(&["of which"], &[]);
    for (name, latencies) in [
        ("sent late", &measurement.send_delay),
        ("queued", &measurement.queue),
        ("computed", &measurement.compute),
    ] {
        let cells = iter::once(name.to_owned());
        parts.add_row(cells.chain(quantiles_ms(latencies)));
    }
    let mut text = format!(
        "{load}; {seconds:.1} s measured after {} s of warm-up; {} connections{}\n\n{table}\n\n{parts}\n\n\
         goodput {:.1}/s of {:.1}/s offered; at most {} outstanding",
        args.warmup_s,
        args.connections,
        if measurement.stopped.is_some() {
            "; stopped early"
        } else {
            ""
        },
        measurement.goodput_per_s(),
        measurement.offered_per_s(),
        measurement.peak_outstanding,
    );
    if measurement.not_sent > 0 {
        text += &format!(
            "\n{} requests were not sent: {} were outstanding already (--max-outstanding)",
            measurement.not_sent, args.max_outstanding
        );
    }
    for answers in measurement.answers.values() {
        if let Some(error) = &answers.error {
            text += &format!("\nfor example: {error}");
        }
    }
    text
}

/// One object; durations are seconds.
pub(super) fn json(args: &BenchArgs, measurement: &Measurement) -> Value {
    let seconds = measurement.duration().as_secs_f64();
    let answers: Vec<_> = measurement
        .answers
        .iter()
        .map(|((priority, code), answers)| {
            json!({
                "priority": priority_name(*priority),
                "code": code_name(Code::from_i32(*code)),
                "requests": answers.latency.len(),
                "per_s": answers.in_window as f64 / seconds,
                "latency_s": quantiles_json(&answers.latency),
                "error": answers.error,
            })
        })
        .collect();
    json!({
        "loop": if args.rate.is_some() { "open" } else { "closed" },
        "rate_per_s": args.rate,
        "concurrency": args.rate.is_none().then_some(args.concurrency),
        "connections": args.connections,
        "warmup_s": args.warmup_s,
        "duration_s": seconds,
        "stopped_early": measurement.stopped.is_some(),
        "offered_per_s": measurement.offered_per_s(),
        "goodput_per_s": measurement.goodput_per_s(),
        "peak_outstanding": measurement.peak_outstanding,
        "not_sent": measurement.not_sent,
        "answers": answers,
        "queue_s": quantiles_json(&measurement.queue),
        "compute_s": quantiles_json(&measurement.compute),
        "send_delay_s": quantiles_json(&measurement.send_delay),
    })
}

/// Columns of text, then of counts, then the quantiles.
pub(super) fn quantiles_table(texts: &[&str], counts: &[&str]) -> Table {
    let columns = texts.iter().chain(counts).map(|&name| name.to_owned());
    let quantiles = QUANTILES.map(|(name, _)| format!("{name} ms"));
    let header: Vec<_> = columns.chain(quantiles).collect();
    let numbers = texts.len()..header.len();
    new_table(header, numbers)
}

/// A row of a table.
pub(super) fn quantiles_ms(latencies: &Latencies) -> [String; QUANTILES.len()] {
    QUANTILES.map(|(_, quantile)| {
        let seconds = latencies.quantile_s(quantile);
        seconds.map_or("-".to_owned(), |seconds| format!("{:.2}", seconds * 1e3))
    })
}

/// A JSON object.
pub(super) fn quantiles_json(latencies: &Latencies) -> Map<String, Value> {
    QUANTILES
        .into_iter()
        .map(|(name, quantile)| (name.to_owned(), latencies.quantile_s(quantile).into()))
        .collect()
}
