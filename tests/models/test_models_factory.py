import msgspec
import numpy as np
import pytest
import torch
from nets_for_tests import Net, make

from dripstone.core.errors import ModelError
from dripstone.core.fork import fill, named_tensors
from dripstone.core.records import Spec
from dripstone.models import ModelSpec, build, image_classifier, mlp, prepare, text_classifier
from dripstone.models.factory import with_assets
from dripstone.models.wrap import HEAD_KEY, wrap

NUMBERS = [np.random.default_rng(0).normal(size=4).astype("f4") for _ in range(6)]
PICTURES = [np.random.default_rng(i).random((8, 8)).astype("f4") for i in range(6)]
MODELS = {
    "mlp": (lambda folder: mlp(inputs=4, random_features=8), NUMBERS),
    "hidden": (lambda folder: mlp(inputs=4, hidden=(5, 6), random_features=8, dropout=0.1, seed=3), NUMBERS),
    "image": (lambda folder: image_classifier((8, 8), channels=(4, 6), random_features=8), PICTURES),
    "text": (
        lambda folder: text_classifier(str(folder), max_length=9, random_features=8),
        ["hello you", "", "my card"],
    ),
    "kept": (lambda folder: prepare(make(), ModelSpec("nets_for_tests:make"), labels_known=3), NUMBERS),
    "new head": (lambda folder: prepare(make(5), ModelSpec("nets_for_tests:make", {"hidden": 5}), 0), NUMBERS),
    "class": (lambda folder: prepare(Net(4), ModelSpec("nets_for_tests:Net", {"width": 4}), 0), NUMBERS),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_classifier_can_be_rebuilt(name, encoder_folder):
    make_model, rows = MODELS[name]
    model = make_model(encoder_folder)
    model.fit(rows)
    model.head.fit(model.features(model.collate(rows)))
    model.head.grow(4)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    spec = msgspec.json.decode(msgspec.json.encode(model.spec), type=Spec)

    before = torch.get_rng_state()
    rebuilt = build(spec, model.assets, classes=4)
    assert torch.equal(torch.get_rng_state(), before)

    wanted, found = named_tensors(model), named_tensors(rebuilt)
    assert {n: (t.shape, t.dtype) for n, t in wanted.items()} == {n: (t.shape, t.dtype) for n, t in found.items()}
    assert list(wanted) == list(found)
    fill(rebuilt, wanted.items())
    with torch.no_grad():
        assert torch.equal(rebuilt(rebuilt.collate(rows)), model(model.collate(rows)))
    assert rebuilt.spec == model.spec
    assert rebuilt.assets == model.assets
    assert [p.requires_grad for p in rebuilt.parameters()] == [p.requires_grad for p in model.parameters()]


def test_building_twice_gives_the_same_weights():
    a, b = (named_tensors(build(ModelSpec("nets_for_tests:make"), {}, 0)) for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_known_output_is_kept_when_a_module_is_wrapped_for_the_first_time():
    model = build(ModelSpec("nets_for_tests:make"), {}, classes=3, known_output=True)
    assert model.spec.kwargs == {HEAD_KEY: {"kept": 3}}
    assert build(model.spec, {}, classes=5).head.weight.shape == (5, 8)


def test_a_spec_may_ask_for_a_head():
    model = build(ModelSpec("nets_for_tests:make", {HEAD_KEY: {"random_features": 7}}), {}, classes=2)
    assert model.head.weight.shape == (2, 15)
    assert model.spec.kwargs[HEAD_KEY] == {"random_features": 7, "seed": 0}


@pytest.mark.parametrize("head", [3, {"kept": -1}, {"kept": True}, {"kept": 1, "seed": 2}, {"x": 1}, {"seed": "0"}])
def test_a_head_that_is_not_understood(head):
    with pytest.raises(ModelError, match="'@head' is"):
        build(ModelSpec("nets_for_tests:make", {HEAD_KEY: head}), {}, classes=2)


def test_a_factory_of_classifiers_of_the_users_own():
    assert build(ModelSpec("nets_for_tests:ready"), {}, classes=2).head.weight.shape == (2, 12)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        "torch:load",
        "torch.hub:load",
        "torch.jit:load",
        "torch.fx.graph_module:reduce_graph_module",
        "torch.fx:GraphModule",
        "torch.nn.utils.parametrize:register_parametrization",
        "nets_for_tests:not_annotated",
        "nets_for_tests:annotated_otherwise",
        "nets_for_tests:unresolved",
        "nets_for_tests:partial",
        "nets_for_tests:nn",
        "dripstone.core.seeding:seeded",
    ],
)
def test_what_may_not_be_called(name):
    with pytest.raises(ModelError, match="is not known to make a module") as caught:
        build(Spec(name, {"command": "true"}), {}, classes=0)
    assert caught.value.kind == "model.factory"


