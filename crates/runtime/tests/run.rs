//! Running compiled modules.
#![allow(missing_docs)]

mod support;

use std::thread;

use half::{bf16, f16};
use stablemate_graph::ElementType;
use stablemate_runtime::{Buffer, Element, Session};

const ARITHMETIC: &str = "module @arithmetic {
  func.func @main(%x: tensor<2x3xf32>, %y: tensor<3xf32>) -> (tensor<2x3xf32>, tensor<2xf32>) {
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %wide = stablehlo.broadcast_in_dim %y, dims = [1] : (tensor<3xf32>) -> tensor<2x3xf32>
    %product = stablehlo.multiply %x, %wide : tensor<2x3xf32>
    %sums = stablehlo.reduce(%product init: %zero) applies stablehlo.add across dimensions = [1] : (tensor<2x3xf32>, tensor<f32>) -> tensor<2xf32>
    return %product, %sums : tensor<2x3xf32>, tensor<2xf32>
  }
  func.func @constant() -> tensor<2048xi32> {
    %y = stablehlo.iota dim = 0 : tensor<2048xi32>
    return %y : tensor<2048xi32>
  }
  func.func @scalar(%x: tensor<i64>) -> tensor<i64> {
    %y = stablehlo.negate %x : tensor<i64>
    return %y : tensor<i64>
  }
  func.func @nothing(%x: tensor<0x4xf32>) -> tensor<0x4xf32> {
    %y = stablehlo.negate %x : tensor<0x4xf32>
    return %y : tensor<0x4xf32>
  }
}
";

#[test]
fn several_functions() {
    let device = support::device();
    let session = support::session(&device, ARITHMETIC);
    let mut names: Vec<_> = session.functions().iter().map(|f| &f.name[..]).collect();
    names.sort_unstable();
    assert_eq!(names, ["constant", "main", "nothing", "scalar"]);
    let main = session.function("main").unwrap();
    assert_eq!(main.arguments[1].to_string(), "tensor<3xf32>");
    assert_eq!(main.results.len(), 2);

    let x = Buffer::from_slice(&device, &[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let y = Buffer::from_slice(&device, &[3], &[1f32, 10.0, 100.0]).unwrap();
    let results = session.call("main", &[&x, &y]).unwrap();
    assert_eq!(results[0].shape(), [2, 3]);
    assert_eq!(results[0].read::<f32>().unwrap(), [1.0, 20.0, 300.0, 4.0, 50.0, 600.0]);
    assert_eq!(results[1].read::<f32>().unwrap(), [321.0, 654.0]);

    let nothing: [&Buffer; 0] = [];
    let constant = session.call("constant", &nothing).unwrap().remove(0);
    let scalar = Buffer::from_slice(&device, &[], &[7i64]).unwrap();
    let negated = session.call("scalar", &[scalar]).unwrap();
    assert_eq!(negated[0].read::<i64>().unwrap(), [-7]);
    let empty = Buffer::zeros(&device, ElementType::F32, &[0, 4]).unwrap();
    let empty = session.call("nothing", &[empty]).unwrap();
    assert_eq!((empty[0].shape(), empty[0].read::<f32>().unwrap()), (&[0, 4][..], vec![]));

    // Results outlive the session: constants lie in its module.
    drop((session, device, results));
    assert!(constant.read::<i32>().unwrap().into_iter().eq(0..2048));
}

#[test]
fn wrong_calls() {
    let device = support::device();
    let session = support::session(&device, ARITHMETIC);
    let x = Buffer::zeros(&device, ElementType::F32, &[2, 3]).unwrap();
    let y = Buffer::zeros(&device, ElementType::F32, &[3]).unwrap();
    let call = |function: &str, arguments: &[&Buffer]| {
        session.call(function, arguments).unwrap_err().to_string()
    };
    let error = call("other", &[]);
    assert!(error.contains(r#"no function "other"; it has "#), "{error}");
    assert!(error.contains(r#""main""#), "{error}");
    assert_eq!(call("main", &[&x]), r#""main" takes 2 arguments; 1 were given"#);
    assert_eq!(
        call("main", &[&x, &x]),
        r#"argument 1 of "main" is tensor<3xf32>; tensor<2x3xf32> was given"#
    );
    let integers = Buffer::zeros(&device, ElementType::I32, &[2, 3]).unwrap();
    assert_eq!(
        call("main", &[&integers, &y]),
        r#"argument 0 of "main" is tensor<2x3xf32>; tensor<2x3xi32> was given"#
    );
    let foreign = Buffer::zeros(&support::device(), ElementType::F32, &[3]).unwrap();
    assert!(call("main", &[&x, &foreign]).contains("a buffer of another device"));
}

/// Passes values of one element type through a function that moves them about.
fn round_trip<T: Element + PartialEq + std::fmt::Debug>(values: [T; 4], element: ElementType) {
    let text = format!(
        "module @m {{ func.func @main(%x: tensor<4x{element}>) -> (tensor<4x{element}>, tensor<4x{element}>) {{
          %y = stablehlo.reverse %x, dims = [0] : tensor<4x{element}>
          return %y, %x : tensor<4x{element}>, tensor<4x{element}> }} }}"
    );
    let device = support::device();
    let session = support::session(&device, &text);
    let bytes = bytemuck::cast_slice(&values);
    let x = Buffer::from_bytes(&device, element, &[4], bytes).unwrap();
    let results = session.call("main", &[x]).unwrap();
    let mut reversed = values;
    reversed.reverse();
    assert_eq!(results[0].element_type(), element);
    assert_eq!(results[0].read::<T>().unwrap(), reversed);
    assert_eq!(results[1].read::<T>().unwrap(), values);
}

#[test]
fn every_element_type() {
    round_trip([1.5f32, -2.0, 0.0, f32::MAX], ElementType::F32);
    round_trip([1.5, -2.0, 0.0, 65504.0].map(f16::from_f32), ElementType::F16);
    round_trip([1.5, -2.0, 0.0, 3e38].map(bf16::from_f32), ElementType::Bf16);
    round_trip([0u8, 1, 1, 0], ElementType::I1);
    round_trip([-128i8, 127, 0, 1], ElementType::I8);
    round_trip([i16::MIN, i16::MAX, 0, 1], ElementType::I16);
    round_trip([i32::MIN, i32::MAX, 0, 1], ElementType::I32);
    round_trip([i64::MIN, i64::MAX, 0, 1], ElementType::I64);
}

/// Writes rows into two pools that are donated: the paged cache in small.
const SCATTER: &str = r#"module @cache {
  func.func @main(%rows: tensor<2x4xf32>, %slots: tensor<2x1xi32>,
      %keys: tensor<8x4xf32> {tf.aliasing_output = 1 : i32},
      %values: tensor<8x4xf32> {tf.aliasing_output = 2 : i32}) -> (tensor<4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) {
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %k = "stablehlo.scatter"(%keys, %slots, %rows) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, unique_indices = true}> ({
      ^bb0(%old: tensor<f32>, %new: tensor<f32>): stablehlo.return %new : tensor<f32>
    }) : (tensor<8x4xf32>, tensor<2x1xi32>, tensor<2x4xf32>) -> tensor<8x4xf32>
    %v = "stablehlo.scatter"(%values, %slots, %rows) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, unique_indices = true}> ({
      ^bb0(%old: tensor<f32>, %new: tensor<f32>): stablehlo.return %new : tensor<f32>
    }) : (tensor<8x4xf32>, tensor<2x1xi32>, tensor<2x4xf32>) -> tensor<8x4xf32>
    %sum = stablehlo.reduce(%k init: %zero) applies stablehlo.add across dimensions = [0] : (tensor<8x4xf32>, tensor<f32>) -> tensor<4xf32>
    return %sum, %k, %v : tensor<4xf32>, tensor<8x4xf32>, tensor<8x4xf32>
  }
}
"#;

