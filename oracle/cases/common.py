"""One tiny model: its configuration, its checkpoint, and the features that its answer must depend on.

A case of style "v5" gives constructor arguments and its config.json is what transformers 5 writes; a case of
style "v4" gives the whole config.json as a hub checkpoint has it. Either way the reference is built from the file.

Keys of a case
    prompt     length of the prompt
    gain       gains of the matrices by kind (see checkpoint.spec); a matrix is N * gain / sqrt(fan_in)
    rules      [(pattern, scale, offset)] for tensors that checkpoint.spec would fill unsuitably; a pattern is
               searched in the name, the first match counts, and a scale that is a string names a gain
    same_as    (v4 only) constructor arguments in the v5 spelling that must give bit-identical logits
    drops      label -> changes to the loaded configuration, or a function that changes the loaded model in place;
               the report says how far the logits move
    layout     {name: shape} as save_pretrained writes it -> {name: shape} as the hub has it, where they differ;
               transformers must load either without a missing tensor
    extra      {name: shape} of tensors that a hub checkpoint holds and a text model ignores
    ignored    pattern of names that the text model ignores, beside the extra ones
    dtypes     [(pattern, dtype)] of tensors whose type is not that of the configuration
    auto       class of transformers that opens it, where AutoModelForCausalLM does not
    attention  implementation of attention, where the eager one is wrong
    reference  {name: float32 array} of the checkpoint -> the same for transformers, where it cannot read the former
    reference_config
               config.json's content -> what transformers reads in its place
"""

import torch


def case(name, style, config, prompt, **more):
    return {"name": name, "style": style, "config": config, "prompt": prompt, **more}


def per_expert(shapes, module="mlp.experts"):
    """Experts as a list, as most hub checkpoints have them, from stacked gate_up_proj [E, 2F, D], down_proj [E, D, F]."""
    listed = {}
    for name, shape in shapes.items():
        prefix, found, weight = name.partition(f".{module}.")
        if not found or weight not in ("gate_up_proj", "down_proj"):
            listed[name] = shape
            continue
        for expert in range(shape[0]):
            place = f"{prefix}.{module}.{expert}"
            if weight == "down_proj":
                listed[f"{place}.down_proj.weight"] = shape[1:]
            else:
                for part in ("gate_proj", "up_proj"):
                    listed[f"{place}.{part}.weight"] = [shape[1] // 2, shape[2]]
    return listed


def stacked(shapes, module="mlp.experts"):
    """The inverse of `per_expert`: one 3-D tensor of all experts for gate and up, one for down."""
    joined, counts = {}, {}
    for name, shape in shapes.items():
        prefix, found, rest = name.partition(f".{module}.")
        number, _, weight = rest.partition(".")
        if not found or not number.isdigit():
            joined[name] = shape
            continue
        rows = 2 * shape[0] if weight == "gate_proj.weight" else shape[0]
        target = "down_proj" if weight == "down_proj.weight" else "gate_up_proj"
        if weight != "up_proj.weight":
            key = f"{prefix}.{module}.{target}"
            counts[key] = counts.get(key, 0) + 1
            joined[key] = [counts[key], rows, shape[1]]
    return joined


def renamed(*replacements):
    """A layout that replaces parts of names, in order."""
    def layout(shapes):
        result = {}
        for name, shape in shapes.items():
            for old, new in replacements:
                name = name.replace(old, new)
            result[name] = shape
        return result
    return layout


def zeroed(pattern):
    """A drop: the parameters whose names contain `pattern` become zero."""
    def drop(model):
        found = [parameter for name, parameter in model.named_parameters() if pattern in name]
        assert found, pattern
        for parameter in found:
            parameter.data.zero_()
    return drop


def replaced(class_name, **methods):
    """A drop: methods of every module of a class get another body."""
    def drop(model):
        found = [module for module in model.modules() if type(module).__name__ == class_name]
        assert found, class_name
        for module in found:
            for name, body in methods.items():
                setattr(module, name, body.__get__(module))
    return drop


def assigned(class_name, **attributes):
    """A drop: attributes of every module of a class get another value."""
    def drop(model):
        found = [module for module in model.modules() if type(module).__name__ == class_name]
        assert found, class_name
        for module in found:
            for name, value in attributes.items():
                assert hasattr(module, name), name
                setattr(module, name, value)
    return drop


def half_split(head_dim, rotated=None, projections=("q_proj", "k_proj")):
    """A drop, for an interleaved rotation: pairs are taken from the two halves of the rotated part of each head."""
    width = rotated or head_dim
    order = torch.arange(width).reshape(2, width // 2).t().reshape(-1)
    order = torch.cat([order, torch.arange(width, head_dim)])

    def drop(model):
        found = [module for name, module in model.named_modules() if name.endswith(projections)]
        assert found, projections
        for module in found:
            for parameter in module.parameters():
                heads = parameter.data.view(-1, head_dim, *parameter.shape[1:])
                parameter.data = heads[:, order].reshape(parameter.shape)
    return drop


def exchanged(name):
    """A drop: the two halves of the rows of some fused projections change places."""
    def drop(model):
        found = [module for path, module in model.named_modules() if path.endswith(name)]
        assert found, name
        for module in found:
            for parameter in module.parameters():
                parameter.data = torch.cat(parameter.data.chunk(2)[::-1])
    return drop


def means_kept(class_name):
    """A drop, for LayerNorm: the mean is not subtracted."""
    def drop(model):
        found = [module for module in model.modules() if type(module).__name__ == class_name]
        assert found, class_name
        for module in found:
            def forward(self, x):
                eps = getattr(self, "variance_epsilon", None) or self.eps
                scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * self.weight
                return scaled if getattr(self, "bias", None) is None else scaled + self.bias
            module.forward = forward.__get__(module)
    return drop
