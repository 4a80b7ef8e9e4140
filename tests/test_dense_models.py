"""PyTorch nets that detect, segment or find key points answer as they do by themselves, in px of the view."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from shiftable.errors import InputError  # noqa: E402
from shiftable.models import Detections, Model, open_model  # noqa: E402

HEIGHT, WIDTH = 32, 48
"""Not square."""

VIEWS = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
SIZE = {"view_size": [HEIGHT, WIDTH]}
PLAIN = {**SIZE, "crop": "letterbox", "mean": [0], "std": [1]}
RANDOM = {"pretrained": False}


def optional(name):
    """A package, or the test is skipped; those that need it are made to import torchvision."""
    if not find_spec(name):
        pytest.skip(f"{name} is not installed")
    if find_spec("torchvision"):
        from shiftable.models.torchvision_repair import import_torchvision

        import_torchvision()
    return import_module(name)


def refused(*arguments, **more):
    """The one line with which something is refused, naming what to do."""
    with pytest.raises(InputError) as caught:
        open_model(*arguments, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


def pixels(views):
    """What a net is fed that is shown pixels from 0 to 1."""
    return torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255


class Returning(nn.Module):
    """Returns what is made of its input."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        return self.answer(inputs)


# ── what nets return ──


def brightest(inputs):
    """A box about the brightest pixel of each view."""
    found = []
    for each in inputs.sum(1):
        y, x = divmod(int(each.argmax()), each.shape[1])
        box = torch.tensor([[x, y, x + 1, y + 1]], dtype=torch.float32)
        found.append({"boxes": box, "scores": torch.tensor([0.5]), "labels": torch.tensor([3])})
    return found


def test_a_list_of_boxes():
    model = open_model(Returning(brightest), task="detect", preprocessing=PLAIN, class_names=["a", "b"])
    assert isinstance(model, Model)
    assert (model.task, model.spec, model.class_names) == ("detect", "Returning", ("a", "b"))
    answers = model(VIEWS)
    assert all(type(answer) is Detections for answer in answers)
    for view, answer in zip(VIEWS, answers, strict=True):
        y, x = np.unravel_index(view.sum(-1, dtype=int).argmax(), (HEIGHT, WIDTH))
        np.testing.assert_array_equal(answer.boxes, [[x, y, x + 1, y + 1]])
        assert answer.classes.tolist() == [3]


def test_a_list_of_key_points_whose_scores_are_logits():
    def people(inputs):
        points = torch.tensor([[[1.0, 2.0, 1.0], [5.0, 6.0, 1.0]]])
        one = {"keypoints": points, "keypoints_scores": torch.tensor([[0.0, 30.0]]), "scores": torch.tensor([0.9])}
        return [one] * len(inputs)

    answers = open_model(Returning(people), task="keypoints", preprocessing=PLAIN)(VIEWS)
    np.testing.assert_allclose(answers[2].points, [[[1, 2, 0.5], [5, 6, 1]]], atol=1e-6)
    np.testing.assert_allclose(answers[2].scores, [0.9])


@pytest.mark.parametrize("form", [lambda x: x, lambda x: {"aux": x[:, :1], "out": x}, lambda x: {"logits": x}])
def test_logits_of_every_pixel(form):
    model = open_model(Returning(form), task="segment", preprocessing=PLAIN)
    np.testing.assert_array_equal(model(VIEWS), VIEWS.argmax(-1))


def test_coarse_logits_are_enlarged_before_the_largest_is_taken():
    pool = nn.AvgPool2d(4)
    answers = open_model(pool, task="segment", preprocessing=PLAIN)(VIEWS)
    wanted = nn.functional.interpolate(pool(pixels(VIEWS)), (HEIGHT, WIDTH), mode="bilinear").argmax(1)
    assert answers.shape == (3, HEIGHT, WIDTH)
    assert (answers == wanted.numpy()).mean() > 0.999  # but for ties


def test_classes_of_cells_are_enlarged_by_the_nearest():
    net = Returning(lambda inputs: inputs[:, :, ::8, ::8].argmax(1))
    answers = open_model(net, task="segment", preprocessing=PLAIN)(VIEWS)
    cells = VIEWS[:, ::8, ::8].argmax(-1)
    np.testing.assert_array_equal(answers, cells.repeat(8, axis=1).repeat(8, axis=2))


