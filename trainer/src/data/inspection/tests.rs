use std::fs;

use image::{GrayImage, ImageBuffer, Luma, Pixel, Rgb, RgbImage, Rgba};
use lfbm_images::Fit;

use super::*;
use crate::data::images::FORM;
use crate::data::{ClassArgs, DataArgs, DatasetName};

fn save(root: &Path, name: &str, image: &GrayImage) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

fn flat(width: u32, height: u32, value: u8) -> GrayImage {
    GrayImage::from_pixel(width, height, Luma([value]))
}

/// Two images to fit, and a good and a cut one to test, whose left half is faulty.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    save(root, "train/good/a.png", &flat(8, 6, 10));
    save(root, "train/good/b.png", &flat(7, 9, 20));
    save(root, "test/good/c.png", &flat(8, 8, 30));
    save(root, "test/cut/d.png", &flat(8, 6, 40));
    let mask = GrayImage::from_fn(8, 6, |x, _| Luma([if x < 4 { 255 } else { 0 }]));
    save(root, "ground_truth/cut/d_mask.png", &mask);
    folder
}

fn args(folder: &Path) -> DataArgs {
    DataArgs {
        dataset: DatasetName::Images,
        data_dir: Some(folder.to_owned()),
        test_list: None,
        image_size: None,
        crop: None,
        fit: Fit::Stretch,
        channels: None,
        skip_damaged: false,
        pixels_on_disk: false,
        strokes_count: 0,
        strokes_seed: 0,
    }
}

fn refused(folder: &Path) -> String {
    load("images", folder, FORM).unwrap_err().to_string()
}

#[test]
fn images_have_their_class_part_and_mask() {
    let folder = set();
    let dataset = load("images", folder.path(), FORM).unwrap();
    assert_eq!(dataset.classes, ["cut", "good"]);
    let files = [
        "test/cut/d.png",
        "train/good/a.png",
        "train/good/b.png",
        "test/good/c.png",
    ];
    assert_eq!(dataset.files, files);
    let parts: Vec<_> = (0..4).filter_map(|index| dataset.part(index)).collect();
    assert_eq!(parts, [Part::Test, Part::Fit, Part::Fit, Part::Test]);
    let half = [1, 1, 0, 0].repeat(4);
    assert_eq!(dataset.fault_mask(0), Some(&half[..]));
    assert!((1..4).all(|index| dataset.fault_mask(index).is_none()));
    let mut turned = dataset.clone();
    turned.reorder(&[3, 0]);
    assert_eq!(
        (turned.part(0), turned.fault_mask(0)),
        (Some(Part::Test), None)
    );
    assert_eq!(turned.fault_mask(1), Some(&half[..]));
}

#[test]
fn masks_are_placed_like_their_images() {
    let folder = set();
    // The fault is in what a crop cuts off, and in what it leaves.
    let mask = GrayImage::from_fn(8, 6, |x, y| Luma([u8::from(x == 0 || (x, y) == (4, 3))]));
    save(folder.path(), "ground_truth/cut/d_mask.png", &mask);
    let intake = Intake {
        fit: Fit::Crop,
        ..Intake::STRETCH
    };
    let size = Size {
        width: 6,
        height: 6,
    };
    let form = Form {
        intake,
        size,
        ..FORM
    };
    let dataset = load("images", folder.path(), form).unwrap();
    let mut expected = [0; 36];
    expected[3 * 6 + 3] = 1;
    assert_eq!(dataset.fault_mask(0), Some(&expected[..]));
}

/// The mask of the cut image, 4 x 4, of a set with this mask instead, in a file of this name.
fn mask_of(name: &str, mask: &DynamicImage) -> Option<Vec<u8>> {
    let folder = set();
    let masks = folder.path().join("ground_truth/cut");
    fs::remove_file(masks.join("d_mask.png")).unwrap();
    mask.save(masks.join(name)).unwrap();
    let dataset = load("images", folder.path(), FORM).unwrap();
    dataset.fault_mask(0).map(<[u8]>::to_vec)
}

/// 8 x 6 pixels, of one value on the left and of another on the right.
fn halves<P: Pixel<Subpixel: 'static> + 'static>(
    left: P,
    right: P,
) -> ImageBuffer<P, Vec<P::Subpixel>> {
    ImageBuffer::from_fn(8, 6, |x, _| if x < 4 { left } else { right })
}

#[test]
fn whatever_is_not_black_and_not_transparent_is_faulty() {
    let half = Some([1, 1, 0, 0].repeat(4));
    let label = Luma([1_u16]);
    let of_16_bits = halves(label, Luma([0]));
    assert_eq!(mask_of("d.png", &of_16_bits.into()), half);
    let colour_of_16_bits = halves(Rgb([0_u16, 0, 3]), Rgb([0; 3]));
    assert_eq!(mask_of("d.png", &colour_of_16_bits.into()), half);
    // White on black, all of it opaque; white, or black, on nothing.
    for (left, right) in [
        ([255_u8, 255, 255, 255], [0, 0, 0, 255]),
        ([255, 255, 255, 255], [255, 255, 255, 0]),
        ([0, 0, 0, 255], [0, 0, 0, 0]),
    ] {
        let mask = halves(Rgba(left), Rgba(right));
        assert_eq!(mask_of("d.png", &mask.into()), half, "{left:?} {right:?}");
    }
}

#[test]
fn a_black_mask_of_a_faulty_image_counts_as_missing() {
    assert_eq!(mask_of("d.png", &flat(8, 6, 0).into()), None);
    let opaque = halves(Rgba([0_u8, 0, 0, 255]), Rgba([0, 0, 0, 255]));
    assert_eq!(mask_of("d.png", &opaque.into()), None);
}

