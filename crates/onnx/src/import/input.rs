//! The input of a model: latents or images.

use super::importer::Importer;
use crate::codec::{DecodeError, content, read_info};
use crate::graph::{Dim, ElementType, Shape, Value, ValueType};
use crate::missing::shortened;
use crate::proto::ValueInfoProto;

pub(super) fn only_input<'a>(
    given: &[&'a ValueInfoProto],
) -> Result<&'a ValueInfoProto, DecodeError> {
    if let [info] = given {
        return Ok(info);
    }
    let names = given.iter().map(|info| info.name.as_deref());
    let names: Vec<_> = names.map(Option::unwrap_or_default).collect();
    Err(content(format!(
        "it has {} inputs ({}), expected one",
        given.len(),
        shortened(&names.join(", "), 200)
    )))
}

/// The name and shape of an input of floats.
fn float_input(info: &ValueInfoProto) -> Result<(String, Shape), DecodeError> {
    let (name, ValueType { element, shape }) = read_info(info)?;
    if element == ElementType::F32 {
        return Ok((name, shape));
    }
    Err(content(format!(
        "its input {} is not of float32",
        shortened(&name, 80)
    )))
}

fn misfit(name: &str, shape: &[Dim], expected: &str) -> DecodeError {
    let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
    content(format!(
        "its input {} has the shape [{}], expected {expected}",
        shortened(name, 80),
        shortened(&sizes.join(", "), 80)
    ))
}

/// A generator of images may take its latents as images of one position.
pub(super) fn bind_latents(
    importer: &mut Importer,
    info: &ValueInfoProto,
    input: &str,
) -> Result<(), DecodeError> {
    let (name, shape) = float_input(info)?;
    let (shape, positions): (&[Dim], &[i64]) = match &shape[..] {
        [rows, size, Dim::Fixed(1), Dim::Fixed(1)] => (&[*rows, *size], &[2, 3]),
        shape => (shape, &[]),
    };
    let [Dim::Batch, Dim::Fixed(1..)] = shape else {
        let expected = "[B, d] with a free number of rows B and a fixed d; export it with a dynamic \
                        first dimension";
        return Err(misfit(&name, shape, expected));
    };
    let mut value = importer.graph.input(input, shape);
    if !positions.is_empty() {
        value = importer.graph.unsqueeze(&value, positions)?;
    }
    importer.names.insert(Value::new(&name), value);
    Ok(())
}

/// Free sizes are read as [`Dim::Batch`].
pub(super) fn bind_images(
    importer: &mut Importer,
    info: &ValueInfoProto,
    input: &str,
    [height, width]: [usize; 2],
) -> Result<(), DecodeError> {
    let (name, shape) = float_input(info)?;
    let fits = |dim: Dim, size: usize| dim == Dim::Batch || dim == Dim::Fixed(size);
    match shape[..] {
        [Dim::Batch, channels, rows, columns]
            if fits(channels, 3) && fits(rows, height) && fits(columns, width) =>
        {
            let sizes = [3, height, width].map(Dim::Fixed);
            let shape = [Dim::Batch, sizes[0], sizes[1], sizes[2]];
            let value = importer.graph.input(input, &shape);
            importer.names.insert(Value::new(&name), value);
            Ok(())
        }
        _ => {
            let expected = format!(
                "[B, 3, {height}, {width}] with a free number of rows B; export it with a dynamic first \
                 dimension, and for images of {height} x {width} pixels"
            );
            Err(misfit(&name, &shape, &expected))
        }
    }
}
