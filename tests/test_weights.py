"""Weights are loaded by name and shape, and never by running code."""

import io
import os
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models.weights import fingerprint, load_weights  # noqa: E402


def small_net(classes=4):
    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.BatchNorm2d(classes))


class Evil:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def refusal(path, net=None):
    """The one line that loading this file is refused with."""
    with pytest.raises(InputError) as caught:
        load_weights(net or small_net(), path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


def as_saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


WRAPPINGS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state, "epoch": 3},
    "module": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "both": lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_finds_the_weights_in_a_checkpoint(wrap, zipped, tmp_path):
    source, target, path = small_net(), small_net(), tmp_path / "net.pth"
    path.write_bytes(as_saved(wrap(source.state_dict()), _use_new_zipfile_serialization=zipped))
    assert fingerprint(source) != fingerprint(target)
    load_weights(target, path)
    assert fingerprint(source) == fingerprint(target)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net"])
def test_knows_safetensors_by_content(name, tmp_path):
    source, target = small_net(), small_net()
    save_file(source.state_dict(), tmp_path / name)
    load_weights(target, tmp_path / name)
    assert fingerprint(source) == fingerprint(target)


@pytest.mark.parametrize("dump", [as_saved, pickle.dumps], ids=["torch.save", "pickle"])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"state_dict": evil}], ids=["bare", "nested"])
def test_runs_no_code(dump, wrap, tmp_path):
    path, victim = tmp_path / "evil.pth", tmp_path / "made"
    path.write_bytes(dump(wrap(Evil(victim))))
    message = refusal(path)
    assert not victim.exists()
    assert "would run code" in message or "could run code" in message
    assert "safetensors.torch.save_file" in message
    assert os.mkdir not in torch.serialization.get_safe_globals()


def test_names_what_a_pickle_would_call(tmp_path):
    (tmp_path / "net.pth").write_bytes(as_saved(small_net()))
    assert "torch.nn.modules" in refusal(tmp_path / "net.pth")
    (tmp_path / "numpy.pth").write_bytes(as_saved({"state_dict": small_net().state_dict(), "score": np.float64(1)}))
    assert "numpy" in refusal(tmp_path / "numpy.pth")


def test_a_web_page_is_called_one(tmp_path):
    for name in ("net.pth", "net.safetensors", "net.bin"):
        (tmp_path / name).write_text("<!DOCTYPE html>\n<html>Not found</html>")
        assert "web page" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_cut_short_anywhere_is_refused(name, tmp_path):
    whole = tmp_path / name
    if name.endswith("pth"):
        whole.write_bytes(as_saved(small_net().state_dict()))
    else:
        save_file(small_net().state_dict(), whole)
    content = whole.read_bytes()
    for end in [0, 1, 8, 9, 20, len(content) // 2, len(content) - 1]:
        whole.write_bytes(content[:end])
        assert "no weights file" in refusal(whole)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("hello world")
    assert "it begins with b'hello wo'" in refusal(tmp_path / "text.pth")
    (tmp_path / "tensor.pth").write_bytes(as_saved(torch.zeros(3)))
    assert "holds a Tensor" in refusal(tmp_path / "tensor.pth")
    (tmp_path / "numbers.pth").write_bytes(as_saved({"epoch": 3}))
    assert "holds no tensors" in refusal(tmp_path / "numbers.pth")
    assert "no such file" in refusal(tmp_path / "absent.pth")
    assert "no such file" in refusal(tmp_path)


@pytest.mark.filterwarnings("ignore")  # torch finds TorchScript old
def test_a_program_is_called_one(tmp_path):
    torch.jit.save(torch.jit.script(small_net()), tmp_path / "net.pt")
    assert "TorchScript" in refusal(tmp_path / "net.pt")


def test_another_shape_names_the_parameter_and_both_shapes(tmp_path):
    save_file(small_net(classes=5).state_dict(), tmp_path / "net.safetensors")
    message = refusal(tmp_path / "net.safetensors")
    assert "0.weight" in message
    assert "[5, 3, 3, 3]" in message
    assert "[4, 3, 3, 3]" in message


def test_missing_and_surplus_names_are_named(tmp_path):
    state = small_net().state_dict()
    state["extra.weight"] = state.pop("1.running_mean")
    save_file(state, tmp_path / "net.safetensors")
    message = refusal(tmp_path / "net.safetensors")
    assert "1.running_mean missing" in message
    assert "extra.weight not in the model" in message


def test_many_names_are_counted(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "net.safetensors")
    assert "and 3 more missing" in refusal(tmp_path / "net.safetensors")  # six in all, num_batches_tracked needs none


@pytest.mark.parametrize("change", ["value", "name", "shape", "type"])
def test_fingerprint_tells_nets_apart(change):
    net = small_net()
    before = fingerprint(net)
    assert before == fingerprint(net)
    if change == "value":
        net[0].bias.data[0] += 1e-6
    elif change == "name":
        net = nn.Sequential(nn.Identity(), *net)
    elif change == "shape":
        net[0].bias.data = net[0].bias.data.view(2, 2)
    else:
        net = net.double()
    assert fingerprint(net) != before


def test_fingerprint_takes_every_type():
    net = small_net().to(torch.bfloat16)
    net.register_buffer("flag", torch.tensor(True))
    assert len(fingerprint(net)) == 64
