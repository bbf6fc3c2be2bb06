//! Native texts.

use super::{A, B, f32s, i32s};
use crate::{
    ElementType, Kernel, Module, ModuleBuilder, NativeBinding, NativeCall, NativeImport,
    NativeSite, TensorType,
};
use proptest::prelude::*;

/// `scale` (attribute: a factor), and `write`, which returns its first operand updated, and a sum.
fn module() -> Module {
    let module = ModuleBuilder::new("test");
    {
        let main = module.function("main");
        let pool = main.argument("pool", f32s([A.of(4), B.of(2)]));
        let x = main.argument("x", f32s([B.of(2)]));
        main.alias(pool, 0);
        let kernel = Kernel::new("test.scale").with("factor", 2.0);
        let scaled = main.composite(kernel, &[x], |_, o| vec![o[0] * 2.0])[0];
        let written = main.composite(Kernel::new("test.write"), &[pool, scaled], |_, o| {
            vec![o[0] + o[1], (o[0] * o[1]).sum(A)]
        });
        main.finish(&[("pool", written[0]), ("y", written[1] + x)]).unwrap();
    }
    module.finish().unwrap()
}

fn call(symbol: &str, tied: &[(usize, usize)]) -> Option<NativeCall> {
    Some(NativeCall { symbol: symbol.to_owned(), tied: tied.to_vec() })
}

fn choose(site: &NativeSite<'_>) -> Option<NativeCall> {
    match site.kernel.name {
        "test.write" => call("write_2", &[(0, 0)]),
        _ => None,
    }
}

#[test]
fn a_decomposition_becomes_a_dispatch() {
    let module = module();
    let native = module.native(&choose).unwrap();
    // What is not swapped is printed as in the portable text.
    let portable = module.to_string();
    let (same, _) = native.split_once("  func.func private @write").unwrap();
    assert!(portable.starts_with(same));
    assert!(same.contains("func.func private @scale"));
    let swapped = native.strip_prefix(same).unwrap();
    insta::assert_snapshot!(swapped, @r"
      func.func private @write.4x2xf32_2xf32(
          %operand0: tensor<4x2xf32>,
          %operand1: tensor<2xf32>
      ) -> (tensor<4x2xf32>, tensor<2xf32>) {
        %native:2 = flow.dispatch @native_write_2::@native_write_2(%operand0, %operand1) : (tensor<4x2xf32>, tensor<2xf32>) -> (%operand0, tensor<2xf32>)
        return %native#0, %native#1 : tensor<4x2xf32>, tensor<2xf32>
      }
      stream.executable private @native_write_2 {
        stream.executable.export public @native_write_2 workgroups() -> (index, index, index) {
          %one = arith.constant 1 : index
          stream.return %one, %one, %one : index, index, index
        }
        builtin.module {
          func.func private @write_2.w32.r8.w8(memref<4x2xf32>, memref<2xf32>, memref<2xf32>) attributes {llvm.bareptr = true}
          func.func @native_write_2(%binding0: !stream.binding, %binding1: !stream.binding, %binding2: !stream.binding) {
            %zero = arith.constant 0 : index
            %memory0 = stream.binding.subspan %binding0[%zero] : !stream.binding -> memref<4x2xf32>
            %memory1 = stream.binding.subspan %binding1[%zero] : !stream.binding -> memref<2xf32>
            %memory2 = stream.binding.subspan %binding2[%zero] : !stream.binding -> memref<2xf32>
            func.call @write_2.w32.r8.w8(%memory0, %memory1, %memory2) : (memref<4x2xf32>, memref<2xf32>, memref<2xf32>) -> ()
            return
          }
        }
      }
    }
    ");
    // Without a native function, nothing differs.
    assert_eq!(module.native(&|_| None).unwrap(), portable);
}

#[test]
fn a_choice_sees_kernel_and_types() {
    module()
        .native(&|site| {
            let text = |types: &[&TensorType]| {
                types.iter().map(|ty| ty.text()).collect::<Vec<_>>().join(" ")
            };
            match site.kernel.name {
                "test.scale" => {
                    assert_eq!(site.kernel.attribute("factor"), Some(&2.0.into()));
                    assert_eq!(text(&site.operands), "tensor<2xf32>");
                    assert_eq!(text(&site.results), "tensor<2xf32>");
                }
                name => {
                    assert_eq!(name, "test.write");
                    assert_eq!(text(&site.operands), "tensor<4x2xf32> tensor<2xf32>");
                    assert_eq!(text(&site.results), "tensor<4x2xf32> tensor<2xf32>");
                }
            }
            None
        })
        .unwrap();
}

#[test]
fn equal_symbols_share_an_executable() {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let x = main.argument("x", f32s([A.of(2)]));
    let y = main.composite(Kernel::new("test.one"), &[x], |_, o| vec![o[0] + o[0]])[0];
    let y = main.composite(Kernel::new("test.two"), &[y], |_, o| vec![o[0] * o[0]])[0];
    let z = main.argument("z", f32s([B.of(3)]));
    let z = main.composite(Kernel::new("test.other"), &[z], |_, o| vec![o[0] * o[0]])[0];
    main.finish(&[("y", y), ("z", z)]).unwrap();
    drop(main);
    let module = module.finish().unwrap();
    let native = module
        .native(&|site| call("twice", &[]).filter(|_| site.kernel.name != "test.other"))
        .unwrap();
    assert_eq!(native.matches("stream.executable private").count(), 1);
    assert_eq!(native.matches("flow.dispatch @native_twice::@native_twice").count(), 2);
    let error = module.native(&|_| call("twice", &[])).unwrap_err().to_string();
    assert_eq!(
        error,
        "other.3xf32 cannot be a call of the native function \"twice\": it is also twice.r8.w8"
    );
}

