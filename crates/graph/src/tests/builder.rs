//! Functions: the first mistake, names, scopes, results.

use super::{A, B, f32s, i32s, lines};
use crate::{Kernel, Literal, ModuleBuilder, TensorType, Value};

#[test]
fn a_mistake_says_what_where_and_with_which_operands() {
    let module = ModuleBuilder::new("test");
    let main = module.function("prefill");
    let x = main.argument("x", f32s([A.of(2), B.of(3)]));
    let layer = main.scope("layers.3");
    let attention = main.scope("attention");
    let y = main.argument("model.weight", f32s([B.of(4)]));
    let line = line!() + 1;
    let sum = x + y;
    drop(attention);
    drop(layer);
    let error = main.finish(&[("sum", sum)]).unwrap_err();
    assert_eq!(error.operation, "add");
    assert_eq!(error.place, "prefill: layers.3.attention");
    assert_eq!(error.message, "[B 4] f32 does not broadcast by label to [A 2, B 3] f32 (labels)");
    assert_eq!(error.operands, "%x [A 2, B 3] f32 and %model.weight [B 4] f32");
    assert!(error.location.file().ends_with("tests/builder.rs"), "{}", error.location);
    assert_eq!(error.location.line(), line);
    let text = error.to_string();
    for part in [error.operation, &error.place, &error.message, &error.operands, "builder.rs:"] {
        assert!(text.contains(part), "{text}");
    }
    // The module has it too.
    assert_eq!(module.finish().unwrap_err(), error);
}

#[test]
fn every_method_reports_its_caller() {
    type Build = for<'b> fn(Value<'b>) -> Value<'b>;
    let line = line!() + 2;
    let wrong: [Build; 10] = [
        |x| x.sum(B),
        |x| x.mean(B),
        |x| x.max(B),
        |x| x.split(B, &[]),
        |x| x.take(B, x),
        |x| x.contract(x, &[B]),
        |x| (x.compare(crate::Direction::Eq, x)).cosine(),
        |x| (x.compare(crate::Direction::Eq, x)) - 0.5,
        |x| -(x.compare(crate::Direction::Eq, x)),
        |x| x.builder().constant(Literal::Boolean(vec![true]), f32s([])),
    ];
    for (n, build) in wrong.into_iter().enumerate() {
        let error = super::error(&[f32s([A.of(2)])], |_, x| build(x[0]));
        assert!(error.location.file().ends_with("tests/builder.rs"), "{error}");
        assert_eq!(error.location.line(), line + n as u32, "{error}");
    }
}

#[test]
fn only_the_first_mistake_counts() {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let x = main.argument("x", f32s([A.of(2)]));
    let bad = x.sum(B);
    assert_eq!(bad.to_string(), "(poisoned)");
    assert_eq!((bad.ty(), bad.size(A)), (f32s([]), 0));
    // Everything after it is silent, whatever is asked.
    let after = [
        bad + x,
        x + bad,
        bad * 2.0,
        -bad,
        bad.named("y").cosine(),
        bad.sum(A).mean(B).max(A),
        bad.select(x, x),
        x.select(bad, x),
        bad.broadcast(&[A.of(2)]),
        bad.convert(crate::ElementType::F16)
            .bitcast(crate::ElementType::I16)
            .shift_left(1)
            .shift_right(x)
            .barrier(),
        bad.split(A, &[]).merge(&[A], B).relabel(A, B).append(A).transpose(&[A]).slice(A, 0..1),
        x.concatenate(&[bad], A),
        x.take(A, bad),
        x.put(bad, x),
        x.contract(bad, &[A]),
        main.composite(Kernel::new("test.none"), &[x, bad], |_, _| unreachable!())[0],
        main.repeat(2, &[x, bad], |_, _| unreachable!())[0],
    ];
    for value in after {
        assert_eq!(value.to_string(), "(poisoned)");
    }
    // A second mistake is not reported.
    let _ = x.split(A, &[]);
    let error = main.finish(&[("bad", bad)]).unwrap_err();
    assert_eq!(error.operation, "sum");
    assert_eq!(error.operands, "%x [A 2] f32 and %constant [] f32");
}

#[test]
fn labels_of_an_argument_are_distinct() {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let x = main.argument("x", f32s([A.of(2), A.of(3)]));
    let error = main.finish(&[("x", x)]).unwrap_err();
    assert_eq!(error.operation, "argument");
    assert!(error.message.contains("two dimensions labelled A"), "{error}");
}

