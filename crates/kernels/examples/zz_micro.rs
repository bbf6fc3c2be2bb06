use stablemate_encodings::{Bits, Float, Packing, Scales};
use stablemate_kernels::*;
use std::time::Instant;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let int8 = std::env::args().any(|a| a == "int8");
    let kernels = Kernels::new(Isa::best(), 1, if int8 { Activations::Int8 } else { Activations::Exact });
    for bits in [Bits::Four, Bits::Eight, Bits::Six] {
        for group in [32, 128] {
            let packing = Packing::new(bits, group, Scales::Centred(Float::F16)).unwrap();
            for columns in [256, 512, 1024, 2048, 8192] {
                let rows = (1 << 20) / columns;
                let mut words = vec![0x2000_2000u32; packing.words(rows, columns) + 16];
                let off = words.as_ptr().align_offset(64);
                let n = packing.words(rows, columns);
                let words = &mut words[off..off + n];
                for &t in &a {
                    let x = vec![0.1; t * columns];
                    let mut out = vec![0.0; t * rows];
                    let mut best = f64::MAX;
                    for _ in 0..60 {
                        let s = Instant::now();
                        kernels.linear(&x, &vec![0; t], &mut [Product { matrix: Matrix { weight: Weight::Packed { packing, words }, rows, columns }, residual: None, out: &mut out }]).unwrap();
                        best = best.min(s.elapsed().as_secs_f64());
                    }
                    print!("{packing} K={columns} T={t}: {:.0} GMAC/s;  ", (t * rows * columns) as f64 / best / 1e9);
                }
                println!();
            }
        }
    }
}
