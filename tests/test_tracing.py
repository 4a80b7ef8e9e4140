"""One module's forward as a graph: it answers as before, with the same children, and knows which step does what."""

from copy import deepcopy

import pytest

from shiftable.errors import InputError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from shiftable.surgery.sites import find_sites  # noqa: E402
from shiftable.surgery.tracing import Traced, containers, nodes_of, put, traced  # noqa: E402


class Block(nn.Module):
    """A functional pooling, a container, a setting, and a child of no use."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.convs = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("hidden", torch.ones(1), persistent=False)
        self.width = 4

    def forward(self, map, times=None):
        map = self.convs(map) * self.scale
        if times is not None:
            map = map * times
        return functional.max_pool2d(functional.relu(map), 2)[..., ::2, ::2]


class Undecided(nn.Module):
    def forward(self, map):
        return map if map.sum() > 0 else -map


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 3, 1), Block(), nn.Flatten()).eval()


@pytest.mark.parametrize("into", [None, containers])
def test_it_answers_as_before_with_the_same_children_and_weights(net, into):
    picture, copy = torch.randn(1, 3, 16, 16), deepcopy(net)
    module = traced(copy, "1", into) if into else traced(copy, "1")
    assert module.scale is copy[1].scale
    assert module.convs is copy[1].convs
    assert module.width == 4
    copy = put(copy, "1", module)
    again = deepcopy(copy)
    for each in (copy, again):
        assert torch.equal(each(picture), net(picture))
        assert list(each.state_dict()) == list(net.state_dict())
        assert isinstance(each[1], Traced)
    assert again[1].scale is not copy[1].scale
    assert again[1].width == 4
    assert [site.name for site in find_sites(copy, picture)] == [site.name for site in find_sites(net, picture)]


def test_containers_can_be_part_of_the_graph(net):
    def targets(*settings):
        return [node.target for node in traced(net, "1", *settings).graph.nodes if node.op == "call_module"]

    assert targets() == ["convs"]
    assert targets(containers) == ["convs.0", "convs.1"]


def test_hooks_and_arguments_by_name_still_work(net):
    seen, copy = [], deepcopy(net)
    copy[1].register_forward_hook(lambda module, args, answer: seen.append(tuple(answer.shape)))
    module = traced(copy, "1")
    picture = torch.randn(1, 3, 16, 16)
    assert torch.equal(module(map=picture), net[1](picture))
    assert seen == [(1, 4, 4, 4)]


def test_what_decides_by_its_input_is_refused():
    with pytest.raises(InputError, match=r"^0: the forward of Undecided can't be traced \(symbolically traced"):
        traced(nn.Sequential(Undecided()), "0")


def test_operations_are_found_in_the_graph(net):
    picture = torch.randn(1, 3, 16, 16)
    sites = find_sites(net, picture)
    net = put(net, "1", traced(net, "1"))
    nodes = nodes_of(net, "1", picture)
    (pool, sliced) = ([nodes[key][0] for key in site.keys] for site in sites)
    assert [node.target for node in pool] == [functional.max_pool2d]
    assert [node.name for node in sliced] == ["getitem", "getitem"]  # along y and along x
    assert "forward" not in vars(net[1])


def test_a_module_is_replaced_wherever_it_stands():
    shared = nn.ReLU()
    net = nn.Sequential(shared, nn.Sequential(nn.Conv2d(3, 3, 1), shared))
    other = nn.GELU()
    assert put(net, "0", other) is net
    assert net[0] is other
    assert net[1][1] is other
    assert put(net, "", other) is other
