//! What was measured: rows of numbers with their units and targets, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// What a number is held against.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// tidecast divided by rsync, at most.
    RatioAtMost(f64),
    /// tidecast's own number, at most.
    AtMost(f64),
}

/// One quantity, measured several times on one or both sides.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) scenario: String,
    /// What was measured.
    pub(crate) metric: String,
    /// In which unit.
    pub(crate) unit: &'static str,
    /// One number per run.
    pub(crate) tidecast: Vec<f64>,
    /// rsync's, of the same runs; empty where rsync has no such thing.
    pub(crate) rsync: Vec<f64>,
    /// What it should be.
    pub(crate) target: Option<Target>,
    /// Whether single runs are close to the clock's own steps: then means and the ratio of sums are
    /// shown, in which the steps cancel, instead of medians.
    pub(crate) coarse: bool,
}

impl Row {
    /// A row without rsync and without a target.
    pub(crate) fn new(
        scenario: &str,
        metric: &str,
        unit: &'static str,
        tidecast: Vec<f64>,
    ) -> Self {
        Self {
            scenario: scenario.to_owned(),
            metric: metric.to_owned(),
            unit,
            tidecast,
            rsync: Vec::new(),
            target: None,
            coarse: false,
        }
    }

    /// With rsync's numbers beside it, run by run.
    pub(crate) fn beside(mut self, rsync: Vec<f64>) -> Self {
        self.rsync = rsync;
        self
    }

    /// With a target.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Measured with a clock of long steps.
    pub(crate) fn coarse(mut self) -> Self {
        self.coarse = true;
        self
    }

    /// The one number that stands for several.
    fn summary(&self, values: &[f64]) -> Option<f64> {
        if self.coarse {
            mean(values)
        } else {
            median(values)
        }
    }

    /// Median of the ratios of runs that stood beside each other: what disturbed one disturbed both.
    fn ratio(&self) -> Option<f64> {
        if self.coarse {
            let rsync = mean(&self.rsync).filter(|rsync| *rsync > 0.0)?;
            return Some(mean(&self.tidecast)? / rsync);
        }
        let pairs = self.tidecast.iter().zip(&self.rsync);
        let ratios = pairs.filter(|(_, rsync)| **rsync > 0.0);
        median(&ratios.map(|(ours, rsync)| ours / rsync).collect::<Vec<_>>())
    }

    fn met(&self) -> Option<bool> {
        match self.target? {
            Target::RatioAtMost(most) => self.ratio().map(|ratio| ratio <= most),
            Target::AtMost(most) => self.summary(&self.tidecast).map(|ours| ours <= most),
        }
    }
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

/// The rows as a table for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let titles = [
        "scenario", "metric", "unit", "tidecast", "rsync", "ratio", "target", "",
    ];
    let mut lines = vec![titles.map(str::to_owned)];
    for row in rows {
        let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
        lines.push([
            row.scenario.clone(),
            row.metric.clone(),
            row.unit.to_owned(),
            shown(row.summary(&row.tidecast)),
            shown(row.summary(&row.rsync)),
            row.ratio().map(|r| format!("{r:.2}x")).unwrap_or_default(),
            match row.target {
                Some(Target::RatioAtMost(most)) => format!("<= {most:.2}x"),
                Some(Target::AtMost(most)) => format!("<= {}", number(most)),
                None => String::new(),
            },
            match row.met() {
                Some(true) => "met".to_owned(),
                Some(false) => "MISSED".to_owned(),
                None => String::new(),
            },
        ]);
    }
    columns(&lines, &[0, 1, 2, 7])
}

/// Lines of cells as aligned columns: words, whose columns `left` names, to the left, and numbers to the right.
pub(crate) fn columns<const N: usize>(lines: &[[String; N]], left: &[usize]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            let _ = match left.contains(&column) {
                true => write!(text, "{cell:<width$}  "),
                false => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Three significant digits, or all of them before the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Everything, with the surroundings it was measured in.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// `tidecast --version`.
    pub(crate) tidecast: String,
    /// First line of `rsync --version`.
    pub(crate) rsync: String,
    /// Processors this process may use.
    pub(crate) processors: usize,
    /// Processes that wanted to run, averaged over a minute, when the first scenario began.
    pub(crate) load: String,
    /// Times each scenario ran.
    pub(crate) runs: usize,
    /// What was measured.
    pub(crate) rows: &'a [Row],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_taken_pair_by_pair_before_their_median() {
        let row = Row::new("s", "m", "s", vec![1.0, 8.0, 3.0]).beside(vec![2.0, 8.0, 12.0]);
        assert_eq!(row.ratio(), Some(0.5));
        assert_eq!(
            row.clone().target(Target::RatioAtMost(0.5)).met(),
            Some(true)
        );
        assert_eq!(row.target(Target::AtMost(2.9)).met(), Some(false));
    }

    #[test]
    fn coarse_numbers_are_summed_before_they_are_divided() {
        let row = Row::new("s", "m", "s", vec![1.0, 5.0]).beside(vec![4.0, 2.0]);
        assert_eq!(row.coarse().ratio(), Some(1.0));
    }

    #[test]
    fn numbers_keep_three_digits_and_group_thousands() {
        let shown = [849_441.0, 1_000.0, 597.6, 18.46, 1.17, 0.0281].map(number);
        assert_eq!(shown, ["849,441", "1,000", "598", "18.5", "1.17", "0.028"]);
    }
}
