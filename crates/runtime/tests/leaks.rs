//! Nothing is left behind. In a program of its own: other tests' memory would disturb the measure.
#![allow(missing_docs)]

mod support;

use stablemate_graph::ElementType;
use stablemate_runtime::{Buffer, Session, Target, VmfbCache};

const TEXT: &str = "module @m {
  func.func @main(%x: tensor<262144xf32>) -> tensor<262144xf32> {
    %y = stablehlo.negate %x : tensor<262144xf32>
    return %y : tensor<262144xf32>
  }
}
";

#[test]
fn devices_sessions_and_buffers_go_away() {
    let folder = tempfile::tempdir().unwrap();
    let cache = VmfbCache::new(folder.path());
    let compiled = cache.compile(&support::toolchain(), TEXT, &Target::Host).unwrap();
    let round = |order: usize| {
        let device = support::device();
        let session = Session::load(&device, &compiled.path).unwrap();
        let x = Buffer::from_slice(&device, &[1 << 18], &vec![1f32; 1 << 18]).unwrap();
        let pages = Buffer::from_slice(&device, &[1 << 20], &vec![1f32; 1 << 20]).unwrap();
        let y = session.call("main", &[&x]).unwrap().remove(0);
        assert!(session.call("main", &[&y, &y]).is_err());
        assert!(session.call("main", &[&pages]).is_err());
        assert!(Buffer::zeros(&device, ElementType::F32, &[1 << 60]).is_err());
        // In every order.
        match order % 3 {
            0 => drop((device, session, x, y)),
            1 => drop((y, x, session, device)),
            _ => drop((session, y, device, x)),
        }
    };
    for order in 0..6 {
        round(order);
    }
    let before = support::resident();
    for order in 0..30 {
        round(order);
    }
    let grown = support::resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after 30 rounds of 7 MB each");

    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert!(threads <= 3, "{threads} threads are left");
}