#[test]
fn executables_do_not_take_the_names_of_functions() {
    let module = ModuleBuilder::new("test");
    let main = module.function("native_twice");
    let x = main.argument("x", f32s([A.of(2)]));
    let y = main.composite(Kernel::new("test.twice"), &[x], |_, o| vec![o[0] + o[0]])[0];
    main.finish(&[("y", y)]).unwrap();
    drop(main);
    let native = module.finish().unwrap().native(&|_| call("twice", &[])).unwrap();
    assert!(native.contains("flow.dispatch @_native_twice::@_native_twice("), "{native}");
    assert!(native.contains("stream.executable private @_native_twice {"), "{native}");
}

#[test]
fn what_does_not_fit_is_refused() {
    for (symbol, tied, reason) in [
        ("", &[][..], "a symbol is letters, digits and _, not beginning with a digit"),
        ("a.b", &[], "a symbol is letters"),
        ("1a", &[], "a symbol is letters"),
        ("a", &[(2, 0)], "there is no result 2 or no operand 0 to tie"),
        ("a", &[(0, 2)], "there is no result 0 or no operand 2 to tie"),
        ("a", &[(0, 1)], "result 0 ([A 4, B 2] f32) cannot overwrite operand 1 ([B 2] f32)"),
        ("a", &[(0, 0), (0, 0)], "result 0 or operand 0 is tied twice"),
    ] {
        let choose = |site: &NativeSite<'_>| match site.kernel.name {
            "test.write" => call(symbol, tied),
            _ => None,
        };
        let error = module().native(&choose).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.kernel.starts_with("write."), "{error}");
    }
}

/// The error of calling a kernel natively whose operands are these.
fn refused(types: &[TensorType]) -> String {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let operands: Vec<_> = types.iter().map(|ty| main.argument("x", ty.clone())).collect();
    let one = main.composite(Kernel::new("test.many"), &operands, |_, o| vec![o[0]])[0];
    main.finish(&[("one", one)]).unwrap();
    drop(main);
    module.finish().unwrap().native(&|_| call("many", &[])).unwrap_err().reason
}

#[test]
fn what_a_dispatch_cannot_carry_is_refused() {
    let many = vec![f32s([A.of(2)]); 32];
    assert_eq!(refused(&many), "it has 33 bindings, and 32 are possible");
    let bits = TensorType::new(ElementType::I1, [A.of(2)]);
    assert_eq!(refused(&[bits]), "a tensor [A 2] i1 has no memory to hand over");
    assert_eq!(refused(&[f32s([A.of(0)])]), "a tensor [A 0] f32 has no memory to hand over");
}

#[test]
fn arguments_that_only_native_functions_read() {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let [a, b, c, d, unused] =
        ["a", "b", "c", "d", "unused"].map(|name| main.argument(name, i32s([A.of(2)])));
    let y = main.composite(Kernel::new("test.native"), &[a, b, c], |_, o| vec![o[0] + o[1]])[0];
    let z = main.composite(Kernel::new("test.plain"), &[y, d], |_, o| vec![o[0] + o[1]])[0];
    main.finish(&[("z", z + b), ("c", c)]).unwrap();
    let _ = unused;
    drop(main);
    let module = module.finish().unwrap();
    let choose = |site: &NativeSite<'_>| match site.kernel.name {
        "test.native" => call("native", &[]),
        _ => None,
    };
    assert_eq!(module.native_arguments("main", &choose), [true, false, false, false, true]);
    assert_eq!(module.native_arguments("main", &|_| None), [false, false, false, false, true]);
    assert!(module.native_arguments("other", &choose).is_empty());
}

proptest! {
    #[test]
    fn import_names_read_back(symbol in "[A-Za-z_][A-Za-z0-9_]{0,8}", bindings in prop::collection::vec(any::<(usize, bool)>(), 0..5)) {
        let bindings = bindings.into_iter().map(|(bytes, written)| NativeBinding { bytes, written });
        let import = NativeImport { symbol, bindings: bindings.collect() };
        prop_assert_eq!(import.to_string().parse::<NativeImport>().unwrap(), import);
    }

    #[test]
    fn only_import_names_are_read(text in "[a_0.rw+ -]{0,10}") {
        if let Ok(import) = text.parse::<NativeImport>() {
            prop_assert_eq!(import.to_string().parse::<NativeImport>().unwrap(), import);
        }
    }
}

#[test]
fn wrong_import_names() {
    for text in [
        "",
        ".r4",
        "a.",
        "a.4",
        "a.r",
        "a.x4",
        "a.r4.",
        "a.r-4",
        "a.r+4",
        "a.r99999999999999999999",
    ] {
        assert!(text.parse::<NativeImport>().is_err(), "{text}");
    }
}
