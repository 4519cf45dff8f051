//! Detection metrics. Anomalies are the positive class; high values indicate anomalies.

use std::collections::{BTreeMap, BTreeSet};

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

/// The largest harmonic mean of precision and recall over all thresholds.
pub fn f1_max(curves: &Curves) -> f64 {
    let points = curves.precision_recall.iter();
    points
        .map(|(recall, precision)| 2.0 * recall * precision / (recall + precision))
        .fold(0.0, f64::max)
}

/// The metrics of each class of anomalies against all normal images, by name. `classes` are the names
/// of the images' classes.
pub fn detection_by_class(
    values: &[f64],
    anomalous: &[bool],
    classes: &[&str],
) -> BTreeMap<String, Detection> {
    let anomalies = anomalous
        .iter()
        .zip(classes)
        .filter(|(anomaly, _)| **anomaly);
    let names: BTreeSet<&str> = anomalies.map(|(_, class)| *class).collect();
    let of = |name: &str| {
        let images = values.iter().zip(anomalous).zip(classes);
        let (values, anomalous): (Vec<f64>, Vec<bool>) = images
            .filter(|((_, anomaly), class)| !**anomaly || **class == name)
            .map(|((value, anomaly), _)| (*value, *anomaly))
            .unzip();
        detection(&values, &anomalous)
    };
    names
        .into_iter()
        .map(|name| (name.to_owned(), of(name)))
        .collect()
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

    #[test]
    fn the_best_harmonic_mean_is_found() {
        let f1_max = |values: &[f64]| f1_max(&curves(values, &[false, true, true, false]));
        assert_eq!(f1_max(&[0.0, 1.0, 2.0, 0.5]), 1.0);
        // Two of three called anomalous are: precision 2/3, recall 1.
        assert!((f1_max(&[1.5, 1.0, 2.0, 0.5]) - 0.8).abs() < 1e-12);
        // No threshold is better than calling all images anomalous.
        assert!((f1_max(&[1.0; 4]) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn each_class_meets_all_normal_images_and_no_other_class() {
        let values = [0.0, 2.0, 3.0, 1.0, -1.0];
        let anomalous = [false, false, true, true, true];
        let classes = ["good", "good", "cut", "hole", "hole"];
        let by_class = detection_by_class(&values, &anomalous, &classes);
        assert_eq!(by_class.keys().collect::<Vec<_>>(), ["cut", "hole"]);
        assert_eq!(by_class["cut"].auroc, 1.0);
        assert_eq!(by_class["cut"].fpr_at_95_tpr, 0.0);
        // Of four pairs, one is in order.
        assert_eq!(by_class["hole"].auroc, 0.25);
        assert_eq!(by_class["hole"].fpr_at_95_tpr, 1.0);
    }
}