@pytest.mark.parametrize(
    ("task", "answer", "message"),
    [
        ("detect", lambda x: x.mean((2, 3)), r"answers with a Tensor of \(1, 3\); let it return a list of"),
        ("detect", lambda x: [{"boxes": x}], "answers with a list; .* or give a --decoder"),
        ("keypoints", brightest, "answers with a list; let it return a list of {keypoints"),
        ("segment", lambda x: {"masks": x}, "answers with a dict; let it return logits"),
        ("segment", lambda x: x.mean(1), r"answers with a Tensor of \(1, 32, 48\)"),
        ("segment", lambda x: x.argmax(1)[:, :, :9], "returns an array of 32×9 int64 for a view of 32×48 px"),
        ("detect", lambda x: brightest(x) * 2, "1 views got 2 answers"),
        ("detect", lambda x: x.no_such_thing, "can't take a view of 32×48 px"),
    ],
)
def test_other_answers_are_refused(task, answer, message):
    with pytest.raises(InputError, match=message) as caught:
        open_model(Returning(answer), task=task, preprocessing=PLAIN)
    assert str(caught.value).startswith("Returning: ")
    assert "\n" not in str(caught.value)


def test_a_decoder_gets_all_tensors_one_view_at_a_time():
    seen = []

    def decode(outputs, view_size):
        seen.append((outputs, view_size))
        return [[0, 0, 1, 1]], [1], [0]

    net = Returning(lambda x: (x, {"half": [x.half(), x.argmax(1)]}))
    model = open_model(net, task="detect", preprocessing=PLAIN, decoder=decode)
    assert "decode" in str(model.settings["decoder"])
    seen.clear()
    assert len(model(VIEWS)) == len(seen) == 3
    for view, ((whole, half, classes), size) in zip(VIEWS, seen, strict=True):
        assert (size, half.dtype) == ((HEIGHT, WIDTH), np.float32)
        np.testing.assert_allclose(whole, view.transpose(2, 0, 1)[None] / 255, atol=1e-6)
        np.testing.assert_array_equal(classes[0], view.argmax(-1))


def test_replaced_preprocessing_feeds_the_same_net_otherwise():
    model = open_model(Returning(lambda x: x), task="segment", preprocessing=PLAIN)
    turned = replace(model, preprocessing=replace(model.preprocessing, color_order="BGR"))
    np.testing.assert_array_equal(turned(VIEWS), VIEWS[..., ::-1].argmax(-1))


def test_a_net_that_says_nothing_is_shown_whole_pictures_and_it_is_said():
    model = open_model(Returning(lambda x: x), task="segment")
    assert (model.view_size, model.preprocessing.crop) == ((224, 224), "letterbox")
    assert "in a letterbox" in model.remarks[0]


