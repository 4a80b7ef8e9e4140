"""Operations of a net are seen and replaced, and the net is left as it was."""

import pytest

from shiftable.errors import InputError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.surgery.calls import run, visited  # noqa: E402


class Net(nn.Module):
    """Layers, functional operations, and control flow that no tracer follows."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.last = nn.Linear(4, 5)
        self.fails = False

    def forward(self, x):
        x = self.first(x)
        if x.mean() > 1e9:
            x = -x
        x = functional.max_pool2d(x, 2)
        if self.fails:
            raise ArithmeticError("on purpose")
        return {"logits": self.last(functional.adaptive_avg_pool2d(x, 1).flatten(1))}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def picture(count=1):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def keys_of(net, inputs):
    keys = []
    run(net, inputs, lambda call: keys.append(call.key) or call())
    return keys


def state(net):
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in net.modules()]
    modes = [module.training for module in net.modules()]
    gradients = [weight.requires_grad for weight in net.parameters()]
    return hooks, modes, gradients, {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    numbers = all(torch.equal(one[3][name], other[3][name]) for name in one[3])
    return one[:3] == other[:3] and numbers and one[3].keys() == other[3].keys()


def test_functional_operations_are_seen_with_their_module(net):
    seen = {(key.module, key.operation) for key in keys_of(net, picture())}
    assert {("first.0", "convolution"), ("", "max_pool2d_with_indices"), ("last", "addmm")} <= seen


def test_keys_are_the_same_in_every_pass_and_for_every_batch(net):
    once = keys_of(net, picture())
    assert len(set(once)) == len(once)
    assert keys_of(net, picture()) == once
    assert keys_of(net, picture(5)) == once
    twice = []
    with torch.no_grad(), visited(net, lambda call: twice.append(call.key) or call()):
        net(picture())
        torch.zeros(3) + 1  # not the net's
        net(picture())
    assert twice == [*once, *once]


def test_inference_mode_takes_operations_apart_as_well(net):
    inside = []
    with torch.inference_mode(), visited(net, lambda call: inside.append(call.key) or call()):
        net(picture())
    names = {key[:2] for key in inside}
    assert {("first.0", "convolution"), ("", "max_pool2d_with_indices"), ("last", "addmm")} <= names


def test_looking_changes_no_bit_and_replacing_changes_the_answer(net):
    with torch.no_grad():
        plain = net(picture())["logits"]

    def doubled(call):
        return tuple(2 * each for each in call()) if call.key.operation.startswith("max_pool") else call()

    assert torch.equal(run(net, picture(), lambda call: call())["logits"], plain)
    assert not torch.allclose(run(net, picture(), doubled)["logits"], plain)


def test_an_operation_is_carried_out_on_another_map(net):
    def on_zeros(call):
        return call(torch.zeros_like(call.args[0])) if call.key.operation == "convolution" else call()

    once, other = (run(net, picture(count)[-1:], on_zeros)["logits"] for count in (1, 2))
    assert torch.equal(once, other)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_net_is_left_as_it_was(net, fails, training):
    net.train(training)
    net.first[0].weight.requires_grad_(False)
    net.fails = fails
    net.last.register_forward_hook(lambda *_: None)
    before = state(net)
    if fails:
        with pytest.raises(ArithmeticError):
            run(net.eval(), picture(), lambda call: call())
        net.train(training)
    else:
        run(net.eval(), picture(), lambda call: call())
        net.train(training)
    assert same(before, state(net))
    assert torch.is_grad_enabled()


def test_an_error_of_whoever_looks_leaves_the_net_as_it_was(net):
    before = state(net)

    def look(call):
        raise KeyError(call.key)

    with pytest.raises(KeyError):
        run(net, picture(), look)
    assert same(before, state(net))
    keys_of(net, picture())  # and it can be looked at again


def test_modules_tell_what_they_give(net):
    told = []
    run(net, picture(), lambda call: call(), lambda name, _, answers: told.append((name, len(answers))))
    assert told == [("first.0", 1), ("first.1", 1), ("first.2", 1), ("first", 1), ("last", 1), ("", 1)]


def test_torchscript_is_refused_and_seen_inside_another_net():
    with pytest.warns(DeprecationWarning, match="jit"):
        scripted = torch.jit.script(nn.MaxPool2d(2))
    with pytest.raises(InputError, match="TorchScript"):
        run(scripted, picture(), lambda call: call())
    keys = keys_of(nn.Sequential(scripted), picture())
    assert [(key.module, key.operation) for key in keys] == [("", "max_pool2d_with_indices")]


def test_a_net_in_training_learns_nothing_from_being_looked_at():
    net = Net().train()
    before = state(net)
    keys_of(net, picture())
    assert same(before, state(net))