def test_source_code_in_a_spec_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    body = {"_code": f"open({str(mark)!r}, 'w')\ndef forward(self): pass"}
    with pytest.raises(ModelError, match="is not known to make a module"):
        build(Spec("torch.fx.graph_module:reduce_graph_module", {"body": body, "import_block": ""}), {}, 0)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["no_such_package:x", "nets_for_tests:no_such_name", "dripstone.models:nothing"])
def test_what_cannot_be_imported(name):
    with pytest.raises(ModelError, match=f"{name} cannot be imported") as caught:
        build(Spec(name), {}, classes=0)
    assert caught.value.kind == "model.import"


@pytest.mark.parametrize(
    "name", ["", "x", ":x", "a:", "a.b", "a..b:c", "a:b.c", "a b:c", "../a:b", "__main__:Net", "a:b:c"]
)
def test_names_that_are_none(name):
    with pytest.raises(ModelError) as caught:
        ModelSpec(name)
    assert caught.value.kind == "model.factory"
    with pytest.raises(ModelError):
        build(Spec(name), {}, classes=0)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", float("nan"), np.zeros(2)])
def test_arguments_that_are_not_json(value):
    with pytest.raises(ModelError, match="not JSON") as caught:
        ModelSpec("nets_for_tests:make", {"hidden": value})
    assert caught.value.kind == "model.arguments"


def test_tuples_become_the_lists_that_json_gives_back():
    assert ModelSpec("a:b", {"hidden": (1, 2)}).kwargs == {"hidden": [1, 2]}


@pytest.mark.parametrize("kwargs", [{"width": 4, "depth": 2}, {}, {"assets": 1}])
def test_wrong_arguments_are_told_before_the_call(kwargs):
    with pytest.raises(ModelError, match=r"does not take these arguments.*call it as Net\(width: 'int'") as caught:
        build(ModelSpec("nets_for_tests:Net", kwargs), {}, classes=0)
    assert caught.value.kind == "model.arguments"


@pytest.mark.parametrize(("name", "message"), [("fails", "failed: no such luck"), ("lies", "returned str, no module")])
def test_a_factory_that_fails(name, message):
    with pytest.raises(ModelError, match=message):
        build(ModelSpec(f"nets_for_tests:{name}"), {}, classes=0)


def test_a_ready_factorys_own_error_passes():
    with pytest.raises(ModelError, match="0 values"):
        build(ModelSpec("dripstone.models:mlp", {"inputs": 0}), {}, classes=0)


def test_fewer_classes_than_are_kept():
    with pytest.raises(ModelError, match="cannot shrink"):
        build(ModelSpec("nets_for_tests:make", {HEAD_KEY: {"kept": 3}}), {}, classes=2)


def test_assets_must_be_the_ones_that_the_spec_names():
    spec = with_assets(ModelSpec("dripstone.models:text_classifier", {"encoder": "x"}), {"config.json": b"{}"})
    for assets in ({}, {"config.json": b"[]"}, {"config.json": b"{}", "more": b""}):
        with pytest.raises(ModelError, match="not the one in its spec") as caught:
            build(spec, assets, classes=0)
        assert caught.value.kind == "model.assets"


def test_prepare_lets_a_classifier_pass():
    model = mlp(inputs=2)
    assert prepare(model, None, 0) is model
    assert prepare(model, model.spec, 0) is model
    with pytest.raises(ModelError, match="has a spec already"):
        prepare(model, ModelSpec("nets_for_tests:make"), 0)


def test_prepare_needs_a_spec_for_a_module():
    with pytest.raises(ModelError, match=r"how Net is rebuilt; pass spec=ModelSpec\(") as caught:
        prepare(Net(2), None, 0)
    assert caught.value.kind == "model.spec"


def test_prepare_is_wrap():
    module = make()
    a, b = prepare(module, ModelSpec("a:b"), 3), wrap(module, ModelSpec("a:b"), 3)
    assert a.spec == b.spec
    assert torch.equal(a.head.weight, b.head.weight)