def test_a_factory_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "my_segmenter.py").write_text("from torch import nn\n\ndef build():\n    return nn.Conv2d(3, 5, 1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = open_model("my_segmenter:build", task="segment", preprocessing=SIZE)
    assert model(VIEWS).shape == (3, HEIGHT, WIDTH)
    assert "--runtime is for classifiers" in refused("my_segmenter:build", task="segment", runtime="onnx")
    assert "--precision is for classifiers" in refused("my_segmenter:build", task="segment", precision="bf16")


def test_a_factory_that_exits_is_told(tmp_path, monkeypatch, capfd):
    (tmp_path / "exiting.py").write_text("import sys\n\ndef build():\n    sys.exit('no weights here')\n")
    (tmp_path / "parsing.py").write_text("import argparse\n\nargparse.ArgumentParser().error('no')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert "can't be built (SystemExit: no weights here)" in refused("exiting:build", task="segment")
    assert "importing it ends the program (no)" in refused("parsing:build", task="segment")
    assert capfd.readouterr().err == ""


def test_an_own_model_may_do_any_task(tmp_path, monkeypatch):
    (tmp_path / "own_detector.py").write_text(
        "from shiftable.models import Detections, Preprocessing\n\n"
        "class Own:\n"
        "    spec, weights_sha256, task, view_size = 'own', None, 'detect', (4, 4)\n"
        "    preprocessing, scores, class_names = Preprocessing(), 'probabilities', None\n"
        "    batch_size, settings = 1, {}\n\n"
        "    def __call__(self, views):\n        return []\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert open_model("own_detector:Own", task="detect").task == "detect"
    assert open_model("own_detector:Own").task == "detect"
    assert "it is ready as it is" in refused("own_detector:Own", task="segment")


# ── torchvision ──


def test_ssdlite_answers_as_by_itself():
    models = optional("torchvision").models
    name = "ssdlite320_mobilenet_v3_large"
    fewer = {"pretrained": False, "detections_per_img": 20, "topk_candidates": 40}
    model = open_model(f"torchvision/{name}", task="detect", model_args=fewer)
    assert (model.view_size, model.preprocessing.resize_px, model.remarks) == ((320, 320), (320, 320), ())
    assert (model.class_names[1], len(model.class_names)) == ("person", 91)
    view = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    with torch.no_grad():
        for part, biases in model.net.head.classification_head.named_parameters():
            if part.endswith("bias"):  # random nets are of no opinion
                biases.normal_(std=4, generator=torch.Generator().manual_seed(0))
    (found,) = model(view[None])
    with torch.inference_mode():
        (alone,) = model.net([pixels(view[None])[0]])
    assert len(found.boxes) == 20
    np.testing.assert_array_equal(found.boxes, alone["boxes"].numpy())
    np.testing.assert_array_equal(found.classes, alone["labels"].numpy())
    np.testing.assert_array_equal(found.scores, alone["scores"].numpy())
    assert len(found.boxes) == 20
    assert found.boxes.max() <= 320
    assert not models.get_model_weights(name).DEFAULT.transforms().state_dict()  # it does no more than / 255


def test_detectors_are_shown_4_to_3_or_what_is_said():
    models = optional("torchvision").models
    from shiftable.models.torchvision_dense import dense_names, shown_to

    for name, (height, width) in {
        "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 426),
        "retinanet_resnet50_fpn": (800, 1066),
        "ssd300_vgg16": (300, 300),
    }.items():
        with torch.device("meta"):
            net = models.get_model(name, weights=None, weights_backbone=None)
        size, preprocessing, remarks = shown_to(name, net, models.get_model_weights(name).DEFAULT)
        assert size == (height, width)
        assert (preprocessing.mean, preprocessing.std) == ((0,), (1,))  # it normalises by itself
        assert (preprocessing.crop == "letterbox") == bool(remarks) == (height != width)
        inside = net.transform.resize(torch.zeros(3, height, width))[0].shape[1:]
        assert tuple(inside) == size  # what it resizes to itself is what it is shown
    name = "fcn_resnet50"
    with torch.device("meta"):
        net = models.get_model(name, weights=None, weights_backbone=None)
    size, preprocessing, (remark,) = shown_to(name, net, models.get_model_weights(name).DEFAULT)
    assert (size, preprocessing.resize_px, preprocessing.crop) == ((520, 520), 520, "center")
    assert "the square in the middle, 520×520 px, was assumed" in remark
    tasks = dense_names(models)
    assert tasks["keypointrcnn_resnet50_fpn"] == ("keypoints", "detect")
    assert tasks["lraspp_mobilenet_v3_large"] == ("segment",)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_segmenters_answer_as_by_themselves(name):
    optional("torchvision")
    model = open_model(f"torchvision/{name}", task="segment", model_args=RANDOM, preprocessing=SIZE)
    assert (model.view_size, model.preprocessing.mean[0], model.class_names[15]) == ((HEIGHT, WIDTH), 0.485, "person")
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std)
    )
    with torch.inference_mode():
        wanted = model.net((pixels(VIEWS) - mean) / std)["out"].argmax(1).numpy()
    answers = model(VIEWS)
    assert (answers.shape, answers.dtype) == ((3, HEIGHT, WIDTH), np.int32)
    assert (answers == wanted).mean() > 0.99  # the last bits differ


def test_key_points_of_torchvision_lie_in_the_view():
    optional("torchvision")
    import torch._dynamo

    small = {
        "pretrained": False, "min_size": 32, "box_detections_per_img": 2, "rpn_post_nms_top_n_test": 10,
        "box_score_thresh": 0.0,
    }  # fmt: skip
    with torch._dynamo.config.patch(disable=True):  # it would compile for half a minute
        model = open_model(
            "torchvision/keypointrcnn_resnet50_fpn", task="keypoints", model_args=small, preprocessing=SIZE
        )
        (found,) = model(VIEWS[:1])
    assert found.points.shape[1:] == (17, 3)
    assert len(found.points) == len(found.scores) > 0
    x, y, scores = np.moveaxis(found.points, -1, 0)
    assert -1 <= x.min() <= x.max() <= WIDTH + 1
    assert -1 <= y.min() <= y.max() <= HEIGHT + 1
    assert 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize(
    ("spec", "task", "message"),
    [
        (
            "torchvision/ssdlite320_mobilenet_v3_large",
            "classify",
            "it detects objects, .* say --task detect .shiftable trace takes classifiers only",
        ),
        ("torchvision/keypointrcnn_resnet50_fpn", "classify", "say --task keypoints or detect"),
        ("torchvision/fcn_resnet50", "detect", "it segments pictures, .* detect; say --task segment"),
        ("torchvision/resnet18", "segment", "it classifies pictures, .* segment; say --task classify"),
        ("torchvision/fasterrcn_resnet50_fpn", "detect", "did you mean fasterrcnn_resnet50_fpn"),
        ("demo", "detect", "it classifies pictures"),
    ],
)
def test_another_task_than_the_nets_is_refused(spec, task, message):
    optional("torchvision")
    with pytest.raises(InputError, match=message):
        open_model(spec, task=task, model_args=RANDOM)


# ── Hugging Face ──


@pytest.fixture
def folder(tmp_path):
    """A tiny DETR and a tiny SegFormer, with random weights and image processors."""
    transformers = optional("transformers")
    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    names = {0: "cat", 1: "dog", 2: "owl"}
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, d_model=16, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        num_queries=7, id2label=names, label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    transformers.DetrForObjectDetection(config).save_pretrained(tmp_path / "detr")
    size = {"shortest_edge": 48, "longest_edge": 80}
    transformers.DetrImageProcessorPil(size=size).save_pretrained(tmp_path / "detr")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=8, num_labels=4,
    )  # fmt: skip
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "segformer")
    size = {"height": 40, "width": 56}
    transformers.SegformerImageProcessorPil(size=size).save_pretrained(tmp_path / "segformer")
    return tmp_path


