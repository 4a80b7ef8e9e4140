"""The fine-tune teaches what it says, goes on where it was killed, and touches nothing of the caller's."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models.preprocessing import Preprocessing  # noqa: E402
from shiftable.models.torch_model import torch_model  # noqa: E402
from shiftable.repairing.finetune import Finetune, disagreement, finetune, views_with_room  # noqa: E402

SIZE, CLASSES = 16, 4
QUICK = Finetune(steps=8, batch_size=6, learning_rate=3e-3, seed=3)


@pytest.fixture(scope="module")
def model():
    """Answers with the phase as much as with the picture: strides of 2 and 4 over fine textures."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, CLASSES),
    )  # fmt: skip
    nn.init.normal_(net[-1].weight, std=6.0)
    net(torch.randn(64, 3, SIZE, SIZE))  # norms with statistics of their own
    return torch_model(net, spec="toy", view_size=(SIZE, SIZE), preprocessing=Preprocessing(SIZE), device="cpu")


@pytest.fixture(scope="module")
def views():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (SIZE + 4 + number % 2, SIZE + 6, 3), dtype=np.uint8) for number in range(40)]


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(one, two):
    return one.keys() == two.keys() and all(value.equal(two[name]) for name, value in one.items())


def consistency(model, views):
    """The share of agreeing answers at two opposite corners of the room."""
    first, second = np.stack([v[:SIZE, :SIZE] for v in views]), np.stack([v[-SIZE:, -SIZE:] for v in views])
    return (model(first).argmax(1) == model(second).argmax(1)).mean()


def test_zero_steps_is_the_same_net(model, views):
    tuned = finetune(model.net, model, views, Finetune(steps=0))
    assert tuned is not model.net
    assert equal(weights(tuned), weights(model.net))


def test_learns_to_agree_and_to_stay(model, views):
    losses = []
    tuned = finetune(
        model.net, model, views, replace(QUICK, steps=100, weight_agree=4.0),
        on_step=lambda step, loss: losses.append(loss),
    )  # fmt: skip
    assert len(losses) == 100
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    after = replace(model, net=tuned)
    assert consistency(after, views) > consistency(model, views) + 0.1
    middle = np.stack([view[2 : 2 + SIZE, 3 : 3 + SIZE] for view in views])
    agreement = (after(middle).argmax(1) == model(middle).argmax(1)).mean()
    assert agreement > 0.6


def test_a_changed_net_comes_back_to_the_original(model):
    """Distillation alone, on pictures of one colour, which are the same in every place."""
    colors = np.random.default_rng(5).integers(0, 256, (40, 1, 1, 3), dtype=np.uint8)
    views = list(np.broadcast_to(colors, (40, SIZE + 2, SIZE + 2, 3)))
    net = finetune(model.net, model, views, Finetune(steps=0))
    with torch.no_grad():
        net[-1].weight *= 0.5

    def distance(found):
        cut = np.stack([view[:SIZE, :SIZE] for view in views])
        one, two = (torch.from_numpy(each(cut)).softmax(1) for each in (replace(model, net=found), model))
        return (one - two).abs().sum(1).mean()

    tuned = finetune(net, model, views, replace(QUICK, steps=100, weight_agree=0.0, places=1))
    assert distance(tuned) < 0.3 * distance(net)


