//! The text, operation by operation.

use super::{A, B, C, D, f32s, i32s, lines, text};
use crate::{Builder, Direction, ElementType, Kernel, Literal, ModuleBuilder, TensorType, Value};
use insta::assert_snapshot;

fn integers(dimensions: impl Into<Vec<crate::Dimension>>, values: Vec<i64>) -> String {
    constant(TensorType::new(ElementType::I32, dimensions), Literal::Integer(values))
}

fn constant(ty: TensorType, literal: Literal) -> String {
    let line = lines(&[], |builder, _| builder.constant(literal, ty));
    line.strip_prefix("%constant = stablehlo.constant ").unwrap().to_string()
}

fn float(value: f32, element: ElementType) -> String {
    let text = constant(TensorType::scalar(element), Literal::Float(vec![value]));
    let (value, _) = text.strip_prefix("dense<").unwrap().split_once('>').unwrap();
    value.to_string()
}

#[test]
fn a_module() {
    let module = ModuleBuilder::new("example");
    let main = module.function("main");
    let tokens = main.argument("tokens", i32s([A.of(2)]));
    let cache = main.argument("cache.0.keys", f32s([A.of(2), B.of(3)]));
    main.alias(cache, 1);
    let next = {
        let _scope = main.scope("layers.0");
        (cache * 2.0).named("doubled")
    };
    main.finish(&[("tokens", tokens), ("cache.0.keys", next)]).unwrap();
    assert_snapshot!(module.finish().unwrap(), @r#"
    module @example {
      func.func public @main(
          %tokens: tensor<2xi32>,
          %cache.0.keys: tensor<2x3xf32> {tf.aliasing_output = 1 : i32}
      ) -> (tensor<2xi32> {jax.result_info = "tokens"}, tensor<2x3xf32> {jax.result_info = "cache.0.keys"}) {
        %layers.0.constant = stablehlo.constant dense<2.0e0> : tensor<f32>
        %layers.0.broadcast = stablehlo.broadcast_in_dim %layers.0.constant, dims = [] : (tensor<f32>) -> tensor<2x3xf32>
        %layers.0.doubled = stablehlo.multiply %cache.0.keys, %layers.0.broadcast : tensor<2x3xf32>
        return %tokens, %layers.0.doubled : tensor<2xi32>, tensor<2x3xf32>
      }
    }
    "#);
}

#[test]
fn no_arguments_and_no_operations() {
    let module = ModuleBuilder::new("empty");
    module.function("nothing").finish(&[]).unwrap();
    assert_snapshot!(module.finish().unwrap(), @"
    module @empty {
      func.func public @nothing(
      ) -> () {
        return
      }
    }
    ");
}

#[test]
fn finite_floats_are_exact() {
    // By hand: a point before every exponent, the sign of zero.
    for (value, expected) in [
        (0.0, "0.0e0"),
        (-0.0, "-0.0e0"),
        (1.0, "1.0e0"),
        (-1.5, "-1.5e0"),
        (1e-5, "9.999999747378752e-6"),
        (0.1, "1.0000000149011612e-1"),
        (f32::MAX, "3.4028234663852886e38"),
        (f32::MIN_POSITIVE, "1.1754943508222875e-38"),
        (f32::from_bits(1), "1.401298464324817e-45"),
    ] {
        assert_eq!(float(value, ElementType::F32), expected);
        // A reader that goes through f64, as MLIR does, gets the same bits.
        let read = expected.parse::<f64>().unwrap() as f32;
        assert_eq!(read.to_bits(), value.to_bits(), "{expected}");
    }
    assert_eq!(float(-0.1, ElementType::Bf16), "-1.0000000149011612e-1");
}

#[test]
fn other_floats_are_bits() {
    use ElementType::{Bf16, F16, F32};
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for (value, element, expected) in [
        (inf, F32, "0x7F800000"),
        (-inf, F32, "0xFF800000"),
        (nan, F32, "0x7FC00000"),
        (inf, F16, "0x7C00"),
        (-inf, F16, "0xFC00"),
        (nan, F16, "0x7E00"),
        (inf, Bf16, "0x7F80"),
        (-inf, Bf16, "0xFF80"),
        (nan, Bf16, "0x7FC0"),
        // Its upper half alone would be an infinity.
        (f32::from_bits(0x7F80_0001), Bf16, "0x7FC0"),
    ] {
        assert_eq!(float(value, element), expected);
    }
}

#[test]
fn lists_are_nested() {
    assert_snapshot!(integers([], vec![-7]), @"dense<-7> : tensor<i32>");
    assert_snapshot!(integers([A.of(1)], vec![7]), @"dense<7> : tensor<1xi32>");
    assert_snapshot!(integers([A.of(2), B.of(3)], vec![7]), @"dense<7> : tensor<2x3xi32>");
    assert_snapshot!(integers([A.of(3)], vec![1, -2, 3]), @"dense<[1, -2, 3]> : tensor<3xi32>");
    assert_snapshot!(integers([A.of(2), B.of(3)], (0..6).collect()), @"dense<[[0, 1, 2], [3, 4, 5]]> : tensor<2x3xi32>");
    assert_snapshot!(integers([A.of(2), B.of(1), C.of(2)], (0..4).collect()), @"dense<[[[0, 1]], [[2, 3]]]> : tensor<2x1x2xi32>");
    assert_snapshot!(integers([A.of(0)], vec![]), @"dense<[]> : tensor<0xi32>");
    let truth = TensorType::new(ElementType::I1, [A.of(2)]);
    assert_snapshot!(constant(truth, Literal::Boolean(vec![true, false])), @"dense<[true, false]> : tensor<2xi1>");
    assert_snapshot!(constant(f32s([A.of(2)]), Literal::Float(vec![0.5, -2.0])), @"dense<[5.0e-1, -2.0e0]> : tensor<2xf32>");
}

#[test]
fn element_wise_operations_of_one_operand() {
    let found = lines(&[f32s([A.of(2)])], |_, x| {
        let x = x[0].abs().cosine().exponential().floor().log().logistic().round();
        -x.rsqrt().sine().sqrt().tanh()
    });
    assert_snapshot!(found, @"
    %abs = stablehlo.abs %x : tensor<2xf32>
    %cosine = stablehlo.cosine %abs : tensor<2xf32>
    %exponential = stablehlo.exponential %cosine : tensor<2xf32>
    %floor = stablehlo.floor %exponential : tensor<2xf32>
    %log = stablehlo.log %floor : tensor<2xf32>
    %logistic = stablehlo.logistic %log : tensor<2xf32>
    %round = stablehlo.round_nearest_even %logistic : tensor<2xf32>
    %rsqrt = stablehlo.rsqrt %round : tensor<2xf32>
    %sine = stablehlo.sine %rsqrt : tensor<2xf32>
    %sqrt = stablehlo.sqrt %sine : tensor<2xf32>
    %tanh = stablehlo.tanh %sqrt : tensor<2xf32>
    %negate = stablehlo.negate %tanh : tensor<2xf32>
    ");
}

#[test]
fn element_wise_operations_of_two_operands() {
    let found = lines(&[f32s([A.of(2)]), f32s([A.of(2)])], |_, x| {
        let (x, y) = (x[0], x[1]);
        let x = (x + y) * y - y / y;
        x.maximum(y).minimum(x).power(y).remainder(x)
    });
    assert_snapshot!(found, @"
    %add = stablehlo.add %x, %y : tensor<2xf32>
    %multiply = stablehlo.multiply %add, %y : tensor<2xf32>
    %divide = stablehlo.divide %y, %y : tensor<2xf32>
    %subtract = stablehlo.subtract %multiply, %divide : tensor<2xf32>
    %maximum = stablehlo.maximum %subtract, %y : tensor<2xf32>
    %minimum = stablehlo.minimum %maximum, %subtract : tensor<2xf32>
    %power = stablehlo.power %minimum, %y : tensor<2xf32>
    %remainder = stablehlo.remainder %power, %subtract : tensor<2xf32>
    ");
    let found =
        lines(&[i32s([A.of(2)])], |_, x| ((x[0] & x[0]) | x[0]).shift_left(3).shift_right(x[0]));
    assert_snapshot!(found, @"
    %and = stablehlo.and %x, %x : tensor<2xi32>
    %or = stablehlo.or %and, %x : tensor<2xi32>
    %constant = stablehlo.constant dense<3> : tensor<i32>
    %broadcast = stablehlo.broadcast_in_dim %constant, dims = [] : (tensor<i32>) -> tensor<2xi32>
    %shift_left = stablehlo.shift_left %or, %broadcast : tensor<2xi32>
    %shift_right = stablehlo.shift_right_logical %shift_left, %x : tensor<2xi32>
    ");
}

#[test]
fn comparisons_know_the_kind_of_their_operands() {
    use Direction::{Eq, Ge, Gt, Le, Lt, Ne};
    let found = lines(&[f32s([A.of(2)]), i32s([A.of(2)])], |_, x| {
        let (x, y) = (x[0], x[1]);
        let (a, b, c) = (x.compare(Eq, x), y.compare(Ge, y), x.compare(Lt, x));
        let (d, e) = (y.compare(Gt, y), y.compare(Le, y));
        a.compare(Ne, b) & c & d & e
    });
    assert_snapshot!(found, @"
    %compare = stablehlo.compare EQ, %x, %x, FLOAT : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xi1>
    %compare_2 = stablehlo.compare GE, %y, %y, SIGNED : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi1>
    %compare_3 = stablehlo.compare LT, %x, %x, FLOAT : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xi1>
    %compare_4 = stablehlo.compare GT, %y, %y, SIGNED : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi1>
    %compare_5 = stablehlo.compare LE, %y, %y, SIGNED : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi1>
    %compare_6 = stablehlo.compare NE, %compare, %compare_2, UNSIGNED : (tensor<2xi1>, tensor<2xi1>) -> tensor<2xi1>
    %and = stablehlo.and %compare_6, %compare_3 : tensor<2xi1>
    %and_2 = stablehlo.and %and, %compare_4 : tensor<2xi1>
    %and_3 = stablehlo.and %and_2, %compare_5 : tensor<2xi1>
    ");
}

#[test]
fn choices_and_conversions() {
    let found = lines(&[f32s([A.of(2)]), f32s([])], |_, x| {
        let positive = x[0].compare(Direction::Gt, x[1]);
        let bits = positive.select(x[0], -x[0]).bitcast(ElementType::I32);
        bits.convert(ElementType::Bf16).barrier()
    });
    assert_snapshot!(found, @"
    %broadcast = stablehlo.broadcast_in_dim %y, dims = [] : (tensor<f32>) -> tensor<2xf32>
    %compare = stablehlo.compare GT, %x, %broadcast, FLOAT : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xi1>
    %negate = stablehlo.negate %x : tensor<2xf32>
    %select = stablehlo.select %compare, %x, %negate : tensor<2xi1>, tensor<2xf32>
    %bitcast_convert = stablehlo.bitcast_convert %select : (tensor<2xf32>) -> tensor<2xi32>
    %convert = stablehlo.convert %bitcast_convert : (tensor<2xi32>) -> tensor<2xbf16>
    %barrier = stablehlo.optimization_barrier %convert : tensor<2xbf16>
    ");
}

#[test]
fn shapes() {
    let found = lines(&[f32s([A.of(2), B.of(6)])], |_, x| {
        let y = x[0].split(B, &[C.of(2), D.of(3)]).transpose(&[C, A, D]);
        let y = y.slice(D, 1..3).concatenate(&[y], D);
        y.broadcast(&[B.of(7), C.of(2), A.of(2), D.of(5)])
    });
    assert_snapshot!(found, @"
    %reshape = stablehlo.reshape %x : (tensor<2x6xf32>) -> tensor<2x2x3xf32>
    %transpose = stablehlo.transpose %reshape, dims = [1, 0, 2] : (tensor<2x2x3xf32>) -> tensor<2x2x3xf32>
    %slice = stablehlo.slice %transpose [0:2, 0:2, 1:3] : (tensor<2x2x3xf32>) -> tensor<2x2x2xf32>
    %concatenate = stablehlo.concatenate %slice, %transpose, dim = 2 : (tensor<2x2x2xf32>, tensor<2x2x3xf32>) -> tensor<2x2x5xf32>
    %broadcast = stablehlo.broadcast_in_dim %concatenate, dims = [1, 2, 3] : (tensor<2x2x5xf32>) -> tensor<7x2x2x5xf32>
    ");
}

#[test]
fn counting() {
    assert_snapshot!(lines(&[], |builder, _| builder.iota(A.of(5))), @"%iota = stablehlo.iota dim = 0 : tensor<5xi32>");
    assert_snapshot!(lines(&[], |builder, _| builder.integer(-3)), @"%constant = stablehlo.constant dense<-3> : tensor<i32>");
    assert_snapshot!(lines(&[], |builder, _| builder.scalar(0.5)), @"%constant = stablehlo.constant dense<5.0e-1> : tensor<f32>");
}

#[test]
fn products() {
    let types = [f32s([A.of(2), B.of(3), C.of(4)]), f32s([A.of(2), D.of(5), C.of(4)])];
    assert_snapshot!(lines(&types, |_, x| x[0].contract(x[1], &[C])), @"%dot_general = stablehlo.dot_general %x, %y, batching_dims = [0] x [0], contracting_dims = [2] x [2], precision = [HIGHEST, HIGHEST] : (tensor<2x3x4xf32>, tensor<2x5x4xf32>) -> tensor<2x3x5xf32>");
    let types = [f32s([A.of(2), C.of(4)]), f32s([D.of(5), C.of(4)])];
    assert_snapshot!(lines(&types, |_, x| x[0].contract(x[1], &[C])), @"%dot_general = stablehlo.dot_general %x, %y, contracting_dims = [1] x [1], precision = [HIGHEST, HIGHEST] : (tensor<2x4xf32>, tensor<5x4xf32>) -> tensor<2x5xf32>");
}

#[test]
fn reductions() {
    let types = [f32s([A.of(2), B.of(3), C.of(4)])];
    assert_snapshot!(lines(&types, |_, x| x[0].sum(B).max(A).min(C)), @"
    %constant = stablehlo.constant dense<0.0e0> : tensor<f32>
    %sum = stablehlo.reduce(%x init: %constant) applies stablehlo.add across dimensions = [1] : (tensor<2x3x4xf32>, tensor<f32>) -> tensor<2x4xf32>
    %constant_2 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %max = stablehlo.reduce(%sum init: %constant_2) applies stablehlo.maximum across dimensions = [0] : (tensor<2x4xf32>, tensor<f32>) -> tensor<4xf32>
    %constant_3 = stablehlo.constant dense<0x7F800000> : tensor<f32>
    %min = stablehlo.reduce(%max init: %constant_3) applies stablehlo.minimum across dimensions = [0] : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
    ");
    assert_snapshot!(lines(&types, |_, x| x[0].mean(B)), @"
    %constant = stablehlo.constant dense<0.0e0> : tensor<f32>
    %sum = stablehlo.reduce(%x init: %constant) applies stablehlo.add across dimensions = [1] : (tensor<2x3x4xf32>, tensor<f32>) -> tensor<2x4xf32>
    %constant_2 = stablehlo.constant dense<3.0e0> : tensor<f32>
    %broadcast = stablehlo.broadcast_in_dim %constant_2, dims = [] : (tensor<f32>) -> tensor<2x4xf32>
    %divide = stablehlo.divide %sum, %broadcast : tensor<2x4xf32>
    ");
}

#[test]
fn taking_slices() {
    let types = [f32s([A.of(2), B.of(6), C.of(3)]), i32s([D.of(5)])];
    assert_snapshot!(lines(&types, |_, x| x[0].take(A, x[1])), @r#"%gather = "stablehlo.gather"(%x, %y) <{dimension_numbers = #stablehlo.gather<offset_dims = [1, 2], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, slice_sizes = array<i64: 1, 6, 3>, indices_are_sorted = false}> : (tensor<2x6x3xf32>, tensor<5xi32>) -> tensor<5x6x3xf32>"#);
    assert_snapshot!(lines(&types, |_, x| x[0].take(B, x[1])), @r#"%gather = "stablehlo.gather"(%x, %y) <{dimension_numbers = #stablehlo.gather<offset_dims = [0, 2], collapsed_slice_dims = [1], start_index_map = [1], index_vector_dim = 1>, slice_sizes = array<i64: 2, 1, 3>, indices_are_sorted = false}> : (tensor<2x6x3xf32>, tensor<5xi32>) -> tensor<2x5x3xf32>"#);
    let types = [f32s([A.of(2), B.of(6)]), i32s([C.of(4), D.of(5)])];
    assert_snapshot!(lines(&types, |_, x| x[0].take(A, x[1])), @r#"%gather = "stablehlo.gather"(%x, %y) <{dimension_numbers = #stablehlo.gather<offset_dims = [2], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 2>, slice_sizes = array<i64: 1, 6>, indices_are_sorted = false}> : (tensor<2x6xf32>, tensor<4x5xi32>) -> tensor<4x5x6xf32>"#);
    let types = [f32s([A.of(2), B.of(6)]), i32s([])];
    assert_snapshot!(lines(&types, |_, x| x[0].take(B, x[1])), @r#"%gather = "stablehlo.gather"(%x, %y) <{dimension_numbers = #stablehlo.gather<offset_dims = [0], collapsed_slice_dims = [1], start_index_map = [1], index_vector_dim = 0>, slice_sizes = array<i64: 2, 1>, indices_are_sorted = false}> : (tensor<2x6xf32>, tensor<i32>) -> tensor<2xf32>"#);
}

#[test]
fn putting_slices() {
    let pool = f32s([A.of(9), B.of(8), C.of(3)]);
    let types = [pool.clone(), i32s([D.of(5), A.of(2)]), f32s([D.of(5), C.of(3)])];
    assert_snapshot!(lines(&types, |_, x| x[0].put(x[1], x[2])), @r#"
    %scatter = "stablehlo.scatter"(%x, %y, %z) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1], inserted_window_dims = [0, 1], scatter_dims_to_operand_dims = [0, 1], index_vector_dim = 1>, indices_are_sorted = false, unique_indices = false}> ({
    ^bb0(%old: tensor<f32>, %new: tensor<f32>):
      stablehlo.return %new : tensor<f32>
    }) : (tensor<9x8x3xf32>, tensor<5x2xi32>, tensor<5x3xf32>) -> tensor<9x8x3xf32>
    "#);
    let halves = |ty: TensorType| ty.with_element(ElementType::F16);
    let updates = halves(f32s([D.of(5), B.of(8), C.of(3)]));
    let types = [halves(pool), i32s([D.of(5), A.of(1)]), updates];
    assert_snapshot!(lines(&types, |_, x| x[0].put(x[1], x[2])), @r#"
    %scatter = "stablehlo.scatter"(%x, %y, %z) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [1, 2], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, indices_are_sorted = false, unique_indices = false}> ({
    ^bb0(%old: tensor<f16>, %new: tensor<f16>):
      stablehlo.return %new : tensor<f16>
    }) : (tensor<9x8x3xf16>, tensor<5x1xi32>, tensor<5x8x3xf16>) -> tensor<9x8x3xf16>
    "#);
}

#[test]
fn composites() {
    let found = text(&[f32s([A.of(2)])], |builder, x| {
        let kernel = Kernel::new("test.plain");
        let plain = builder.composite(kernel, x, |_, x| vec![x[0].tanh()])[0];
        let kernel = Kernel::new("test.split")
            .with("scale", 1e-5)
            .with("window", 512usize)
            .with("mode", "a \"word\"");
        let parts =
            builder.composite(kernel, &[plain], |_, x| vec![x[0].slice(A, 0..1), x[0].sum(A)]);
        parts[0] * parts[1]
    });
    assert_snapshot!(found.unwrap(), @r#"
    module @test {
      func.func public @main(
          %x: tensor<2xf32>
      ) -> (tensor<1xf32> {jax.result_info = "result"}) {
        %plain = stablehlo.composite "test.plain" %x {decomposition = @plain.2xf32, version = 1 : i32} : (tensor<2xf32>) -> tensor<2xf32>
        %split, %split_2 = stablehlo.composite "test.split" %plain {composite_attributes = {scale = 9.999999747378752e-6 : f32, window = 512 : i64, mode = "a \"word\""}, decomposition = @split.2xf32.scale_9.999999747378752e_6.window_512.mode__a___word___, version = 1 : i32} : (tensor<2xf32>) -> (tensor<1xf32>, tensor<f32>)
        %broadcast = stablehlo.broadcast_in_dim %split_2, dims = [] : (tensor<f32>) -> tensor<1xf32>
        %multiply = stablehlo.multiply %split, %broadcast : tensor<1xf32>
        return %multiply : tensor<1xf32>
      }
      func.func private @plain.2xf32(
          %operand0: tensor<2xf32>
      ) -> (tensor<2xf32>) {
        %tanh = stablehlo.tanh %operand0 : tensor<2xf32>
        return %tanh : tensor<2xf32>
      }
      func.func private @split.2xf32.scale_9.999999747378752e_6.window_512.mode__a___word___(
          %operand0: tensor<2xf32>
      ) -> (tensor<1xf32>, tensor<f32>) {
        %slice = stablehlo.slice %operand0 [0:1] : (tensor<2xf32>) -> tensor<1xf32>
        %constant = stablehlo.constant dense<0.0e0> : tensor<f32>
        %sum = stablehlo.reduce(%operand0 init: %constant) applies stablehlo.add across dimensions = [0] : (tensor<2xf32>, tensor<f32>) -> tensor<f32>
        return %slice, %sum : tensor<1xf32>, tensor<f32>
      }
    }
    "#);
}

/// A little network: three layers in scopes of their own. `extra` adds an operation to the second.
fn network<'b>(builder: &'b Builder<'b>, x: Value<'b>, extra: bool) -> Value<'b> {
    let mut x = x;
    for n in 0..3 {
        let _scope = builder.scope(format!("layers.{n}"));
        let scaled = x * 2.0;
        let scaled = if extra && n == 1 { scaled.tanh() } else { scaled };
        x = (scaled + x).named("output");
    }
    x
}

#[test]
fn a_change_in_one_scope_changes_only_its_lines() {
    let lines = |extra| {
        let text = text(&[f32s([A.of(2)])], |builder, x| network(builder, x[0], extra)).unwrap();
        text.lines().map(str::to_string).collect::<Vec<_>>()
    };
    let (before, after) = (lines(false), lines(true));
    assert_eq!(after.len(), before.len() + 1);
    let added: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    let removed: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    // The new operation, and the one that uses it.
    assert_eq!((added.len(), removed.len()), (2, 1), "{added:#?} {removed:#?}");
    assert!(
        added[0].contains("%layers.1.tanh = stablehlo.tanh %layers.1.multiply"),
        "{}",
        added[0]
    );
    assert!(added[1].contains("%layers.1.output = stablehlo.add %layers.1.tanh, "), "{}", added[1]);
    assert!(removed[0].contains("%layers.1.output = "), "{}", removed[0]);
}

#[test]
fn loops() {
    let found = lines(&[f32s([A.of(2)]), i32s([B.of(5)])], |builder, x| {
        let results = builder.repeat(5, &[x[0], builder.integer(0)], |index, carried| {
            let step = x[1].take(B, index) + carried[1];
            vec![carried[0] * 2.0, step.named("sum")]
        });
        results[0] * results[1].convert(ElementType::F32)
    });
    assert_snapshot!(found, @r#"
    %constant = stablehlo.constant dense<0> : tensor<i32>
    %constant_2 = stablehlo.constant dense<0> : tensor<i32>
    %repeat, %repeat_2, %repeat_3 = stablehlo.while(%index = %constant_2, %carried = %x, %carried_2 = %constant) : tensor<i32>, tensor<2xf32>, tensor<i32>
    cond {
      %constant_3 = stablehlo.constant dense<5> : tensor<i32>
      %compare = stablehlo.compare LT, %index, %constant_3, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %compare : tensor<i1>
    } do {
      %gather = "stablehlo.gather"(%y, %index) <{dimension_numbers = #stablehlo.gather<offset_dims = [], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 0>, slice_sizes = array<i64: 1>, indices_are_sorted = false}> : (tensor<5xi32>, tensor<i32>) -> tensor<i32>
      %sum = stablehlo.add %gather, %carried_2 : tensor<i32>
      %constant_4 = stablehlo.constant dense<2.0e0> : tensor<f32>
      %broadcast = stablehlo.broadcast_in_dim %constant_4, dims = [] : (tensor<f32>) -> tensor<2xf32>
      %multiply = stablehlo.multiply %carried, %broadcast : tensor<2xf32>
      %constant_5 = stablehlo.constant dense<1> : tensor<i32>
      %add = stablehlo.add %index, %constant_5 : tensor<i32>
      stablehlo.return %add, %multiply, %sum : tensor<i32>, tensor<2xf32>, tensor<i32>
    }
    %convert = stablehlo.convert %repeat_3 : (tensor<i32>) -> tensor<f32>
    %broadcast_2 = stablehlo.broadcast_in_dim %convert, dims = [] : (tensor<f32>) -> tensor<2xf32>
    %multiply_2 = stablehlo.multiply %repeat_2, %broadcast_2 : tensor<2xf32>
    "#);
    // A scatter keeps its place inside.
    let found = lines(&[f32s([A.of(2)])], |builder, x| {
        let _scope = builder.scope("outer");
        let rows = builder.repeat(2, x, |index, carried| {
            let inner = builder.repeat(3, carried, |_, carried| vec![carried[0].tanh()]);
            let row = builder.scalar(1.0);
            vec![inner[0].put(index.append(C), row)]
        });
        rows[0]
    });
    assert_snapshot!(found, @r#"
    %outer.constant = stablehlo.constant dense<0> : tensor<i32>
    %outer.repeat_3, %outer.repeat_4 = stablehlo.while(%outer.index = %outer.constant, %outer.carried = %x) : tensor<i32>, tensor<2xf32>
    cond {
      %outer.constant_2 = stablehlo.constant dense<2> : tensor<i32>
      %outer.compare = stablehlo.compare LT, %outer.index, %outer.constant_2, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      stablehlo.return %outer.compare : tensor<i1>
    } do {
      %outer.constant_3 = stablehlo.constant dense<0> : tensor<i32>
      %outer.repeat, %outer.repeat_2 = stablehlo.while(%outer.index_2 = %outer.constant_3, %outer.carried_2 = %outer.carried) : tensor<i32>, tensor<2xf32>
      cond {
        %outer.constant_4 = stablehlo.constant dense<3> : tensor<i32>
        %outer.compare_2 = stablehlo.compare LT, %outer.index_2, %outer.constant_4, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
        stablehlo.return %outer.compare_2 : tensor<i1>
      } do {
        %outer.tanh = stablehlo.tanh %outer.carried_2 : tensor<2xf32>
        %outer.constant_5 = stablehlo.constant dense<1> : tensor<i32>
        %outer.add = stablehlo.add %outer.index_2, %outer.constant_5 : tensor<i32>
        stablehlo.return %outer.add, %outer.tanh : tensor<i32>, tensor<2xf32>
      }
      %outer.constant_6 = stablehlo.constant dense<1.0e0> : tensor<f32>
      %outer.reshape = stablehlo.reshape %outer.index : (tensor<i32>) -> tensor<1xi32>
      %outer.scatter = "stablehlo.scatter"(%outer.repeat_2, %outer.reshape, %outer.constant_6) <{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = [], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 0>, indices_are_sorted = false, unique_indices = false}> ({
      ^bb0(%old: tensor<f32>, %new: tensor<f32>):
        stablehlo.return %new : tensor<f32>
      }) : (tensor<2xf32>, tensor<1xi32>, tensor<f32>) -> tensor<2xf32>
      %outer.constant_7 = stablehlo.constant dense<1> : tensor<i32>
      %outer.add_2 = stablehlo.add %outer.index, %outer.constant_7 : tensor<i32>
      stablehlo.return %outer.add_2, %outer.scatter : tensor<i32>, tensor<2xf32>
    }
    "#);
}