def test_a_hugging_face_detector_answers_as_its_own_pipeline(folder):
    transformers = optional("transformers")
    model = open_model(f"hf/{folder}/detr", task="detect")
    assert (model.view_size, model.preprocessing.crop, model.class_names) == (
        (48, 64), "letterbox", ("cat", "dog", "owl"),
    )  # fmt: skip
    assert "detr takes pictures of any proportions: 4:3, 48×64 px, in a letterbox were assumed" in model.remarks[0]
    views = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    answers = model(views)
    processor = transformers.AutoImageProcessor.from_pretrained(f"{folder}/detr", backend="pil")
    net = transformers.AutoModelForObjectDetection.from_pretrained(f"{folder}/detr")
    with torch.inference_mode():
        output = net(**processor(images=list(views), return_tensors="pt"))
    wanted = processor.post_process_object_detection(output, threshold=0.05, target_sizes=[(48, 64)] * 2)
    for answer, want in zip(answers, wanted, strict=True):
        assert len(answer.boxes) == 7
        np.testing.assert_allclose(answer.boxes, want["boxes"].numpy(), atol=1e-3)
        np.testing.assert_allclose(answer.scores, want["scores"].numpy(), atol=1e-4)
        np.testing.assert_array_equal(answer.classes, want["labels"].numpy())


def test_a_hugging_face_segmenter_answers_as_its_own_pipeline(folder):
    transformers = optional("transformers")
    model = open_model(f"hf/{folder}/segformer", task="segment")
    assert (model.view_size, model.preprocessing.resize_px, len(model.class_names)) == ((40, 56), (40, 56), 4)
    views = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(f"{folder}/segformer", backend="pil")
    net = transformers.AutoModelForSemanticSegmentation.from_pretrained(f"{folder}/segformer")
    with torch.inference_mode():
        output = net(**processor(images=list(views), return_tensors="pt"))
    wanted = processor.post_process_semantic_segmentation(output, target_sizes=[(40, 56)] * 2)
    assert (model(views) == np.stack([each.numpy() for each in wanted])).mean() > 0.999


def test_another_task_than_a_folders_is_refused(folder):
    assert "it detects objects, and the task is classify; say --task detect" in refused(f"hf/{folder}/detr")
    assert "it segments pictures" in refused(f"hf/{folder}/segformer", task="detect")
    assert "there are no key points from hf/ yet" in refused(f"hf/{folder}/detr", task="keypoints")
