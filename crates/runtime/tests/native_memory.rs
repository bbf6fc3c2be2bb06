//! The memory that kernels are called with.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use stablemate_graph::{ElementType, Kernel, Label, Module, NativeCall, NativeSite, TensorType};
use stablemate_runtime::{Buffer, Device};
use support::kernels::{COLUMN, Kernels, ROW, choose, device, matrix, module, session};

/// A pool that is written twice and read between.
fn pool(rows: usize) -> Module {
    module(|main| {
        let pool = main.argument("pool", matrix(rows, 256));
        let row = main.argument("row", matrix(2, 256));
        let write = |pool, row| {
            main.composite(Kernel::new("test.write"), &[pool, row], |_, o| {
                let rest = o[0].slice(ROW, 2..o[0].size(ROW));
                vec![o[1].concatenate(&[rest], ROW)]
            })[0]
        };
        let first = write(pool, row);
        let peek = main.composite(Kernel::new("test.peek"), &[first], |_, o| {
            let rows = o[0].slice(ROW, 0..2);
            vec![rows + rows]
        })[0];
        let second = write(first, peek);
        main.alias(pool, 0);
        main.finish(&[("pool", second), ("peek", peek)]).unwrap();
    })
}

#[test]
fn tied_operands_are_overwritten_in_place() {
    let kernels = Kernels::default();
    let pools = kernels.pools.clone();
    let device = Device::native(Arc::new(kernels)).unwrap();
    let session = session(&device, &pool(8));
    assert_eq!(session.function("main").unwrap().arguments[0].donated_to, Some(0));
    let pool = Buffer::zeros(&device, ElementType::F32, &[8, 256]).unwrap();
    pool.write(7 * 256, &[5f32]).unwrap();
    let row = Buffer::from_slice(&device, &[2, 256], &[1f32; 512]).unwrap();
    for _ in 0..2 {
        let results = session.call("main", &[&pool, &row]).unwrap();
        assert_eq!(results[1].read::<f32>().unwrap(), [2.0; 512]);
        let mut expected = vec![0f32; 8 * 256];
        expected[..512].fill(2.0);
        expected[7 * 256] = 5.0;
        // The argument and the result are one memory.
        assert_eq!(pool.read::<f32>().unwrap(), expected);
        assert_eq!(results[0].read::<f32>().unwrap(), expected);
        results[0].write(0, &[9f32]).unwrap();
        let mut first = [0f32];
        pool.read_into(0, &mut first).unwrap();
        assert_eq!(first, [9.0]);
    }
    let pools = pools.lock().unwrap();
    assert_eq!(pools.len(), 4);
    assert!(pools.iter().all(|pool| *pool == pools[0]), "{pools:?}");
}

#[test]
fn several_operands_are_tied() {
    let device = device();
    let module = module(|main| {
        let a = main.argument("a", matrix(2, 2));
        let b = main.argument("b", matrix(2, 2));
        let exchanged =
            main.composite(Kernel::new("test.exchange"), &[a, b], |_, o| vec![o[1], o[0]]);
        main.alias(a, 0);
        main.alias(b, 1);
        main.finish(&[("first", exchanged[0]), ("second", exchanged[1])]).unwrap();
    });
    let session = session(&device, &module);
    let a = Buffer::from_slice(&device, &[2, 2], &[1f32; 4]).unwrap();
    let b = Buffer::from_slice(&device, &[2, 2], &[2f32; 4]).unwrap();
    let results = session.call("main", &[&a, &b]).unwrap();
    for (result, argument, value) in [(&results[0], &a, 2.0), (&results[1], &b, 1.0)] {
        assert_eq!(result.read::<f32>().unwrap(), [value; 4]);
        assert_eq!(argument.read::<f32>().unwrap(), [value; 4]);
    }
    // One memory under two names cannot be exchanged with itself.
    let error = session.call("main", &[&a, &a]).unwrap_err().to_string();
    assert!(
        error.contains("exchange 2 2 2 2 failed: its binding 0 is written and overlaps"),
        "{error}"
    );
}

