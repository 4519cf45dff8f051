//! Numbers of several seeds as text.

/// What values of several seeds have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) mean: f64,
    /// The standard deviation, where there are two values or more.
    deviation: Option<f64>,
}

impl Summary {
    /// Of all values; `None` if there is none.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
        })
    }

    /// As in `0.900 ±0.100`.
    pub(super) fn text(&self, decimals: usize) -> String {
        let mean = format!("{:.decimals$}", self.mean);
        match self.deviation {
            None => mean,
            Some(deviation) => format!("{mean} ±{deviation:.decimals$}"),
        }
    }
}

/// Decimals for three or four significant digits.
pub(super) fn decimals(value: f64) -> usize {
    if value < 0.1 {
        5
    } else if value < 10.0 {
        3
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_by_hand() {
        let text = |values: &[f64]| Summary::of(values).map(|summary| summary.text(3));
        assert_eq!(text(&[]), None);
        assert_eq!(text(&[0.5]).unwrap(), "0.500");
        assert_eq!(text(&[0.8, 0.9, 1.0]).unwrap(), "0.900 ±0.100");
    }
}
