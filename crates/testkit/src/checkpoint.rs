//! Checkpoints as PyTorch wrote them before 1.6.

use lfbm_onnx::Tensor;

/// A checkpoint of a state dict with these tensors, each in a storage of its own.
pub fn checkpoint(tensors: &[(&str, &Tensor)]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}q\0(");
    bytes.extend(text("little_endian"));
    bytes.extend(b"\x88u.\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(");
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        bytes.extend(text(name));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(text("storage"));
        bytes.extend(b"ctorch\nFloatStorage\n");
        bytes.extend(text(&key.to_string()));
        bytes.extend(text("cpu"));
        bytes.extend(int(tensor.data.len()));
        bytes.extend(b"NtQK\0(");
        bytes.extend(tensor.shape.iter().flat_map(|&size| int(size)));
        bytes.extend(b"t(");
        let strides = (1..=tensor.shape.len()).map(|axis| tensor.shape[axis..].iter().product());
        bytes.extend(strides.flat_map(int));
        bytes.extend(b"t\x89h\0)RtR");
    }
    bytes.extend(b"u.\x80\x02](");
    bytes.extend((0..tensors.len()).flat_map(|key| text(&key.to_string())));
    bytes.extend(b"e.");
    for (_, tensor) in tensors {
        bytes.extend((tensor.data.len() as u64).to_le_bytes());
        bytes.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

fn int(value: usize) -> Vec<u8> {
    [b"J", &(value as u32).to_le_bytes()[..]].concat()
}
