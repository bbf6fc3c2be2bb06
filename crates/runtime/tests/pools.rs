//! Pools of many gigabytes. In a program of its own: other tests' memory would disturb the measure.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use stablemate_graph::{
    ElementType, Kernel, Label, ModuleBuilder, NativeBinding, NativeCall, TensorType,
};
use stablemate_runtime::{Binding, Buffer, Device, KernelResolver, NativeKernel};

const ROW: Label = Label("Row");
const COLUMN: Label = Label("Column");
/// 4 GiB of f32.
const POOL: [usize; 2] = [1 << 20, 1 << 10];

/// Every kernel writes its second operand over the end of the first.
struct Write;

impl KernelResolver for Write {
    fn resolve(&self, symbol: &str, _: &[NativeBinding]) -> Option<NativeKernel> {
        let function = Box::new(|bindings: &mut [Binding<'_>]| {
            let [Binding::Write(pool), Binding::Read(row)] = bindings else { unreachable!() };
            let start = pool.len() - row.len();
            pool[start..].copy_from_slice(row);
            Ok(())
        });
        Some(NativeKernel { name: symbol.to_owned(), function })
    }
}

#[test]
fn a_pool_takes_the_memory_that_is_written() {
    let module = ModuleBuilder::new("pools");
    {
        let ty = |rows| TensorType::new(ElementType::F32, [ROW.of(rows), COLUMN.of(POOL[1])]);
        let main = module.function("main");
        let mut pool = main.argument("pool", ty(POOL[0]));
        main.alias(pool, 0);
        let row = main.argument("row", ty(1));
        for _ in 0..16 {
            let operands = [pool, row + 1.0];
            pool = main.composite(Kernel::new("test.write"), &operands, |_, o| {
                let rest = o[0].slice(ROW, 0..POOL[0] - 1);
                vec![rest.concatenate(&[o[1]], ROW)]
            })[0];
        }
        main.finish(&[("pool", pool)]).unwrap();
    }
    let write = NativeCall { symbol: "write".to_owned(), tied: vec![(0, 0)] };
    let text = module.finish().unwrap().native(&|_| Some(write.clone())).unwrap();
    let device = Device::native(Arc::new(Write)).unwrap();
    let session = support::session(&device, &text);

    let before = support::resident();
    let pool = Buffer::zeros(&device, ElementType::F32, &POOL).unwrap();
    let row = Buffer::from_slice(&device, &[1, POOL[1]], &[1f32; POOL[1]]).unwrap();
    let mut results = Vec::new();
    for _ in 0..3 {
        results = session.call("main", &[&pool, &row]).unwrap();
    }
    // One large page, at most, and what else goes with calls.
    let grown = support::resident().saturating_sub(before);
    assert!(grown < 10 << 20, "{grown} bytes more for a pool of 4 GiB");

    let last = POOL[0] * POOL[1] - 1;
    for pool in [&pool, &results[0]] {
        let mut value = [0f32];
        pool.read_into(last, &mut value).unwrap();
        assert_eq!(value, [2.0]);
        pool.read_into(0, &mut value).unwrap();
        assert_eq!(value, [0.0]);
    }
}
