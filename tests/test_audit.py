"""The audit as a whole: every row once, the same file whatever happens on the way, a line for what can't be used."""

import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
from fakes import FakeModel, hashed, histogram, pictures

import shiftable as sh
from shiftable.auditing import show_again
from shiftable.data import Box, Sample
from shiftable.errors import InputError
from shiftable.models import Preprocessing

MODEL = FakeModel(hashed, scores="logits")
SAMPLES = pictures(40, (48, 64), labels=[number % 20 for number in range(40)])


def _broken(name="broken.jpg"):
    def read():
        raise InputError("no readable image (truncated)", where=f"somewhere/{name}")

    return Sample(name, 0, read)


def _rows(folder):
    return [row for part in sh.read_parts(folder) for row in part.table.to_pylist()]


@pytest.mark.parametrize("motion", ["crop", "roll"])
@pytest.mark.parametrize("walk", ["sweep", "pairs", "random", "grid"])
def test_no_row_is_lost_or_doubled(motion, walk):
    model = FakeModel(hashed, (33, 37), scores="logits")
    audit = sh.audit(model, SAMPLES[:9], motion=motion, walk=walk)
    keys = [(row["image"], row["control"], row["walk"], row["step"]) for row in _rows(audit.folder)]
    assert len(keys) == len(set(keys))
    per_image = {"sweep": 33, "pairs": 8, "random": 8, "grid": 2 * 49}[walk] + 2 * 4
    assert len(keys) == 9 * per_image
    assert [key[0] for key in keys] == [sample.id for sample in SAMPLES[:9] for _ in range(per_image)]


def test_rows_hold_the_answers_to_their_own_places():
    audit = sh.audit(MODEL, SAMPLES[:3], walk="pairs")
    show = show_again(audit)
    by_id = {sample.id: show.stage(sample) for sample in SAMPLES}
    for row in _rows(audit.folder):
        if row["control"] is None:
            view = by_id[row["image"]].view(int(row["dy"]), int(row["dx"]))
            assert hashed(view[None])[0].argmax() == row["top1"]


def test_result_is_the_same_whatever_the_shards_batches_and_workers(tmp_path):
    texts = []
    for number, (batch_size, workers) in enumerate([(4, 1), (7, 4), (64, 2)]):
        out = tmp_path / str(number)
        sh.audit(MODEL, SAMPLES, out=out, batch_size=batch_size, workers=workers)
        texts.append((out / "audit.json").read_bytes())
    assert texts[0] == texts[1] == texts[2]


def test_places_of_an_image_do_not_depend_on_the_others():
    few, many = (sh.audit(MODEL, SAMPLES[:n], walk="pairs") for n in (3, 12))
    assert _rows(few.folder) == _rows(many.folder)[: len(_rows(few.folder))]
    other = sh.audit(MODEL, SAMPLES[:3], walk="pairs", seed=1)
    assert _rows(few.folder) != _rows(other.folder)


def test_interrupted_and_started_again_it_gives_the_same_file(tmp_path):
    whole = sh.audit(MODEL, SAMPLES, out=tmp_path / "whole")
    views = 0

    def dying(batch):
        nonlocal views
        views += len(batch)
        if views > 600:
            raise KeyboardInterrupt
        return hashed(batch)

    with pytest.raises(KeyboardInterrupt):
        sh.audit(FakeModel(dying, scores="logits"), SAMPLES, out=tmp_path / "parts")
    done = sorted((tmp_path / "parts" / "predictions").iterdir())
    assert 0 < len(done) < len(list((tmp_path / "whole" / "predictions").iterdir()))
    assert not (tmp_path / "parts" / "audit.json").exists()
    before = {path: path.stat().st_mtime_ns for path in done}
    again = sh.audit(MODEL, SAMPLES, out=tmp_path / "parts")
    assert {path: path.stat().st_mtime_ns for path in done} == before  # what was done is not done again
    assert (tmp_path / "parts" / "audit.json").read_bytes() == (tmp_path / "whole" / "audit.json").read_bytes()
    assert _rows(again.folder) == _rows(whole.folder)


