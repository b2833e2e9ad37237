"""`ImageProcessor`: its file, images that are none, the library's pixels."""

import json

import numpy as np
import pytest

from attnjax.models import ImageProcessor

PROCESSORS = (
  ImageProcessor((9, 7), scale=1 / 255, mean=(0.5,) * 3, std=(0.25,) * 3),
  ImageProcessor(8, (6, 5), 3, 1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
  ImageProcessor(crop=(8, 10)),
)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_what_is_done_to_images_is_written_and_read(processor, tmp_path):
  processor.write(tmp_path)
  assert ImageProcessor.read(tmp_path) == processor
  file = tmp_path / "preprocessor_config.json"
  values = json.loads(file.read_text())
  file.write_text(json.dumps(values | {"do_pad": True}))
  with pytest.raises(ValueError, match="do_pad=True is no option that is"):
    ImageProcessor.read(tmp_path)
  file.write_text(json.dumps(values | {"size": {"max_height": 3}}))
  with pytest.raises(ValueError, match="size must have height and width"):
    ImageProcessor.read(tmp_path)


def test_images_that_are_none():
  with pytest.raises(
    ValueError, match=r"uint8 .*got float32 of shape \[4, 4\]"
  ):
    ImageProcessor()(np.zeros((4, 4), np.float32))
  with pytest.raises(ValueError, match=r"at least \[8, 10\] pixels where"):
    PROCESSORS[2](np.zeros((9, 9, 3), np.uint8))

  rgb = ImageProcessor(mean=(0.5,) * 3, std=(0.25,) * 3)
  for channels in (1, 2, 4):  # one would become three
    with pytest.raises(ValueError, match="must have the 3 channels of mean"):
      rgb(np.zeros((4, 4, channels), np.uint8))
  with pytest.raises(ValueError, match="one at least, got"):
    ImageProcessor(resize=3)(np.zeros((0, 4, 3), np.uint8))


# What a file leaves out, the library's class does all the same.
SHORT_FILES = (
  {"image_processor_type": "ViTImageProcessor"},
  {"feature_extractor_type": "ViTFeatureExtractor", "size": 9},
  {"image_processor_type": "BitImageProcessor"},
  {"image_processor_type": "CLIPImageProcessor", "size": 240},
)


def written_to(folder, **values):
  (folder / "preprocessor_config.json").write_text(json.dumps(values))
  return folder


def test_a_file_that_leaves_much_out(tmp_path):
  read = lambda **values: ImageProcessor.read(written_to(tmp_path, **values))
  half = (0.5,) * 3
  expected = ImageProcessor((224, 224), None, 2, 1 / 255, half, half)
  assert read(**SHORT_FILES[0]) == expected
  found = read(**SHORT_FILES[2])
  assert (found.resize, found.crop, found.filter) == (224, (224, 224), 3)

  # By the model, where no class is named.
  (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
  assert read() == found
  (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
  with pytest.raises(ValueError, match="image_processor_type must be one of"):
    read()
  with pytest.raises(ValueError, match="ConvNextImageProcessor', which may do"):
    read(image_processor_type="ConvNextImageProcessor")
  with pytest.raises(ValueError, match="image_mean must be given"):
    read(**SHORT_FILES[0], image_mean=None)
  with pytest.raises(ValueError, match=r"size must have .*got '224x224"):
    read(**SHORT_FILES[0], size="224x224")


@pytest.mark.parametrize(
  ("field", "value", "what"),
  [
    ("size", 0, "be a number of pixels, 1 or more"),
    ("size", True, "have height and width, or shortest_edge"),
    ("size", {"height": "8", "width": 8}, "be .*each a number of pixels, 1"),
    ("size", {"shortest_edge": 8.5}, "be a number of pixels"),
    ("size", None, "be given, got null"),
    ("crop_size", {"height": -8, "width": 8}, "be height and breadth, each"),
    ("crop_size", {"shortest_edge": 8}, "be height and breadth, each"),
    ("resample", "2", "be one of .*Pillow, got '2'"),
    ("resample", 6, "be one of .*Pillow, got 6"),
    ("rescale_factor", float("nan"), "be a finite number, got nan"),
    ("image_mean", 0.5, "be finite numbers, one a channel, got 0.5"),
    ("image_mean", ["0.5"], "be finite numbers, one a channel"),
    ("image_mean", [], r"be given, got \[\]"),
    ("image_std", [0.0], "be finite numbers above 0"),
    ("do_resize", "false", "be true or false, got 'false'"),
    ("default_to_square", 1, "be true or false, got 1"),
    ("image_processor_type", [], r"be one of .*got \[\]"),
  ],
)
def test_a_field_of_another_kind_is_named(field, value, what, tmp_path):
  processor = ImageProcessor(8, (6, 5), 3, 1 / 255, (0.5,), (0.2,))
  processor.write(tmp_path)
  file = tmp_path / "preprocessor_config.json"
  values = json.loads(file.read_text())
  if field == "default_to_square":
    values["size"] = 8
  file.write_text(json.dumps(values | {field: value}))
  words = f"preprocessor_config.json: {field} must {what}"
  with pytest.raises(ValueError, match=words):
    ImageProcessor.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "null", ""])
def test_a_file_that_is_no_object_is_named(text, tmp_path):
  (tmp_path / "preprocessor_config.json").write_text(text)
  with pytest.raises(
    ValueError, match=r"preprocessor_config\.json (cannot|must)"
  ):
    ImageProcessor.read(tmp_path)


def test_options_that_are_none():
  with pytest.raises(
    ValueError, match=r"ImageProcessor: resize must be .*got 0"
  ):
    ImageProcessor(resize=0)
  with pytest.raises(
    ValueError, match=r"ImageProcessor: std must be .*above 0"
  ):
    ImageProcessor(std=(0.0,))


@pytest.mark.slow
@pytest.mark.parametrize("values", SHORT_FILES)
def test_short_files_mean_what_they_mean_to_the_library(values, tmp_path):
  library = pytest.importorskip("transformers")
  theirs = library.AutoImageProcessor.from_pretrained(
    written_to(tmp_path, **values)
  )
  image = np.random.default_rng(0).integers(0, 256, (13, 17, 3))
  image = image.astype(np.uint8)
  expected = np.asarray(theirs(image)["pixel_values"][0])
  got = np.moveaxis(ImageProcessor.read(tmp_path)(image), -1, 0)
  np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_images_are_those_of_the_library(processor, tmp_path):
  library = pytest.importorskip("transformers")
  processor.write(tmp_path)
  theirs = library.AutoImageProcessor.from_pretrained(tmp_path)
  shape = (3, 13, 17)  # theirs has channels first
  image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  expected = np.asarray(theirs(image)["pixel_values"][0])
  got = processor(np.moveaxis(image, 0, -1))
  np.testing.assert_allclose(np.moveaxis(got, -1, 0), expected, atol=1e-5)
