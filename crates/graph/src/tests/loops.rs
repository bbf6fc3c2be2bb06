//! Loops: the scope of values, and refusals.

use super::{A, B, error, f32s, i32s, text};
use crate::{ElementType, GraphError, Kernel, Module, ModuleBuilder, Op, Value};

/// The function `main` of `x [A 2]`, with one loop of two iterations over `x` whose body is `body`.
fn looped(body: impl for<'b> Fn(Value<'b>, Value<'b>) -> Vec<Value<'b>>) -> GraphError {
    error(&[f32s([A.of(2)])], |builder, x| {
        builder.repeat(2, x, |index, carried| body(index, carried[0]))[0]
    })
}

#[test]
fn a_body_returns_what_it_gets() {
    let found = looped(|_, x| vec![x.sum(A)]);
    assert_eq!(found.operation, "while");
    assert!(
        found.message.contains("value 1 is [A 2] f32 before the body, [] f32 after"),
        "{found}"
    );
    assert!(found.message.ends_with("(C2)"), "{found}");
    assert!(looped(|_, x| vec![x, x]).message.contains("2 values go into the body, 3 come out"));
    assert!(looped(|_, x| vec![x.relabel(A, B)]).message.ends_with("(labels)"));
}

#[test]
fn mistakes_inside_are_the_first_ones() {
    let found = looped(|index, x| vec![x.sum(A) + index]);
    assert_eq!((found.operation, found.location.file()), ("add", file!()));
    assert_eq!(found.operands, "%sum [] f32 and %index [] i32");
}

#[test]
fn mistakes_before_a_loop_leave_it_out() {
    let found = error(&[f32s([A.of(2)])], |builder, x| {
        let results = builder.repeat(2, &[x[0], x[0].sum(B)], |_, _| unreachable!());
        assert_eq!(results.len(), 2);
        results[0]
    });
    assert_eq!(found.operation, "sum");
}

#[test]
fn values_of_a_loop_end_with_it() {
    for returned in [false, true] {
        let found = error(&[f32s([A.of(2)])], |builder, x| {
            let mut kept = None;
            let results = builder.repeat(2, x, |_, carried| {
                let next = carried[0] * 2.0;
                kept = Some(if returned { carried[0] } else { next });
                vec![next]
            });
            let kept = kept.unwrap();
            if returned { kept } else { results[0] + kept }
        });
        assert_eq!(found.operation, if returned { "return" } else { "add" });
        assert!(found.message.contains("inside of a loop that has ended (scopes)"), "{found}");
    }
}

#[test]
fn values_of_another_function_are_refused() {
    let module = ModuleBuilder::new("test");
    let (first, second) = (module.function("first"), module.function("second"));
    let x = first.argument("x", f32s([A.of(2)]));
    let results = second.repeat(2, &[x], |_, _| unreachable!());
    assert_eq!(results[0].to_string(), "(poisoned)");
    let y = first.repeat(2, &[x], |_, _| vec![second.argument("y", f32s([A.of(2)]))]);
    let errors = [second.finish(&[("x", results[0])]), first.finish(&[("y", y[0])])];
    for error in errors {
        assert!(error.unwrap_err().message.contains("another function"));
    }
}

#[test]
fn a_loop_counts_in_32_bits() {
    let most = i32::MAX as usize;
    let counted =
        |count| text(&[i32s([])], |builder, x| builder.repeat(count, x, |_, x| x.to_vec())[0]);
    let found = counted(most).unwrap();
    assert!(found.contains("dense<2147483647>"), "{found}");
    assert!(counted(most + 1).unwrap_err().message.contains("2147483648 iterations"));
    // Zero iterations are a loop, too.
    assert!(counted(0).unwrap().contains("dense<0>"));
}

fn with_kernels() -> Module {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let types = ["x", "weight", "captured", "returned"];
    let [x, weight, captured, returned] = types.map(|name| main.argument(name, f32s([A.of(2)])));
    let results = main.repeat(3, &[x, x], |_, carried| {
        let kernel = Kernel::new("test.product");
        let product = main.composite(kernel, &[carried[0], weight], |_, x| vec![x[0] * x[1]]);
        vec![product[0] + captured, returned]
    });
    main.finish(&[("x", results[0]), ("y", results[1])]).unwrap();
    module.finish().unwrap()
}

#[test]
fn kernels_inside_of_loops_are_found() {
    let module = with_kernels();
    let main = module.entry("main").unwrap();
    assert!(main.operations.iter().all(|inner| !matches!(inner.op, Op::Composite { .. })));
    let inside = main.all_operations();
    let composites = inside.iter().filter(|inner| matches!(inner.op, Op::Composite { .. }));
    assert_eq!(composites.count(), 1);
    let choose = |site: &crate::NativeSite<'_>| {
        assert_eq!(site.operands[0].element, ElementType::F32);
        Some(crate::NativeCall { symbol: "product".to_string(), tied: Vec::new() })
    };
    let text = module.native(&choose).unwrap();
    assert!(text.contains("flow.dispatch @native_product::@native_product"), "{text}");
    // The compiler's code reads the values that a loop carries, captures or returns.
    assert_eq!(module.native_arguments("main", &choose), [false, true, false, false]);
}
