//! What was measured, step by step: tools beside each other, then what was promised.

use std::fmt::Write as _;

use serde::Serialize;

use super::peers::Cost;
use crate::report::{columns, median, number};

/// What one tool needed for one step.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) who: String,
    /// Payload both ways, one number per run.
    pub(crate) bytes: Vec<f64>,
    /// Processor seconds of the receiving side.
    pub(crate) cpu_s: Vec<f64>,
    pub(crate) wall_s: Vec<f64>,
    /// Why there are no numbers.
    pub(crate) absent: Option<String>,
}

impl Line {
    pub(crate) fn new(who: &str, costs: &[Cost]) -> Self {
        let all = |value: fn(&Cost) -> f64| costs.iter().map(value).collect();
        Self {
            who: who.to_owned(),
            bytes: all(|cost| cost.bytes),
            cpu_s: all(|cost| cost.cpu_s),
            wall_s: all(|cost| cost.wall_s),
            absent: None,
        }
    }

    /// For bytes alone.
    pub(crate) fn bytes(who: &str, bytes: f64) -> Self {
        Self {
            cpu_s: Vec::new(),
            wall_s: Vec::new(),
            ..Self::new(
                who,
                &[Cost {
                    bytes,
                    ..Cost::default()
                }],
            )
        }
    }

    pub(crate) fn absent(who: &str, why: String) -> Self {
        Self {
            absent: Some(why),
            ..Self::new(who, &[])
        }
    }
}

/// One number with what it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<f64>,
    /// At most this; nothing when it is only reported.
    pub(crate) at_most: Option<f64>,
    pub(crate) met: Option<bool>,
}

impl Figure {
    pub(crate) fn new(what: &str, unit: &'static str, values: Vec<f64>) -> Self {
        Self {
            what: what.to_owned(),
            unit,
            values,
            at_most: None,
            met: None,
        }
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.at_most = Some(most);
        self.met = median(&self.values).map(|value| value <= most);
        self
    }
}

/// Everything about one step.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) step: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) figures: Vec<Figure>,
}

impl Measured {
    /// Two tables for people.
    pub(crate) fn table(&self, whole_bytes: f64) -> String {
        let mut text = format!("== {}\n\n", self.step);
        let titles = ["", "bytes both ways", "of whole", "CPU s", "wall s", ""];
        let mut rows = vec![titles.map(str::to_owned)];
        let shown = |values: &[f64]| median(values).map(number).unwrap_or_default();
        for line in &self.lines {
            let share =
                median(&line.bytes).map(|bytes| format!("{:.3} %", bytes / whole_bytes * 1e2));
            let absent = line.absent.as_ref().map(|why| format!("ABSENT: {why}"));
            rows.push([
                line.who.clone(),
                shown(&line.bytes),
                share.unwrap_or_default(),
                shown(&line.cpu_s),
                shown(&line.wall_s),
                absent.unwrap_or_default(),
            ]);
        }
        text.push_str(&columns(&rows, &[0, 5]));
        text.push('\n');
        if self.figures.is_empty() {
            return text;
        }
        let titles = ["", "unit", "measured", "promised", ""];
        let mut rows = vec![titles.map(str::to_owned)];
        for figure in &self.figures {
            rows.push([
                figure.what.clone(),
                figure.unit.to_owned(),
                shown(&figure.values),
                figure
                    .at_most
                    .map(|most| format!("<= {}", number(most)))
                    .unwrap_or_default(),
                match figure.met {
                    Some(true) => "met".to_owned(),
                    Some(false) => "MISSED".to_owned(),
                    None => String::new(),
                },
            ]);
        }
        let _ = writeln!(text, "{}", columns(&rows, &[0, 1, 4]));
        text
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// `tidecast --version`.
    pub(crate) tidecast: String,
    /// Every tool with its version, or why it is absent.
    pub(crate) tools: Vec<(String, String)>,
    /// Processors this process may use.
    pub(crate) processors: usize,
    /// Processes that wanted to run, averaged over a minute, at the beginning.
    pub(crate) load: String,
    pub(crate) runs: usize,
    pub(crate) steps: &'a [Measured],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_tool_is_named_and_a_missed_promise_stands_out() {
        let cost = |bytes| Cost {
            bytes,
            cpu_s: 0.25,
            wall_s: 1.5,
        };
        let measured = Measured {
            step: "a day".into(),
            lines: vec![
                Line::new("rsync", &[cost(900.0), cost(1_100.0), cost(1_000.0)]),
                Line::absent("bita", "cannot be run".into()),
            ],
            figures: vec![Figure::new("bytes", "B", vec![10.0]).at_most(9.0)],
        };
        let table = measured.table(4_000.0);
        assert!(table.contains("1,000"), "{table}");
        assert!(table.contains("25.000 %"), "{table}");
        assert!(table.contains("ABSENT: cannot be run"), "{table}");
        assert!(table.contains("MISSED"), "{table}");
    }
}
