//! The images that a command line names.

use std::fs;

use crate::{command, json, json_lines, lfbm, samples, serve, with_input};

#[test]
fn images_and_lists_of_images_come_through_standard_input() {
    let (server, _scratch) = serve(&[]);
    let image = samples().join("model-1.png");
    let bytes = fs::read(&image).unwrap();
    let by_name = json(&lfbm(
        &server,
        &["score", "--json", image.to_str().unwrap()],
    ));
    let piped = with_input(command(&server).args(["score", "--json", "-"]), &bytes);
    assert_eq!(json(&piped)["log_joint"], by_name["log_joint"]);

    let other = samples().join("strokes-4-0.png");
    for separator in ["\n", "\0"] {
        let list = format!(
            "{}{separator}{}{separator}",
            image.display(),
            other.display()
        );
        let mut command = command(&server);
        command.args(["score", "--json", "--files-from", "-"]);
        let listed = json_lines(&with_input(&mut command, list.as_bytes()));
        assert_eq!(listed[0]["log_joint"], by_name["log_joint"]);
        assert_eq!(listed[1]["image"], other.to_str().unwrap());
        assert_eq!(listed.len(), 2);
    }
}
