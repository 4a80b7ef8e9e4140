"""The training loop learns, is reproducible, and leaves alone what is not its own."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.training import shuffled_batches, train  # noqa: E402


def a_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


def two_rings(count=256):
    """Points within a circle, and points around it."""
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(count, 2, generator=generator)
    return points, (points.norm(dim=1) > 1.2).long()


def trained(net, steps=150, **options):
    return train(net, shuffled_batches(*two_rings(), batch_size=64), steps, learning_rate=0.02, **options)


def test_learns():
    net = a_net()
    history = trained(net)
    points, labels = two_rings()
    assert sum(history[-10:]) < 0.5 * sum(history[:10])
    assert (net.eval()(points).argmax(1) == labels).float().mean() > 0.95


def test_the_same_seed_gives_the_same_net():
    one, two, other = a_net(), a_net(), a_net()
    assert trained(one, steps=5) == trained(two, steps=5) != trained(other, steps=5, seed=1)
    assert all(value.equal(two.state_dict()[name]) for name, value in one.state_dict().items())


def test_leaves_the_callers_random_state_and_mode_alone():
    net = a_net().eval()
    state = torch.get_rng_state()
    trained(net, steps=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training


def test_frozen_parameters_stay():
    net = a_net()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    trained(net, steps=5)
    assert torch.equal(net[0].weight, before)


def test_the_loss_is_an_argument():
    """Learning from another net's answers instead of labels."""
    teacher, net = nn.Linear(2, 2), nn.Linear(2, 2)
    points, _ = two_rings()
    batches = shuffled_batches(points, teacher(points).detach(), batch_size=64)
    train(net, batches, 300, learning_rate=0.05, weight_decay=0.0, loss=nn.functional.mse_loss)
    torch.testing.assert_close(net.weight, teacher.weight, atol=1e-2, rtol=0)


def test_reports_every_step():
    seen = []
    history = trained(a_net(), steps=4, progress=lambda step, loss: seen.append((step, loss)))
    assert seen == list(enumerate(history, start=1))


def test_batches_of_a_pass_are_the_data_in_another_order():
    data = torch.arange(10)
    batches = shuffled_batches(data, data, batch_size=5)
    first, second = [torch.cat([next(batches)[0] for _ in range(2)]) for _ in range(2)]
    assert first.sort().values.equal(data)
    assert second.sort().values.equal(data)
    assert not first.equal(second)


def test_too_few_batches_and_diverging_losses_are_errors():
    batch = two_rings()
    with pytest.raises(ValueError, match="1 batches for 3 steps"):
        train(a_net(), [batch], 3)
    with pytest.raises(ValueError, match="the loss is nan at step 1"):
        train(a_net(), [batch], 1, loss=lambda answers, targets: answers.sum() * float("nan"))
    with pytest.raises(ValueError, match="make no batch of 9"):
        shuffled_batches(*two_rings(8), batch_size=9)


class Killed(Exception):
    pass


def killed_at(step):
    def progress(done, loss):
        if done == step:
            raise Killed

    return progress


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_and_started_again_ends_in_the_same_weights(tmp_path, precision):
    """To the last bit, dropout included; the last steps before the kill were not written and are done again."""
    whole, net = a_net(), a_net()
    options = {"steps": 12, "precision": precision}
    expected = trained(whole, **options)
    resumable = {**options, "checkpoint": tmp_path / "run.pt", "save_every": 4}
    with pytest.raises(Killed):
        trained(a_net(), **resumable, progress=killed_at(6))
    seen = []
    assert trained(net, **resumable, progress=lambda step, loss: seen.append(step)) == expected
    assert seen == list(range(5, 13))
    assert all(value.equal(net.state_dict()[name]) for name, value in whole.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_complete_run_is_read_and_not_made_again(tmp_path):
    one, two = a_net(), a_net()
    first = trained(one, steps=5, checkpoint=tmp_path / "run.pt")
    assert trained(two, steps=5, checkpoint=tmp_path / "run.pt", progress=killed_at(5)) == first
    assert all(value.equal(two.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    trained(a_net(), steps=2, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="other arguments"):
        trained(a_net(), steps=3, checkpoint=tmp_path / "run.pt")


def test_batches_that_draw_from_the_global_state_are_passed_over_alike(tmp_path):
    def batches():
        points, labels = two_rings()
        while True:
            chosen = torch.randint(len(points), (32,))
            yield points[chosen], labels[chosen]

    whole, net = a_net(), a_net()
    train(whole, batches(), 6)
    with pytest.raises(Killed):
        train(a_net(), batches(), 6, checkpoint=tmp_path / "run.pt", save_every=2, progress=killed_at(3))
    train(net, batches(), 6, checkpoint=tmp_path / "run.pt", save_every=2)
    assert all(value.equal(net.state_dict()[name]) for name, value in whole.state_dict().items())


def test_in_eval_mode_norms_keep_their_statistics_and_nothing_is_dropped():
    one, two = a_net(), a_net()
    before = one[1].running_mean.clone()
    assert trained(one, steps=5, mode="eval", seed=0) == trained(two, steps=5, mode="eval", seed=1)
    assert one[1].running_mean.equal(before)
    assert one.training


def test_in_16_bits_the_weights_stay_in_32_and_it_learns():
    net = a_net()
    history = trained(net, precision="bfloat16")
    assert sum(history[-10:]) < 0.5 * sum(history[:10])
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