#[test]
fn kernels_read_memory_where_it_lies() {
    let device = device();
    let module = module(|main| {
        let x = main.argument("x", matrix(2, 3));
        let y = main.argument("y", matrix(2, 3));
        let doubled = main.composite(Kernel::new("test.copy"), &[x], |_, o| vec![o[0] + 0.0])[0];
        main.finish(&[("sum", doubled + y)]).unwrap();
    });
    assert_eq!(module.native_arguments("main", &choose), [true, false]);
    let session = session(&device, &module);
    let values = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let y = Buffer::from_slice(&device, &[2, 3], &values).unwrap();
    for offset in [1, 4, 63, 64] {
        let mut contents = vec![0xff; offset];
        contents.extend_from_slice(bytemuck::cast_slice(&values));
        let map = support::mapped(&contents);
        let range = offset..contents.len();
        let import = |device| {
            let range = range.clone();
            Buffer::import_unaligned(device, ElementType::F32, &[2, 3], &map, range).unwrap()
        };
        let x = import(&device);
        assert_eq!(Arc::strong_count(&map), 2, "not copied");
        assert_eq!(x.read::<f32>().unwrap(), values);
        let sum = session.call("main", &[&x, &y]).unwrap().remove(0);
        assert_eq!(sum.read::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        // The compiler's code needs it aligned.
        drop(x);
        let _copy = import(&support::device());
        assert_eq!(Arc::strong_count(&map), if offset == 64 { 2 } else { 1 });
    }
}

#[test]
fn every_element_type_and_rank() {
    const LABELS: [Label; 4] = [ROW, COLUMN, Label("Depth"), Label("Time")];
    let device = device();
    let sizes = [2, 3, 5, 7];
    let elements = [
        ElementType::F32,
        ElementType::F16,
        ElementType::Bf16,
        ElementType::I8,
        ElementType::I16,
        ElementType::I32,
        ElementType::I64,
    ];
    let cases: Vec<(ElementType, &[usize])> =
        elements.iter().flat_map(|e| (0..=4).map(|rank| (*e, &sizes[..rank]))).collect();
    let module = module(|main| {
        let mut results = Vec::new();
        for (element, shape) in &cases {
            let dimensions: Vec<_> =
                LABELS.iter().zip(*shape).map(|(label, size)| label.of(*size)).collect();
            let x = main.argument("x", TensorType::new(*element, dimensions));
            let kernel = Kernel::new("test.copy");
            results.push(main.composite(kernel, &[x], |_, o| vec![o[0].barrier()])[0]);
        }
        let named: Vec<_> = results.iter().map(|value| ("copy", *value)).collect();
        main.finish(&named).unwrap();
    });
    let choose = |site: &NativeSite<'_>| {
        let ty = site.operands[0];
        let symbol = format!("copy_{}_{}", ty.element, ty.rank());
        Some(NativeCall { symbol, tied: vec![] })
    };
    let session = support::session(&device, &module.native(&choose).unwrap());
    let arguments: Vec<Buffer> = cases
        .iter()
        .map(|(element, shape)| {
            let bytes = shape.iter().product::<usize>() * element.bytes();
            let bytes: Vec<u8> = (0..bytes).map(|n| (n * 37 % 251) as u8).collect();
            Buffer::from_bytes(&device, *element, shape, &bytes).unwrap()
        })
        .collect();
    let results = session.call("main", &arguments).unwrap();
    assert_eq!(results.len(), cases.len());
    for (given, result) in arguments.iter().zip(&results) {
        assert_eq!(given.shape(), result.shape());
        assert_eq!(given.element_type(), result.element_type());
        assert_eq!(support::bytes(given), support::bytes(result));
    }
}

#[test]
fn a_value_used_after_it_is_overwritten_is_kept() {
    let device = device();
    let module = |twice: bool| {
        module(|main| {
            let x = main.argument("x", matrix(2, 3));
            let fresh = x * 2.0;
            let write = |pool, row| {
                let operands = [pool, row];
                let kernel = Kernel::new("test.write");
                main.composite(kernel, &operands, |_, o| vec![o[1] + o[0] * 0.0])[0]
            };
            let written = write(fresh, if twice { fresh } else { x });
            main.finish(&[("written", written), ("fresh", fresh)]).unwrap();
        })
    };
    let x = Buffer::from_slice(&device, &[2, 3], &[3f32; 6]).unwrap();
    let results = session(&device, &module(false)).call("main", &[&x]).unwrap();
    assert_eq!(results[0].read::<f32>().unwrap(), [3.0; 6]);
    assert_eq!(results[1].read::<f32>().unwrap(), [6.0; 6]);
    // With the value as its other operand, too, the kernel either gets a copy or is not called.
    match session(&device, &module(true)).call("main", &[&x]) {
        Ok(results) => assert_eq!(results[0].read::<f32>().unwrap(), [6.0; 6]),
        Err(error) => assert!(error.to_string().contains("overlaps"), "{error}"),
    }
}