def test_batch_size_is_taken_from_the_record(tmp_path):
    sh.audit(MODEL, SAMPLES, out=tmp_path, batch_size=5)
    (tmp_path / "audit.json").unlink()
    next((tmp_path / "predictions").iterdir()).unlink()
    sizes = set()

    def sized(batch):
        sizes.add(len(batch))
        return hashed(batch)

    sh.audit(FakeModel(sized, scores="logits"), SAMPLES, out=tmp_path)
    assert sizes == {1, 5}  # 1 asks for the number of classes
    with pytest.raises(InputError, match="begun with batch size 5"):
        sh.audit(MODEL, SAMPLES, out=tmp_path, batch_size=6)
    sh.audit(FakeModel(hashed, scores="logits", settings={"threads": 2}), SAMPLES[:2], out=tmp_path / "b")
    with pytest.raises(InputError, match="begun with threads 2, this is 1"):
        sh.audit(FakeModel(hashed, scores="logits", settings={"threads": 1}), SAMPLES[:2], out=tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"walk": "pairs"}, "shape is sweep, not pairs"),
        ({"seed": 3}, "seed is 0, not 3"),
        ({"count": 3}, "listed is 40, not 3"),
        ({"motion": "roll", "steps": 7}, "name is crop, not roll"),
        ({"model": FakeModel(hashed, scores="logits", weights_sha256="abc")}, "weights_sha256 is None, not abc"),
        ({"controls": False}, "controls is True, not False"),
    ],
)
def test_another_audit_is_not_mixed_in(tmp_path, change, message):
    sh.audit(MODEL, SAMPLES, out=tmp_path)
    before = (tmp_path / "audit.json").read_bytes()
    arguments = {"model": MODEL, "images": SAMPLES, "out": tmp_path, **change}
    with pytest.raises(InputError, match=message):
        sh.audit(**arguments)
    assert (tmp_path / "audit.json").read_bytes() == before
    sh.audit(**arguments, overwrite=True)
    assert (tmp_path / "audit.json").read_bytes() != before


