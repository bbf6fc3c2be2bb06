//! Kernels written in Rust, called by compiled modules.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use stablemate_graph::{Kernel, Literal, Module};
use stablemate_runtime::{Buffer, Device, Error, Session};
use support::kernels::{Kernels, choose, device, double, matrix, module, session};

/// Ordinary operations, a kernel that stays plain, several results, and a chain.
fn mixture() -> Module {
    module(|main| {
        let x = main.argument("x", matrix(2, 3));
        let y = main.argument("y", matrix(2, 3));
        let doubled = double(x * y, main, "test.double");
        let tripled = double(doubled, main, "test.plain") - x;
        let both = main.composite(Kernel::new("test.both"), &[tripled, y], |_, o| {
            vec![o[0] + o[1], o[0] - o[1]]
        });
        let mut chain = both[0];
        for _ in 0..10 {
            chain = double(chain, main, "test.double");
        }
        main.finish(&[("chain", chain), ("rest", both[1] * y)]).unwrap();
    })
}

#[test]
fn native_and_portable_texts_agree() {
    let module = mixture();
    let native = device();
    let portable = support::device();
    let run = |device: &Device, session: Session| {
        let x = Buffer::from_slice(device, &[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let y = Buffer::from_slice(device, &[2, 3], &[1f32, -2.0, 4.0, 0.5, 1.0, 8.0]).unwrap();
        let results = session.call("main", &[x, y]).unwrap();
        [results[0].read::<f32>().unwrap(), results[1].read::<f32>().unwrap()]
    };
    let expected = run(&portable, support::session(&portable, &module.to_string()));
    assert_eq!(expected[0][0], (4.0 - 1.0 + 1.0) * 1024.0);
    assert_eq!(run(&native, session(&native, &module)), expected);
    // Portable texts run on the native device, too.
    assert_eq!(run(&native, support::session(&native, &module.to_string())), expected);
}

#[test]
fn kernels_are_asked_for_once() {
    let kernels = Arc::new(Kernels::default());
    let device = Device::native(kernels.clone()).unwrap();
    let sessions = [session(&device, &mixture()), session(&device, &mixture())];
    assert_eq!(kernels.asked.load(Ordering::Relaxed), 2);
    // Two sessions on one device, from two threads.
    thread::scope(|scope| {
        for (thread, session) in sessions.iter().enumerate() {
            let device = &device;
            scope.spawn(move || {
                for round in 1..100 {
                    let value = (100 * thread + round) as f32;
                    let x = Buffer::from_slice(device, &[2, 3], &[value; 6]).unwrap();
                    let y = Buffer::from_slice(device, &[2, 3], &[1f32; 6]).unwrap();
                    let results = session.call("main", &[x, y]).unwrap();
                    assert_eq!(
                        results[0].read::<f32>().unwrap(),
                        [(3.0 * value + 1.0) * 1024.0; 6]
                    );
                }
            });
        }
    });
}

#[test]
fn failures_name_the_kernel() {
    let device = device();
    let module = module(|main| {
        let x = main.argument("x", matrix(2, 2));
        let y = main.composite(Kernel::new("test.fail"), &[x * 2.0], |_, o| vec![-o[0]])[0];
        main.finish(&[("y", y + 1.0)]).unwrap();
    });
    let session = session(&device, &module);
    let call = |value: f32| {
        let x = Buffer::from_slice(&device, &[2, 2], &[value; 4]).unwrap();
        session.call("main", &[x])
    };
    for _ in 0..20 {
        let error = call(0.5).unwrap_err();
        assert!(matches!(error, Error::Kernel { .. }));
        assert_eq!(error.to_string(), "the native kernel fail 2 2 failed: it is one");
        let error = call(1.0).unwrap_err();
        assert_eq!(error.to_string(), "the native kernel fail 2 2 failed: it panicked: it is 2");
        assert_eq!(call(4.0).unwrap()[0].read::<f32>().unwrap(), [9.0; 4]);
    }
    // An error that no kernel made is not a kernel's.
    let nothing: [&Buffer; 0] = [];
    assert!(matches!(session.call("main", &nothing).unwrap_err(), Error::ArgumentCount { .. }));
}

#[test]
fn missing_kernels_are_named() {
    let module = module(|main| {
        let x = main.argument("x", matrix(2, 2));
        let y = double(double(x, main, "test.nowhere"), main, "test.double");
        let y = double(y, main, "test.neither");
        main.finish(&[("y", y)]).unwrap();
    });
    let text = module.native(&choose).unwrap();
    for (device, missing) in [
        (device(), "neither_2_2, nowhere_2_2"),
        (support::device(), "double_2_2, neither_2_2, nowhere_2_2"),
    ] {
        let path = support::compiled(&text);
        let error = Session::load(&device, &path).unwrap_err();
        assert!(matches!(error, Error::MissingKernels { .. }), "{error}");
        let lacking = format!("needs native kernels that this device lacks: {missing}");
        assert!(error.to_string().ends_with(&lacking), "{error}");
        // Nothing of it is left for the next one.
        support::session(&device, &mixture().to_string());
    }
}

#[test]
fn constants_and_repeated_operands() {
    let device = device();
    let module = module(|main| {
        let x = main.argument("x", matrix(2, 3));
        let values = Literal::Float(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let constant = main.constant(values, matrix(2, 3));
        let doubled = double(constant, main, "test.double");
        let ones =
            double(main.constant(Literal::Float(vec![0.5]), matrix(2, 3)), main, "test.double");
        let both = |a, b| {
            main.composite(Kernel::new("test.both"), &[a, b], |_, o| vec![o[0] + o[1], o[0] - o[1]])
        };
        let same = both(x, x);
        let mixed = both(doubled, ones);
        main.finish(&[("sum", same[0]), ("nothing", same[1]), ("mixed", mixed[0])]).unwrap();
    });
    let session = session(&device, &module);
    let x = Buffer::from_slice(&device, &[2, 3], &[3f32; 6]).unwrap();
    let results = session.call("main", &[&x]).unwrap();
    let read = |index: usize| results[index].read::<f32>().unwrap();
    assert_eq!(read(0), [6.0; 6]);
    assert_eq!(read(1), [0.0; 6]);
    assert_eq!(read(2), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
}

#[test]
fn kernels_compute_with_subnormal_floats() {
    let device = device();
    let module = module(|main| {
        let x = main.argument("x", matrix(2, 3));
        main.finish(&[("y", double(x, main, "test.double"))]).unwrap();
    });
    let session = session(&device, &module);
    let x = Buffer::from_slice(&device, &[2, 3], &[f32::from_bits(3); 6]).unwrap();
    let y = session.call("main", &[&x]).unwrap().remove(0);
    assert_eq!(y.read::<f32>().unwrap(), [f32::from_bits(6); 6]);
}
