//! Kernels and their decompositions.

use super::{A, B, C, f32s};
use crate::{Attribute, Builder, GraphError, Kernel, Module, ModuleBuilder, Value};

/// `x · factor + 1`.
fn scale<'b>(x: Value<'b>, factor: f32) -> Value<'b> {
    let kernel = Kernel::new("test.scale").with("factor", factor);
    x.builder().composite(kernel, &[x], |builder, x| {
        let _scope = builder.scope("inside");
        vec![x[0] * f64::from(factor) + 1.0]
    })[0]
}

fn module(
    names: &[&str],
    build: impl for<'b> Fn(&'b Builder<'b>) -> Value<'b>,
) -> Result<Module, GraphError> {
    let module = ModuleBuilder::new("test");
    for name in names {
        let function = module.function(name);
        let result = build(&function);
        function.finish(&[("result", result)])?;
    }
    module.finish()
}

fn private(module: &Module) -> Vec<&str> {
    module.functions.iter().filter(|f| !f.public).map(|f| f.name.as_str()).collect()
}

#[test]
fn equal_kernels_share_a_decomposition() {
    let found = module(&["first", "second"], |function| {
        let x = function.argument("x", f32s([A.of(4)]));
        let _scope = function.scope("layers.0");
        scale(scale(x, 2.0), 2.0)
    });
    let found = found.unwrap();
    assert_eq!(private(&found), ["scale.4xf32.factor_2.0e0"]);
    // Nothing of the caller's scope is in the shared function, nothing of its own in the caller.
    let text = found.to_string();
    assert!(text.contains("%inside.multiply"), "{text}");
    assert!(text.contains("%layers.0.scale = stablehlo.composite"), "{text}");
    assert!(text.contains("%layers.0.scale_2 = "), "{text}");
    assert_eq!(text.matches("stablehlo.multiply").count(), 1, "{text}");
}

#[test]
fn other_attributes_types_or_labels_make_another_decomposition() {
    let found = module(&["main"], |function| {
        let x = function.argument("x", f32s([A.of(4)]));
        let y = function.argument("y", f32s([B.of(4)]));
        let z = function.argument("z", f32s([B.of(5)]));
        let all = [scale(x, 2.0), scale(x, -2.0), scale(y, 2.0), scale(z, 2.0)];
        let pair = scale(all[0], 3.0).sum(A) + scale(all[1], 3.0).sum(A);
        pair + all[2].sum(B) + all[3].sum(B)
    });
    let found = found.unwrap();
    let expected = [
        "scale.4xf32.factor_2.0e0",
        "scale.4xf32.factor__2.0e0",
        // The same symbol but for labels, which are not part of it.
        "scale.4xf32.factor_2.0e0_2",
        "scale.5xf32.factor_2.0e0",
        "scale.4xf32.factor_3.0e0",
    ];
    assert_eq!(private(&found), expected);
}

#[test]
fn a_decomposition_is_named_by_its_operands_alone() {
    let name = |before: bool| {
        let found = module(&["main"], |function| {
            let x = function.argument("x", f32s([A.of(4)]));
            let y = if before { scale(x, 7.0) } else { x };
            scale(y, 2.0)
        });
        private(&found.unwrap()).last().map(ToString::to_string)
    };
    assert_eq!(name(true), name(false));
}

#[test]
fn kernels_may_use_kernels_and_have_several_results() {
    let found = module(&["main"], |function| {
        let x = function.argument("x", f32s([A.of(4)]));
        let kernel = Kernel::new("test.both").with("name", "a \"b\"").with("count", 3);
        let results = function.composite(kernel, &[x], |_, x| vec![scale(x[0], 2.0), x[0].sum(A)]);
        assert_eq!(results.len(), 2);
        assert_eq!(results[1].ty(), f32s([]));
        results[0] * results[1]
    });
    let found = found.unwrap();
    assert_eq!(private(&found), ["scale.4xf32.factor_2.0e0", "both.4xf32.name__a___b___.count_3"]);
    let text = found.to_string();
    assert!(text.contains("%both, %both_2 = stablehlo.composite \"test.both\" %x"), "{text}");
}

/// The first elements of `x`, relabelled: as many as `result` has.
fn first<'b>(x: Value<'b>, result: crate::Dimension, given: crate::Dimension) -> Value<'b> {
    let kernel = Kernel::new("test.first");
    let results = [f32s([result])];
    x.builder().composite_with_results(kernel, &[x], &results, |_, x| {
        vec![x[0].slice(A, 0..given.size).relabel(A, given.label)]
    })[0]
}

#[test]
fn results_that_operands_do_not_determine_are_given() {
    let found = module(&["main"], |function| {
        let x = function.argument("x", f32s([A.of(4)]));
        let results = [B.of(2), B.of(3), C.of(3), B.of(2)].map(|ty| (first(x, ty, ty), ty));
        for (value, ty) in results {
            assert_eq!(value.ty(), f32s([ty]));
        }
        let sum = |n: usize| results[n].0.sum(results[n].1.label);
        sum(0) + sum(1) + sum(2) + sum(3)
    });
    assert_eq!(private(&found.unwrap()), ["first.4xf32", "first.4xf32_2", "first.4xf32_3"]);

    let found = module(&["main"], |function| {
        first(function.argument("x", f32s([A.of(4)])), B.of(3), B.of(2))
    });
    let error = found.unwrap_err();
    assert_eq!(error.operation, "composite");
    assert_eq!(error.message, "the decomposition gives [B 2] f32, not [B 3] f32 (C3)");
}

#[test]
fn attributes_are_found_by_name() {
    let kernel =
        Kernel::new("stablemate.test").with("x", 1.5).with("n", 7usize).with("text", "word");
    assert_eq!(kernel.short_name(), "test");
    assert_eq!(Kernel::new("plain").short_name(), "plain");
    assert_eq!(kernel.attribute("x"), Some(&Attribute::Float(1.5)));
    assert_eq!(kernel.attribute("n"), Some(&Attribute::Integer(7)));
    assert_eq!(kernel.attribute("text"), Some(&Attribute::Text("word".to_string())));
    assert_eq!(kernel.attribute("absent"), None);
}

#[test]
fn a_mistake_inside_says_who_called() {
    let module = ModuleBuilder::new("test");
    let main = module.function("prefill");
    let x = main.argument("x", f32s([A.of(4)]));
    let layer = main.scope("layers.3");
    let line = line!() + 2;
    let results = main.composite(Kernel::new("test.outer"), &[x], |_, x| {
        x[0].builder().composite(Kernel::new("test.inner"), x, |_, x| vec![x[0].sum(B)])
    });
    drop(layer);
    let after = results[0] + x;
    let error = main.finish(&[("y", after)]).unwrap_err();
    assert_eq!(error.operation, "sum");
    assert_eq!(error.place, "prefill: layers.3 (outer.4xf32:  (inner.4xf32: ))");
    assert!(error.message.contains("[A 4] f32 has no dimension B"), "{error}");
    assert!(error.location.file().ends_with("composites.rs"), "{error}");
    assert_eq!(error.location.line(), line);
    assert_eq!(module.finish().unwrap_err(), error, "the module names the caller as well");
}