def test_overwriting_leaves_other_peoples_files_alone(tmp_path):
    sh.audit(MODEL, SAMPLES[:2], out=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    sh.audit(MODEL, SAMPLES[:3], out=tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_read_audit_gives_what_was_found(tmp_path):
    audit = sh.audit(MODEL, SAMPLES[:1], out=tmp_path)
    assert sh.read_audit(tmp_path).to_json() == audit.to_json()  # one image: intervals that can't be given are null
    json.loads((tmp_path / "audit.json").read_text(), parse_constant=pytest.fail)
    with pytest.raises(InputError, match="no finished audit"):
        sh.read_audit(tmp_path / "nowhere")


def test_a_temporary_folder_goes_with_the_result():
    audit = sh.audit(MODEL, SAMPLES[:2])
    folder = audit.folder
    assert (folder / "audit.json").exists()
    del audit
    assert not folder.exists()


def test_unreadable_images_are_named_skipped_and_counted(tmp_path):
    samples = [SAMPLES[0], _broken(), SAMPLES[1], _broken("empty.png")]
    audit = sh.audit(MODEL, samples, out=tmp_path)
    assert audit.images["count"] == 2
    assert [entry["image"] for entry in audit.images["skipped"]] == ["broken.jpg", "empty.png"]
    assert any("2 of 4 images were skipped: broken.jpg" in warning for warning in audit.warnings)
    with pytest.raises(InputError, match=r"broken\.jpg"):
        sh.audit(MODEL, samples, strict=True)
    with pytest.raises(InputError, match="none of the 2 images"):
        sh.audit(MODEL, [_broken(), _broken("b.png")])


def test_leaving_the_image_is_refused_where_it_may_not_grow():
    with pytest.raises(InputError, match=r"step 0 \(dy = -16 px\) leaves the image; 12 px are missing"):
        sh.audit(MODEL, SAMPLES, enlarge=False)
    audit = sh.audit(MODEL, [_broken(), *SAMPLES[:2]], enlarge=False, steps=5)
    assert audit.images["count"] == 2
    assert audit.images["skipped"][0]["image"] == "broken.jpg"


def test_views_of_any_shape_find_room():
    for view_size in [(16, 60), (60, 16)]:
        model = FakeModel(hashed, view_size, scores="logits")
        assert sh.audit(model, [*pictures(2, (48, 50)), *pictures(1, (90, 20))][::2], walk="pairs").images["count"] == 2


def test_enlarging_is_said():
    audit = sh.audit(MODEL, SAMPLES[:2])
    assert audit.motion["enlarged"] == 40 / 16
    assert any("2.50 times as large" in warning for warning in audit.warnings)
    assert sh.audit(MODEL, SAMPLES[:2], motion="roll", steps=3).motion["enlarged"] == 1


def test_a_model_that_answers_nonsense_is_refused_and_what_was_done_is_kept(tmp_path):
    calls = 0

    def later_nan(batch):
        nonlocal calls
        calls += 1
        scores = hashed(batch)
        if calls > 200:
            scores[1, 2] = np.nan
        return scores

    with pytest.raises(InputError, match=r"image-\d+: the model answers NaN"):
        sh.audit(FakeModel(later_nan, scores="logits"), SAMPLES, out=tmp_path)
    assert list((tmp_path / "predictions").glob("part-*"))
    for answer, message in [
        (lambda views: histogram(views)[..., None], r"shape \(1, 12, 1\)"),
        (lambda views: histogram(views)[:, :1], "single class"),
        (lambda views: histogram(views, 12 if len(views) == 1 else 11), "shape"),
    ]:
        with pytest.raises(InputError, match=message):
            sh.audit(FakeModel(answer), SAMPLES[:2])


def test_labels_that_do_not_belong_are_refused(tmp_path):
    table = tmp_path / "labels.csv"
    for content, message in [
        ("file,class_index\nimage-0,20\nimage-1,0\n", "label 20 of image-0 is out of range"),
        ("file,class_index\nother.jpg,1\n", "for other files"),
        ("file,class_index\nimage-0,1\n", "1 of 2 images have no label"),
        ("name,class\nimage-0,1\n", "file and class_index"),
        ("file,class_index\nimage-0,cat\n", "no whole number"),
    ]:
        table.write_text(content)
        with pytest.raises(InputError, match=message):
            sh.audit(MODEL, pictures(2), labels=table)
    with pytest.raises(InputError, match="accuracy needs labels"):
        sh.audit(MODEL, pictures(2), metrics=["accuracy"])


def test_class_folders_are_labels_only_where_they_can_be():
    def tree(names):
        return [Sample(f"{name}/{number}.png", None, SAMPLES[0].read) for name in names for number in range(2)]

    audit = sh.audit(MODEL, tree([f"class-{number:02}" for number in range(20)]), steps=3)
    assert audit.images["labelled"] == 40
    audit = sh.audit(MODEL, tree(["cats", "dogs"]), steps=3)
    assert audit.images["labelled"] == 0
    assert any("2 class folders" in warning for warning in audit.warnings)
    assert sh.audit(MODEL, tree(["3", "7"]), steps=3).images["labelled"] == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't be written"):
        sh.audit(MODEL, SAMPLES[:2], out=tmp_path / "out")


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="can't be written"):
        sh.audit(MODEL, SAMPLES[:2], out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file"


def test_predictions_without_a_record_are_not_taken_over(tmp_path):
    sh.audit(MODEL, SAMPLES[:2], out=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match="holds another audit"):
        sh.audit(MODEL, SAMPLES[:2], out=tmp_path)


def test_the_callers_model_and_the_global_seed_are_not_touched():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.LazyLinear(3)
    )
    net(torch.zeros(1, 3, 8, 8))
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    np.random.seed(0)
    state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    model = sh.open_model(net, preprocessing={"view_size": [8, 8], "resize_px": 16}, device="cpu")
    sh.audit(model, SAMPLES[:3], steps=3)
    assert net.training
    assert not net[0]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def near(estimate, interval):
    """Whether two 95 % intervals overlap."""
    return estimate.low < interval[1] and estimate.high > interval[0]


@pytest.mark.parametrize("net", ["squeezenet", "mobilenet"])
def test_agrees_with_the_published_reference(shared, net):
    """DESIGN section 8: 200 images × 3 places, one pixel to the right; P, MAC, top-1."""
    if not all(map(find_spec, ("torchvision", "timm", "onnx", "onnxruntime", "onnxscript"))):
        pytest.skip("timm or the runtime is not installed")
    model, reference = {
        "squeezenet": lambda: (
            sh.open_model(
                "torchvision/squeezenet1_1",
                weights=shared / "models" / "squeezenet1_1.safetensors",
                device="cpu",
                runtime="onnx",
            ),
            {
                "crop": ((0.068, 0.118), (0.042, 0.051), 0.618),
                "canvas": ((0.203, 0.282), (0.029, 0.037), 0.188),
            },
        ),
        "mobilenet": lambda: (
            sh.open_model(
                "timm/mobilenetv2_100",
                weights=shared / "models" / "mobilenetv2_100.safetensors",
                model_args={"pad_type": "same"},
                preprocessing={"resampler": "bilinear"},
                device="cpu",
            ),
            {
                "crop": ((0.020, 0.050), (0.035, 0.043), 0.862),
                "canvas": ((0.152, 0.218), (0.055, 0.065), 0.305),
            },
        ),
    }[net]()
    for motion, (change, mac, accuracy) in reference.items():
        labels = shared / "data" / "imagenet_samples" / "labels.csv"
        audit = sh.audit(model, labels, motion=motion, walk="pairs", walks=3, controls=False)
        assert audit.images["count"] == 200
        assert near(audit.metrics["p_top1_change"], change)
        assert near(audit.metrics["mac"], mac)
        assert audit.metrics["accuracy"].low < accuracy < audit.metrics["accuracy"].high


def test_keeping_a_box_needs_boxes_and_compares_steps_only():
    boxes = {sample.id: (Box(20.0, 14.0, 40.0, 34.0),) for sample in SAMPLES[:4]}
    with pytest.raises(InputError, match="--boxes: the motion keep-box needs to know where the objects are"):
        sh.audit(MODEL, SAMPLES[:4], motion="keep-box")
    with pytest.raises(InputError, match="the motion crop does not look at boxes"):
        sh.audit(MODEL, SAMPLES[:4], boxes=boxes)
    model = FakeModel(hashed, (24, 32), preprocessing=Preprocessing(resize_px=30), scores="logits")
    audit = sh.audit(model, SAMPLES[:4], motion="keep-box", boxes=boxes, steps=5)
    assert {"p_top1_change", "mac", "accuracy", "jaggedness_per_step"} <= set(audit.metrics)
    assert not {"jaggedness", "jaggedness_self", "worst_case_accuracy", "share_constant"} & set(audit.metrics)
    with pytest.raises(InputError, match="share_constant can't be compared"):
        sh.audit(model, SAMPLES[:4], motion="keep-box", boxes=boxes, metrics=["share_constant"])
    other = {**boxes, "image-0": (Box(21.0, 14.0, 40.0, 34.0),)}
    again = sh.audit(model, SAMPLES[:4], motion="keep-box", boxes=other, steps=5)
    assert again.images["boxes_sha256"] != audit.images["boxes_sha256"]
    assert "boxes_sha256" not in sh.audit(MODEL, SAMPLES[:2], steps=3).images


def test_the_floor_of_an_interpolation_is_recorded():
    audit = sh.audit(MODEL, SAMPLES[:2], motion="subpixel", step=0.25, on="roll", steps=3)
    assert audit.motion["step"] == 0.25
    assert audit.motion["floor"]["floor_levels"] > 0
    assert show_again(audit).motion.options == {"step": 0.25, "on": "roll"}
    assert "floor" not in sh.audit(MODEL, SAMPLES[:2], steps=3).motion


def test_an_audit_of_nothing_leaves_nothing_in_the_way(tmp_path):
    """Where no image can be used, the folder is free for the next try."""
    small = [Sample(f"{number}", None, lambda: np.zeros((4, 4, 3), np.uint8)) for number in range(2)]
    with pytest.raises(InputError, match="none of the 2 images"):
        sh.audit(MODEL, small, motion="camera", steps=9, out=tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []
    assert sh.audit(MODEL, SAMPLES, count=2, steps=3, out=tmp_path / "a").images["count"] == 2
