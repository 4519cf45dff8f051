use super::Violation;
use crate::admission::Priority;
use crate::proto;

/// The priority of a request, `default` where it names none.
///
/// # Errors
/// When it is none of `lfbm.v1.Priority`.
pub fn priority(value: i32, default: Priority) -> Result<Priority, Violation> {
    match proto::Priority::try_from(value) {
        Ok(proto::Priority::Unspecified) => Ok(default),
        Ok(proto::Priority::Interactive) => Ok(Priority::Interactive),
        Ok(proto::Priority::Bulk) => Ok(Priority::Bulk),
        Err(_) => Err(Violation::new(
            "priority",
            format!("expected a value of lfbm.v1.Priority, got {value}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_the_default_and_the_unknown_is_named() {
        let priority = |value| priority(value, Priority::Bulk);
        assert_eq!(priority(0), Ok(Priority::Bulk));
        assert_eq!(priority(1), Ok(Priority::Interactive));
        assert_eq!(priority(2), Ok(Priority::Bulk));
        assert!(priority(3).unwrap_err().description.contains("got 3"));
    }
}
