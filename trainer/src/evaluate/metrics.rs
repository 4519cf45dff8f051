//! Detection metrics. Anomalies are the positive class; high values indicate anomalies.

use serde::Serialize;

/// How well values separate anomalies from normal images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Trapezoidal area under the precision-recall curve, as scikit-learn's
    /// `auc(precision_recall_curve)` gives it.
    pub auprc: f64,
    /// Area under the receiver operating characteristic.
    pub auroc: f64,
    /// False-positive rate where the true-positive rate first reaches 95 %.
    pub fpr_at_95_tpr: f64,
}

/// The points of both curves, from the strictest threshold to the loosest.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// (recall, precision), beginning at (0, 1).
    pub precision_recall: Vec<(f64, f64)>,
    /// (false-positive rate, true-positive rate), beginning at (0, 0).
    pub roc: Vec<(f64, f64)>,
}

/// One point per distinct value, because ties cannot be separated.
pub fn curves(values: &[f64], anomalous: &[bool]) -> Curves {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let positives = anomalous.iter().filter(|&&anomaly| anomaly).count() as f64;
    let negatives = anomalous.len() as f64 - positives;
    let mut precision_recall = vec![(0.0, 1.0)];
    let mut roc = vec![(0.0, 0.0)];
    let (mut hits, mut false_alarms) = (0.0, 0.0);
    for (rank, &index) in order.iter().enumerate() {
        if anomalous[index] {
            hits += 1.0;
        } else {
            false_alarms += 1.0;
        }
        let tied = order
            .get(rank + 1)
            .is_some_and(|&next| values[next] == values[index]);
        if !tied {
            precision_recall.push((hits / positives, hits / (hits + false_alarms)));
            roc.push((false_alarms / negatives, hits / positives));
        }
    }
    Curves {
        precision_recall,
        roc,
    }
}

/// The metrics of values.
pub fn detection(values: &[f64], anomalous: &[bool]) -> Detection {
    let curves = curves(values, anomalous);
    let reached = curves.roc.iter().find(|(_, tpr)| *tpr >= 0.95);
    Detection {
        auprc: area(&curves.precision_recall),
        auroc: area(&curves.roc),
        fpr_at_95_tpr: reached.map_or(1.0, |(fpr, _)| *fpr),
    }
}

fn area(points: &[(f64, f64)]) -> f64 {
    points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are scikit-learn's for the same values.
    #[test]
    fn agrees_with_scikit_learn() {
        let values = [0.1, 0.4, 0.35, 0.8, 0.35, 0.9, 0.2];
        let anomalous = [false, false, true, true, false, true, false];
        let got = detection(&values, &anomalous);
        assert!((got.auprc - AUPRC).abs() < 1e-12, "{got:?}");
        assert!((got.auroc - AUROC).abs() < 1e-12, "{got:?}");
        assert_eq!(got.fpr_at_95_tpr, 0.5);
    }

    const AUPRC: f64 = 0.8777777777777778;
    const AUROC: f64 = 0.875;

    #[test]
    fn a_perfect_order_and_one_that_tells_nothing() {
        let anomalous = [false, false, true, true];
        let perfect = detection(&[0.0, 1.0, 2.0, 3.0], &anomalous);
        assert_eq!((perfect.auprc, perfect.auroc), (1.0, 1.0));
        assert_eq!(perfect.fpr_at_95_tpr, 0.0);
        let blind = detection(&[1.0; 4], &anomalous);
        assert_eq!((blind.auroc, blind.fpr_at_95_tpr), (0.5, 1.0));
    }
}