#[test]
fn donated_arguments_are_updated_in_place() {
    let device = support::device();
    let session = support::session(&device, SCATTER);
    let arguments = &session.function("main").unwrap().arguments;
    let donated: Vec<_> = arguments.iter().map(|argument| argument.donated_to).collect();
    assert_eq!(donated, [None, None, Some(1), Some(2)]);

    let rows: Vec<f32> = (1..=8).map(|x| x as f32).collect();
    let rows = Buffer::from_slice(&device, &[2, 4], &rows).unwrap();
    let slots = Buffer::from_slice(&device, &[2, 1], &[6i32, 2]).unwrap();
    let keys = Buffer::zeros(&device, ElementType::F32, &[8, 4]).unwrap();
    let values = Buffer::zeros(&device, ElementType::F32, &[8, 4]).unwrap();
    let before = keys.copy().unwrap();
    let results = session.call("main", &[&rows, &slots, &keys, &values]).unwrap();
    assert_eq!(results[0].read::<f32>().unwrap(), [6.0, 8.0, 10.0, 12.0]);
    let mut expected = [0f32; 32];
    expected[24..28].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
    expected[8..12].copy_from_slice(&[5.0, 6.0, 7.0, 8.0]);
    for pool in [&results[1], &results[2], &keys, &values] {
        assert_eq!(pool.read::<f32>().unwrap(), expected);
    }
    assert_eq!(before.read::<f32>().unwrap(), [0.0; 32]);

    // The result is the argument's memory, so that it can be passed on.
    keys.write(0, &[9f32]).unwrap();
    let mut first = [0f32];
    results[1].read_into(0, &mut first).unwrap();
    assert_eq!(first, [9.0]);
}

#[test]
fn memory_for_reading_is_not_donated() {
    let device = support::device();
    let session = support::session(&device, SCATTER);
    let rows = Buffer::zeros(&device, ElementType::F32, &[2, 4]).unwrap();
    let slots = Buffer::from_slice(&device, &[2, 1], &[6i32, 2]).unwrap();
    let map = support::mapped(&[1; 128]);
    let keys = Buffer::import(&device, ElementType::F32, &[8, 4], &map, 0..128).unwrap();
    let values = Buffer::zeros(&device, ElementType::F32, &[8, 4]).unwrap();
    let error = session.call("main", &[&rows, &slots, &keys, &values]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"argument 2 of "main" is tensor<8x4xf32>; tensor<8x4xf32> for reading only, and the call overwrites it, was given"#
    );
}

#[test]
fn from_several_threads() {
    let device = support::device();
    let session = support::session(&device, ARITHMETIC);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (device, session) = (&device, session.clone());
            scope.spawn(move || {
                for round in 0..50 {
                    let value = (thread * 100 + round) as f32;
                    let x = Buffer::from_slice(device, &[2, 3], &[value; 6]).unwrap();
                    let y = Buffer::from_slice(device, &[3], &[1f32; 3]).unwrap();
                    let results = session.call("main", &[x, y]).unwrap();
                    assert_eq!(results[1].read::<f32>().unwrap(), [3.0 * value; 2]);
                }
            });
        }
    });
}

#[test]
fn what_is_no_module_is_refused() {
    let device = support::device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.vmfb");
    let load = || Session::load(&device, &path).unwrap_err().to_string();
    assert!(load().contains("cannot open"));
    for contents in [&b""[..], b"text", &[0; 4096], &[255; 4096]] {
        std::fs::write(&path, contents).unwrap();
        assert!(load().contains("x.vmfb"), "{}", load());
    }
}
