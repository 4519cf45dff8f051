use std::path::Path;

use clap::Args;

use super::images::{TRAIN, class_names};
use super::inspection::{GOOD, is_inspection};
use super::{DataArgs, DataError, Dataset, DatasetName};

/// The number of classes that an error lists.
const LISTED: usize = 20;

/// Which classes are normal.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct ClassArgs {
    /// Classes to learn as normal, by name, with ranges of numbers: 0-3,5-9; of an inspection data set
    /// good
    #[arg(long)]
    pub normal_classes: Option<String>,
    /// Classes to keep out as anomalies; all others are normal
    #[arg(long)]
    pub holdout: Option<String>,
}

/// Which classes are normal; all by default.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub struct OptionalClassArgs {
    /// Normal classes, by name, with ranges of numbers: 0-3,5-9; all by default
    #[arg(long)]
    normal_classes: Option<String>,
    /// Classes that are not normal; all others are
    #[arg(long)]
    holdout: Option<String>,
}

impl OptionalClassArgs {
    /// The labels among the classes of the data set.
    ///
    /// # Errors
    /// When a name is not a class, or no class is normal.
    pub fn select(&self, dataset: &Dataset) -> Result<ClassSelection, DataError> {
        let Self {
            normal_classes,
            holdout,
        } = self.clone();
        let is_named = normal_classes.is_some() || holdout.is_some();
        if !is_named && dataset.inspected.is_empty() {
            return ClassSelection::of_names(&dataset.classes, &dataset.classes);
        }
        let chosen = ClassArgs {
            normal_classes,
            holdout,
        };
        chosen.select_in(dataset)
    }
}

/// Labels of the normal classes and of those kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSelection {
    /// Normal.
    pub normal: Vec<u32>,
    /// Anomalous.
    pub held_out: Vec<u32>,
}

impl ClassSelection {
    /// The selection with `normal` names among `classes`; the others are held out.
    ///
    /// # Errors
    /// When a name is not a class.
    pub fn of_names(classes: &[String], normal: &[String]) -> Result<Self, DataError> {
        let chosen = normal
            .iter()
            .map(|name| find(classes, name))
            .collect::<Result<Vec<_>, _>>()?;
        let (normal, held_out) =
            (0..classes.len() as u32).partition(|label| chosen.contains(label));
        Ok(Self { normal, held_out })
    }

    /// The selection of classes among the `normal` names, or else of the class `good`: inspection data
    /// sets have a folder `good`, and others named after defects.
    pub fn of_known(classes: &[String], normal: &[String]) -> Self {
        let is_normal = |label: &u32| {
            let class = &classes[*label as usize];
            normal.contains(class) || (class == GOOD && !classes.iter().any(|c| normal.contains(c)))
        };
        let (normal, held_out) = (0..classes.len() as u32).partition(is_normal);
        Self { normal, held_out }
    }
}

impl ClassArgs {
    /// Whether the options say which classes are normal, or the data set does.
    ///
    /// # Errors
    /// When neither does.
    pub fn check(&self, data: &DataArgs) -> Result<(), DataError> {
        let is_named = self.normal_classes.is_some() || self.holdout.is_some();
        if is_named || data.inspection_folder().is_some() {
            return Ok(());
        }
        Err(match data.dataset {
            DatasetName::Images => unnamed(&data.images_folder()?)?,
            _ => DataError::Usage(
                "say which classes are normal with --normal-classes or --holdout".to_owned(),
            ),
        })
    }

    /// The labels among the classes of the data set: of an inspection data set that of `good`.
    ///
    /// # Errors
    /// When a name is not a class, no class is normal, or one other than `good` of an inspection data
    /// set.
    pub fn select_in(&self, dataset: &Dataset) -> Result<ClassSelection, DataError> {
        if dataset.inspected.is_empty() {
            let selected = self.select(&dataset.classes);
            return selected.map_err(|error| match error {
                DataError::Usage(reason) if dataset.has_no_class_folders() => {
                    DataError::Usage(format!("{reason} (the folder has no class folders)"))
                }
                error => error,
            });
        }
        let good = ClassSelection::of_names(&dataset.classes, &[GOOD.to_owned()])?;
        let is_named = self.normal_classes.is_some() || self.holdout.is_some();
        if is_named && self.select(&dataset.classes)? != good {
            return Err(DataError::Usage(
                "of a folder with train/good and test, good is the normal class; leave out \
                 --normal-classes and --holdout, or name the folder train itself with --data-dir"
                    .to_owned(),
            ));
        }
        Ok(good)
    }

    /// The labels among `classes`, the names by label.
    ///
    /// # Errors
    /// When a name is not a class, or no class is normal.
    pub fn select(&self, classes: &[String]) -> Result<ClassSelection, DataError> {
        let (list, inverted) = match (&self.normal_classes, &self.holdout) {
            (Some(list), None) => (list, false),
            (None, Some(list)) => (list, true),
            _ => {
                let message = "give either --normal-classes or --holdout";
                return Err(DataError::Usage(message.to_owned()));
            }
        };
        let named = parse(classes, list)?;
        let (normal, held_out): (Vec<u32>, Vec<u32>) =
            (0..classes.len() as u32).partition(|label| named.contains(label) != inverted);
        if normal.is_empty() {
            return Err(DataError::Usage("no class is left as normal".to_owned()));
        }
        Ok(ClassSelection { normal, held_out })
    }
}

/// The class of a name; numbers match by value: `1` finds `01`.
fn find(classes: &[String], name: &str) -> Result<u32, DataError> {
    if let Some(label) = classes.iter().position(|class| class == name) {
        return Ok(label as u32);
    }
    match name.parse() {
        Ok(number) => find_number(classes, number),
        Err(_) => Err(no_class(classes, name)),
    }
}