def test_touches_nothing_of_the_callers(model, views):
    before, pixels, state = weights(model.net), [view.copy() for view in views], torch.get_rng_state()
    modes = [(module.training, len(module._forward_hooks)) for module in model.net.modules()]
    tuned = finetune(model.net, model, views, QUICK)
    assert equal(weights(model.net), before)
    assert not equal(weights(tuned), before)
    assert all(np.array_equal(one, two) for one, two in zip(views, pixels, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [(module.training, len(module._forward_hooks)) for module in model.net.modules()]
    assert not tuned.training
    assert not any(parameter.requires_grad for parameter in [*tuned.parameters(), *model.net.parameters()])


def test_the_same_seed_gives_the_same_net(model, views):
    one, two, other = (finetune(model.net, model, views, replace(QUICK, seed=seed)) for seed in (0, 0, 1))
    assert equal(weights(one), weights(two))
    assert not equal(weights(one), weights(other))


class Killed(Exception):
    pass


def killing(when):
    """Stops a run when it is told that so much is done."""

    def told(done, _):
        if done >= when:
            raise Killed

    return told


@pytest.mark.parametrize(
    ("when", "first"), [({"progress": killing(8)}, 1), ({"on_step": killing(1)}, 1), ({"on_step": killing(5)}, 5)]
)
def test_killed_and_started_again_ends_in_the_same_weights(model, views, tmp_path, when, first):
    """Killed among the original's answers, before anything was written, and after."""
    whole = finetune(model.net, model, views, QUICK)
    with pytest.raises(Killed):
        finetune(model.net, model, views, QUICK, folder=tmp_path, save_every=2, **when)
    steps = []
    for _ in range(2):  # the second time everything is there
        again = finetune(
            model.net, model, views, QUICK, folder=tmp_path, save_every=2,
            on_step=lambda step, loss: steps.append(step),
        )  # fmt: skip
        assert equal(weights(again), weights(whole))
    assert steps == list(range(first, QUICK.steps + 1))


def test_a_folder_of_another_run_is_refused(model, views, tmp_path):
    finetune(model.net, model, views, replace(QUICK, steps=1), folder=tmp_path)
    with pytest.raises(InputError, match="holds another run"):
        finetune(model.net, model, views, QUICK, folder=tmp_path)


def test_progress_counts_views_up_to_all(model, views):
    told = []
    finetune(model.net, model, views[:7], QUICK, progress=lambda done, in_all: told.append((done, in_all)))
    in_all = 7 * QUICK.places + 2 * QUICK.steps * QUICK.batch_size
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {each for _, each in told} == {in_all}
    assert told[-1] == (in_all, in_all)


def test_probabilities_are_tuned_like_the_logits_they_came_from(model, views):
    """A net that ends in softmax has the same loss, and so ends in the same weights, but for rounding."""
    softmax = replace(model, net=nn.Sequential(model.net, nn.Softmax(1)), scores="probabilities")
    settings = replace(QUICK, steps=3, learning_rate=1e-4, temperature=2.0)
    plain = weights(finetune(model.net, model, views, settings))
    wrapped = weights(finetune(softmax.net, softmax, views, settings))
    for name, value in plain.items():
        torch.testing.assert_close(wrapped[f"0.{name}"], value, rtol=0, atol=2e-4)


def test_the_loss_is_0_where_all_is_as_it_was(model):
    logits = torch.randn(5, CLASSES)
    settings = Finetune(temperature=1.5, weight_agree=2.0)
    targets = (logits / 1.5).softmax(1)
    still = disagreement(logits.repeat(2, 1), targets, model, settings)
    torch.testing.assert_close(still, torch.tensor(0.0), rtol=0, atol=1e-6)
    others = torch.randn(10, CLASSES)
    assert disagreement(others, targets, model, settings) > 0
    assert disagreement(others, targets, model, replace(settings, weight_agree=3.0)) > disagreement(
        others, targets, model, settings
    )
    swapped = torch.cat(others.chunk(2)[::-1])
    torch.testing.assert_close(
        disagreement(others, targets, model, settings), disagreement(swapped, targets, model, settings)
    )


def test_a_class_of_no_probability_is_no_trouble(model):
    targets = torch.eye(CLASSES)
    answers = torch.zeros(2 * CLASSES, CLASSES, requires_grad=True)
    disagreement(answers, targets, model, Finetune()).backward()
    assert answers.grad.isfinite().all()


@pytest.mark.parametrize("norms", [False, True])
def test_norms_learn_statistics_only_when_asked(model, views, norms):
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES)).eval()
    plain = replace(model, net=net)
    tuned = finetune(net, plain, views, replace(QUICK, learn_norms=norms))
    assert tuned[0].running_mean.equal(net[0].running_mean) is not norms


def test_settings_are_plain_json():
    settings = Finetune(steps=5, shift_px=3, precision="bfloat16")
    assert Finetune(**json.loads(json.dumps(settings.to_json()))) == settings


def test_views_with_room_show_what_the_model_shows(model):
    """In their middle lies the deployed view, where the resize leaves the room."""
    from shiftable.models.preprocessing import deployed_view

    image = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    roomy = replace(model, preprocessing=Preprocessing(24))
    (view,) = views_with_room(roomy, [image], room_px=8)
    assert view.shape == (24, 24, 3)
    assert np.array_equal(view[4:-4, 4:-4], deployed_view(image, roomy.preprocessing, (SIZE, SIZE)))
    (boxed,) = views_with_room(replace(model, preprocessing=Preprocessing(24, crop="letterbox")), [image], room_px=8)
    assert boxed.shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("changes", "views_shape", "words"),
    [
        ({}, (SIZE, SIZE), "leaves no room"),
        ({}, (SIZE - 1, 40), "leaves no room"),
        ({"scores": "sigmoid"}, (20, 20), "no probabilities of classes"),
        ({"task": "embed"}, (20, 20), "no probabilities of classes"),
    ],
)
def test_what_can_not_be_tuned_is_refused(model, changes, views_shape, words):
    with pytest.raises(InputError, match=words):
        finetune(model.net, replace(model, **changes), [np.zeros((*views_shape, 3), np.uint8)], QUICK)


def test_a_net_without_weights_is_refused(model, views):
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(InputError, match="no weights"):
        finetune(net, replace(model, net=net), views, QUICK)


def test_no_views_and_a_diverging_loss_are_errors(model, views):
    with pytest.raises(InputError, match="no views"):
        finetune(model.net, model, [], QUICK)
    net = finetune(model.net, model, views, Finetune(steps=0))
    with torch.no_grad():
        net[-1].bias.fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan"):
        finetune(net, model, views, QUICK)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", -1), ("batch_size", 0), ("temperature", 0.0), ("shift_px", 0), ("places", 0), ("weight_agree", -1.0)],
)
def test_settings_that_make_no_sense_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        Finetune(**{field: value})