#[test]
fn what_a_lossy_mask_has_of_black_is_no_fault() {
    let half = Some([1, 1, 0, 0].repeat(4));
    let mask = halves(Luma([250_u8]), Luma([6]));
    for name in ["d.jpg", "d_mask.jpg"] {
        assert_eq!(mask_of(name, &mask.clone().into()), half);
    }
    // In a file without loss both are labels.
    assert_eq!(mask_of("d.png", &mask.into()), Some(vec![1; 16]));
}

#[test]
fn two_masks_of_an_image_are_refused() {
    let folder = set();
    save(folder.path(), "ground_truth/cut/d.png", &flat(8, 6, 255));
    let error = refused(folder.path());
    for part in ["d.png", "d_mask.png", "keep one of the two"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_fault_that_is_too_thin_for_half_a_pixel_is_not_lost() {
    assert_eq!(covered(&[0, 255, 128, 127]), [0, 1, 1, 0]);
    assert_eq!(covered(&[0, 30, 127, 0]), [0, 1, 1, 0]);
    assert_eq!(covered(&[0, 0]), [0, 0]);
}

#[test]
fn names_of_masks_may_be_those_of_images() {
    let folder = set();
    let masks = folder.path().join("ground_truth/cut");
    fs::rename(masks.join("d_mask.png"), masks.join("d.png")).unwrap();
    let dataset = load("images", folder.path(), FORM).unwrap();
    assert!(dataset.fault_mask(0).is_some());
    fs::rename(masks.join("d.png"), masks.join("other.png")).unwrap();
    let error = refused(folder.path());
    assert!(
        error.contains("none of its masks is of an image"),
        "{error}"
    );
    fs::remove_dir_all(folder.path().join("ground_truth")).unwrap();
    let dataset = load("images", folder.path(), FORM).unwrap();
    assert!(dataset.fault_mask(0).is_none());
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let folder = set();
    save(
        folder.path(),
        "ground_truth/cut/d_mask.png",
        &flat(6, 8, 255),
    );
    let error = refused(folder.path());
    for part in ["1 of 1", "d_mask.png", "6 x 8", "8 x 6"] {
        assert!(error.contains(part), "{error}");
    }
    let form = Form {
        skip_damaged: true,
        pixels_on_disk: false,
        ..FORM
    };
    let dataset = load("images", folder.path(), form).unwrap();
    assert!(dataset.len() == 4 && dataset.fault_mask(0).is_none());
}

#[test]
fn empty_folders_are_refused() {
    let folder = set();
    let test = folder.path().join("test");
    fs::remove_dir_all(&test).unwrap();
    assert!(!is_inspection(folder.path()));
    fs::create_dir_all(test.join("cut")).unwrap();
    let error = refused(folder.path());
    assert!(error.contains("/test: expected one folder"), "{error}");
    fs::remove_file(folder.path().join("train/good/a.png")).unwrap();
    fs::remove_file(folder.path().join("train/good/b.png")).unwrap();
    let error = refused(folder.path());
    assert!(error.contains("/train/good: expected PNG"), "{error}");
}

#[test]
fn the_layout_decides_size_channels_and_the_normal_class() {
    let folder = set();
    let mut args = args(folder.path());
    let dataset = args.load().unwrap();
    let shape = [dataset.channels, dataset.height, dataset.width];
    assert_eq!(shape, [1, 256, 256]);
    let good = ClassArgs::default();
    good.check(&args).unwrap();
    let selection = good.select_in(&dataset).unwrap();
    assert_eq!((selection.normal, selection.held_out), (vec![1], vec![0]));
    let cut = ClassArgs {
        normal_classes: Some("cut".to_owned()),
        holdout: None,
    };
    let error = cut.select_in(&dataset).unwrap_err().to_string();
    assert!(error.contains("good is the normal class"), "{error}");

    let red = RgbImage::from_pixel(5, 5, Rgb([255, 0, 0]));
    red.save(folder.path().join("train/good/e.png")).unwrap();
    args.image_size = Some(8);
    assert_eq!(args.load().unwrap().channels, 3);
    args.channels = Some(1);
    assert_eq!(args.load().unwrap().channels, 1);

    args.data_dir = Some(folder.path().join("test"));
    let error = good.check(&args).unwrap_err().to_string();
    assert!(error.contains("--normal-classes"), "{error}");
}

#[test]
fn a_list_names_the_normal_test_images() {
    let folder = set();
    let list = folder.path().join("list.txt");
    let mut args = args(folder.path());
    args.image_size = Some(4);
    args.test_list = Some(list.clone());
    let load = |text: &str| {
        fs::write(&list, text).unwrap();
        args.load()
    };
    let dataset = load("# a comment\n\n b.png \n").unwrap();
    let parts: Vec<_> = (0..4).filter_map(|index| dataset.part(index)).collect();
    // The cut one stays in the test, c.png moves to the fit.
    assert_eq!(parts, [Part::Test, Part::Fit, Part::Test, Part::Fit]);
    assert_eq!(load("train/good/b.png\r\n").unwrap(), dataset);
    let refused = |text: &str, part: &str| {
        let error = load(text).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("list.txt"),
            "{error}"
        );
    };
    refused(
        "b.png\nno.png\nd.png\n",
        "2 of its names are of no normal image in train/good or test/good: no.png, d.png",
    );
    refused("# nothing\n", "names no image");
    refused("a.png\nb.png\nc.png", "names all normal images");
    save(folder.path(), "test/good/b.png", &flat(4, 4, 50));
    refused("b.png", "b.png may be train/good/b.png or test/good/b.png");

    args.data_dir = Some(folder.path().join("train"));
    let error = args.load().unwrap_err().to_string();
    assert!(error.contains("--test-list is for"), "{error}");
}