fn find_number(classes: &[String], number: u32) -> Result<u32, DataError> {
    let numbered = (0..).zip(classes);
    let mut found = numbered.filter(|(_, class)| class.parse() == Ok(number));
    match (found.next(), found.next()) {
        (None, _) => Err(no_class(classes, &number.to_string())),
        (Some((label, _)), None) => Ok(label),
        (Some((_, one)), Some((_, other))) => Err(DataError::Usage(format!(
            "{number} may be class {one:?} or {other:?}; name the classes as they are, without ranges"
        ))),
    }
}

fn no_class(classes: &[String], name: &str) -> DataError {
    DataError::Usage(format!(
        "{name:?} is no class; classes here: {}",
        listed(classes)
    ))
}

fn listed(classes: &[String]) -> String {
    let first = classes.iter().take(LISTED);
    let first: Vec<_> = first.map(|class| format!("{class:?}")).collect();
    let more = match classes.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}

/// What to do about a folder that does not say which of its images are normal.
///
/// # Errors
/// When it has no images, which is then what to tell.
fn unnamed(folder: &Path) -> Result<DataError, DataError> {
    if folder.join("manifest.json").is_file() {
        let reason = "expected a folder of images, it is a bundle";
        return Ok(DataError::invalid(folder, reason));
    }
    if let Some(set) = folder.parent().filter(|set| is_inspection(set))
        && folder.ends_with(TRAIN)
    {
        let reason = format!(
            "it is a part of the inspection data set {}: name that with --data-dir, or say with --normal-classes \
             {GOOD} that only this part is meant",
            set.display()
        );
        return Ok(DataError::invalid(folder, reason));
    }
    let good = folder.join(TRAIN).join(GOOD);
    if good.is_dir() {
        let reason = format!(
            "it has {TRAIN}/{GOOD} and no test: add the folder test, or name {} with --data-dir and --normal-classes \
             {GOOD}",
            folder.join(TRAIN).display()
        );
        return Ok(DataError::invalid(folder, reason));
    }
    let reason = match class_names(folder)? {
        Some(classes) => format!(
            "say which classes are normal with --normal-classes or --holdout; classes here: {}",
            listed(&classes)
        ),
        None => {
            "it has no class folders; if all of its images are normal, say --normal-classes images"
                .to_owned()
        }
    };
    Ok(DataError::invalid(folder, reason))
}

fn parse(classes: &[String], list: &str) -> Result<Vec<u32>, DataError> {
    let mut labels = Vec::new();
    for item in list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let range = item.split_once('-').and_then(|(first, last)| {
            Some((first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
        });
        match range {
            _ if classes.iter().any(|class| class == item) => labels.push(find(classes, item)?),
            Some((first, last)) if first <= last => {
                for number in first..=last {
                    labels.push(find_number(classes, number)?);
                }
            }
            Some(_) => {
                return Err(DataError::Usage(format!("the range {item} runs backwards")));
            }
            None => labels.push(find(classes, item)?),
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits() -> Vec<String> {
        (0..10).map(|digit| digit.to_string()).collect()
    }

    fn normal(list: &str) -> Result<ClassSelection, DataError> {
        ClassArgs {
            normal_classes: Some(list.to_owned()),
            holdout: None,
        }
        .select(&digits())
    }

    #[test]
    fn ranges_and_their_opposite() {
        let selection = normal("0-3, 5-9").unwrap();
        assert_eq!(selection.normal, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        assert_eq!(selection.held_out, [4]);
        let holdout = ClassArgs {
            normal_classes: None,
            holdout: Some("4".to_owned()),
        };
        assert_eq!(holdout.select(&digits()).unwrap(), selection);
    }

    #[test]
    fn names_with_dashes_are_names() {
        let classes = vec!["good".to_owned(), "1-2".to_owned()];
        let args = ClassArgs {
            normal_classes: Some("1-2".to_owned()),
            holdout: None,
        };
        assert_eq!(args.select(&classes).unwrap().normal, [1]);
    }

    #[test]
    fn numbers_find_classes_with_zeros_before_them() {
        let select = |classes: &[&str], list: &str| {
            let classes: Vec<_> = classes.iter().map(|&class| class.to_owned()).collect();
            let args = ClassArgs {
                normal_classes: Some(list.to_owned()),
                holdout: None,
            };
            args.select(&classes).map(|selection| selection.normal)
        };
        let classes = ["01", "02", "03", "10"];
        assert_eq!(select(&classes, "1-3").unwrap(), [0, 1, 2]);
        assert_eq!(select(&classes, "01-02,10").unwrap(), [0, 1, 3]);
        assert_eq!(select(&classes, "2").unwrap(), [1]);
        let both = select(&["01", "1", "2"], "1-2").unwrap_err().to_string();
        assert!(both.contains("\"01\" or \"1\""), "{both}");
        assert_eq!(select(&["01", "1", "2"], "1").unwrap(), [1]);
        let many: Vec<_> = (0..50).map(|class| format!("c{class}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let none = select(&many, "d").unwrap_err().to_string();
        assert!(none.ends_with("\"c19\" and 30 more"), "{none}");
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(
            normal("0,11")
                .unwrap_err()
                .to_string()
                .contains("\"11\" is no class")
        );
        assert!(normal("7-3").unwrap_err().to_string().contains("backwards"));
        assert!(
            normal("")
                .unwrap_err()
                .to_string()
                .contains("no class is left")
        );
    }
}
