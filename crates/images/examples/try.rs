use std::path::Path;
fn main() {
    for p in std::env::args().skip(1) {
        let b = std::fs::read(&p).unwrap();
        match lfbm_images::decode(&b, 1 << 30) {
            Ok(i) => {
                let rgb = i.to_rgb8();
                let mut out = format!("P6\n{} {}\n255\n", rgb.width(), rgb.height()).into_bytes();
                out.extend(rgb.as_raw());
                std::fs::write(Path::new(&format!("{p}.ours.ppm")), out).unwrap();
                println!("{p}: ok {:?} {}x{}", i.color(), i.width(), i.height());
            }
            Err(e) => println!("{p}: {e}"),
        }
    }
}