#[test]
fn names_are_unique_and_carry_their_scope() {
    let module = ModuleBuilder::new("a test");
    let main = module.function("1st step!");
    let x = main.argument("model.embed-tokens", f32s([A.of(2)]));
    let again = main.argument("model.embed-tokens", f32s([A.of(2)]));
    let sum = x + again;
    let mut values = vec![sum, sum + sum];
    {
        let _layer = main.scope("layers.0");
        values.push(sum + sum);
        values.push((sum + sum).named("query"));
        values.push((sum + sum).named("query"));
        // The name that the renamed value had is free again.
        values.push(sum + sum);
        let _inner = main.scope(format!("part {}", 7));
        values.push(sum * sum);
        {
            let _shared = main.shared_scope("rotation");
            values.push(sum * sum);
        }
        values.push(-sum);
    }
    values.push(sum * sum);
    // A name that looks like a numbered one.
    values.push((sum * sum).named("add_2"));
    values.push(values[0].named("total"));
    let expected = [
        "total",
        "add_2",
        "layers.0.add",
        "layers.0.query",
        "layers.0.query_2",
        "layers.0.add_2",
        "layers.0.part_7.multiply",
        "rotation.multiply",
        "layers.0.part_7.negate",
        "multiply",
        "add_2_2",
        "total",
    ];
    let named: Vec<(&str, Value<'_>)> = values.iter().map(|value| ("result", *value)).collect();
    main.finish(&named).unwrap();
    let module = module.finish().unwrap();
    assert_eq!(module.name, "a_test");
    let function = module.entry("_1st_step_").unwrap();
    let name = |id: crate::ValueId| function.values[id.0 as usize].name.as_str();
    let names: Vec<&str> = function.results.iter().map(|(_, id)| name(*id)).collect();
    assert_eq!(names, expected);
    let arguments: Vec<&str> = function.arguments.iter().map(|x| name(x.value)).collect();
    assert_eq!(arguments, ["model.embed_tokens", "model.embed_tokens_2"]);
}

#[test]
fn names_of_a_scatter_s_body_are_reserved() {
    let found = lines(&[f32s([A.of(2)])], |_, x| (x[0] + x[0]).named("old") + x[0]);
    assert!(found.starts_with("%old_2 = "), "{found}");
}

#[test]
fn renaming_an_operand_renames_its_uses() {
    let found = lines(&[f32s([A.of(2)])], |_, x| {
        let square = x[0] * x[0];
        let sum = square + x[0];
        square.named("square");
        sum
    });
    assert!(found.contains("%square = stablehlo.multiply %x, %x"), "{found}");
    assert!(found.contains("%add = stablehlo.add %square, %x"), "{found}");
}

#[test]
fn arguments_may_be_overwritten_by_results() {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let x = main.argument("x", f32s([A.of(2)]));
    let y = main.argument("y", f32s([A.of(2)]));
    main.alias(y, 1);
    main.finish(&[("sum", x + y), ("y", y * 2.0)]).unwrap();
    let text = module.finish().unwrap().to_string();
    assert!(text.contains("%y: tensor<2xf32> {tf.aliasing_output = 1 : i32}\n"), "{text}");
    assert!(text.contains("%x: tensor<2xf32>,\n"), "{text}");

    let attempt = |result: usize, of_argument: bool| {
        let module = ModuleBuilder::new("test");
        let main = module.function("main");
        let x = main.argument("x", f32s([A.of(2)]));
        let y = x * 2.0;
        main.alias(if of_argument { x } else { y }, result);
        main.finish(&[("y", y), ("sum", y.sum(A))]).map_err(|error| {
            assert_eq!(error.operation, "alias");
            error.message
        })
    };
    assert_eq!(attempt(0, true), Ok(()));
    assert!(attempt(0, false).unwrap_err().contains("only an argument's memory"));
    assert!(attempt(1, true).unwrap_err().contains("it is [] f32 (aliasing)"));
    assert!(attempt(2, true).unwrap_err().contains("there is none (aliasing)"));
}

#[test]
fn an_entry_is_a_public_function() {
    let module = ModuleBuilder::new("test");
    for name in ["prefill", "decode"] {
        let function = module.function(name);
        let x = function.argument("x", i32s([A.of(2)]));
        let kernel = Kernel::new("test.double");
        let twice = function.composite(kernel, &[x], |_, x| vec![x[0] + x[0]])[0];
        function.finish(&[("twice", twice)]).unwrap();
    }
    let module = module.finish().unwrap();
    let names: Vec<&str> = module.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["prefill", "decode", "double.2xi32"]);
    assert!(module.entry("decode").is_some_and(|f| f.public && f.name == "decode"));
    assert!(module.entry("double.2xi32").is_none(), "decompositions are private");
    assert!(module.entry("absent").is_none());
}

#[test]
fn functions_of_one_name_are_refused() {
    let module = ModuleBuilder::new("test");
    for name in ["step-1", "step_1"] {
        let function = module.function(name);
        let one = function.integer(1);
        function.finish(&[("one", one)]).unwrap();
    }
    let error = module.finish().unwrap_err();
    assert!(error.to_string().contains("step_1"), "{error}");
    assert!(error.message.contains("another function has this name"), "{error}");
}

#[test]
fn functions_do_not_mix() {
    let module = ModuleBuilder::new("test");
    let (first, second) = (module.function("first"), module.function("second"));
    let x = first.argument("x", f32s([]));
    let y = second.argument("y", f32s([]));
    let mixed = x + y;
    let error = first.finish(&[("mixed", mixed)]).unwrap_err();
    assert!(error.message.contains("belong to another function (functions)"), "{error}");
    assert!(second.finish(&[("x", first.scalar(1.0))]).is_err());

    let third = module.function("third");
    let kernel = Kernel::new("test.identity");
    let copied = third.composite(kernel, &[y], |_, x| vec![x[0]]);
    assert!(third.finish(&[("copied", copied[0])]).is_err());

    // A finished function has no values any more.
    let fourth = module.function("fourth");
    let x = fourth.argument("x", TensorType::scalar(crate::ElementType::I32));
    fourth.finish(&[("x", x)]).unwrap();
    let error = fourth.finish(&[("x", x)]).unwrap_err();
    assert!(error.message.contains("not there any more"), "{error}");
}
