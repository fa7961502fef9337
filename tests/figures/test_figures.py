"""What the figures show is what their captions say: by construction, pixel for pixel."""

import numpy as np
import pytest
import torch

from stylegan import figures
from stylegan.drawing import Look, class_centres, draw_seeds, map_seeds, render
from stylegan.errors import UserError
from stylegan.figures.noise import noise_groups
from stylegan.figures.page import Figure, opaque, wrap
from stylegan.images import to_uint8
from stylegan.latents import noise_from_seeds, style_mix, z_from_seeds
from tests.drawing.conftest import TRADITIONAL, make

PLAIN = Look(noise="stored")


def tiles(image, rows, columns, side=96, left=True, top=True):
    """The tiles of a sheet of equal tiles with labels on the left and above, [rows][columns], at 1/3 of the size."""
    gap, size = max(2, side // 64), max(11, min(48, side // 7))
    line = round(size * 1.5)
    margin = 2 * gap if left or top else 0
    x0, y0 = margin + (line + gap) * left, margin + line * top
    step = side + gap
    return [
        [
            image[y0 + i * step : y0 + i * step + side : 3, x0 + j * step : x0 + j * step + side : 3]
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def seed_image(G, seed, look=PLAIN, noise_seed=None):
    return render(G, map_seeds(G, [seed], None, look), look, [seed if noise_seed is None else noise_seed])[0]


def test_uncurated_grid_holds_every_seed_in_order(plain):
    made = figures.uncurated(plain, [3, 1, 4, 15], Look())
    found = tiles(made.image, 2, 2, left=False, top=False)
    for k, seed in enumerate([3, 1, 4, 15]):
        assert np.array_equal(found[k // 2][k % 2], seed_image(plain, seed, Look()))
    assert made.settings == {"seeds": [3, 1, 4, 15], "sizes": False}


def test_uncurated_in_decreasing_sizes(plain):
    """Figure 2: rows·2^l images at 1/2^l of the size in a block of lod l, each the mean over boxes of its seed's."""
    seeds = list(range(60))
    made = figures.uncurated(plain, seeds, Look(), sizes=True)
    assert made.image.shape == (64, 32 + 16 + 8 + 8 + 4 + 4, 3)
    assert made.settings["seeds"] == seeds[:54]
    pictures = [to_uint8(p) for p in draw_seeds(plain, seeds[:54])]
    assert np.array_equal(made.image[32:64, :32], pictures[1])
    half = pictures[3].reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(made.image[16:32, 32:48] - half).max() <= 1
    last = pictures[53].reshape(4, 8, 4, 8, 3).mean((1, 3))
    assert np.abs(made.image[60:64, 68:72] - last).max() <= 1
    with pytest.raises(UserError, match="takes 27 images a row"):
        figures.uncurated(plain, range(26), sizes=True)


def test_noise_deviation_is_numpys(plain):
    w = map_seeds(plain, [5], None, Look())
    pictures = []
    for seed in range(7):
        noise = noise_from_seeds([seed], plain.synthesis.noise_sizes(0.0))
        pictures.append(plain.synthesis(w, noise=noise)[0].detach().double().clamp(-1, 1).numpy() * 127.5)
    expected = np.sqrt(np.var(pictures, axis=0).mean(0))
    assert np.allclose(figures.noise_deviation(plain, w, 7), expected, atol=1e-3)
    silent = make()
    with torch.no_grad():
        for layer in silent.synthesis.layers:
            layer.noise_strength.zero_()
    assert figures.noise_deviation(silent, w, 3).max() == 0


def test_noise_detail_shows_parts_of_differently_noisy_images(plain):
    made = figures.noise_detail(plain, [2], realisations=6, zoom=4, white=50.0)
    found = tiles(made.image, 1, 6)[0]
    parts = [tile[::4, ::4].astype(int) for tile in found[1:5]]
    assert all(np.abs(a - b).max() > 0 for i, a in enumerate(parts) for b in parts[:i])
    whole = [seed_image(plain, 2, Look(), k).astype(int) for k in range(4)]
    places = [
        (y, x)
        for y in range(25)
        for x in range(25)
        if all(np.array_equal(w[y : y + 8, x : x + 8], p) for w, p in zip(whole, parts, strict=True))
    ]
    assert len(places) == 1, "all parts are the same place of the image, each with its own noise"
    deviation = figures.noise_deviation(plain, map_seeds(plain, [2], None, Look()), 6)
    (y, x), boxes = places[0], np.lib.stride_tricks.sliding_window_view(deviation, (8, 8)).mean((2, 3))
    assert boxes[y, x] == pytest.approx(boxes.max())
    expected = np.rint(np.clip(deviation / 50, 0, 1) * 255)
    assert np.array_equal(found[5][:, :, 0], expected)
    assert "white = 50 of 255" in made.caption


def test_noise_by_layers(plain):
    made = figures.noise_layers(plain, [1])
    everywhere, nowhere, fine, coarse = tiles(made.image, 1, 4)[0]
    assert noise_groups(plain, 0.0) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert np.array_equal(everywhere, seed_image(plain, 1, Look()))
    assert np.array_equal(nowhere, seed_image(plain, 1, Look(noise="none")))
    w, drawn = map_seeds(plain, [1], None, Look()), noise_from_seeds([1], plain.synthesis.noise_sizes(0.0))
    for shown, layers in ((fine, range(4, 8)), (coarse, range(4))):
        noise = [x if i in layers else torch.zeros_like(x) for i, x in enumerate(drawn)]
        with torch.inference_mode():
            assert np.array_equal(shown, to_uint8(plain.synthesis(w, noise=noise))[0])


def test_noise_layers_of_stored_noise(plain):
    """Look.noise_layers acts on stored noise as on random noise; None leaves everything as it was."""
    all_of_them = seed_image(plain, 1, Look(noise="stored", noise_layers=tuple(range(8))))
    assert np.array_equal(all_of_them, seed_image(plain, 1, Look(noise="stored")))
    none = seed_image(plain, 1, Look(noise="stored", noise_layers=()))
    assert np.array_equal(none, seed_image(plain, 1, Look(noise="none")))


@pytest.mark.parametrize(("resolution", "fine"), [(128, 8), (64, 8), (32, 4), (16, 2), (8, 2)])
def test_fine_layers_are_those_from_64_up_or_the_upper_half(resolution, fine):
    G = make(resolution=resolution)
    assert noise_groups(G, 0.0)[1][0] == fine
    assert noise_groups(G, 0.0, split=1)[0] == (0,)
    with pytest.raises(UserError, match="--split"):
        noise_groups(G, 0.0, split=99)


def test_interpolation_rows_start_and_end_at_their_seeds(plain):
    made = figures.interpolation(plain, [4, 9, 2, 7], 3, look=PLAIN)
    found = tiles(made.image, 2, 3)
    for row, (a, b) in zip(found, [(4, 9), (2, 7)], strict=True):
        ws = map_seeds(plain, [a, b], None, PLAIN)
        assert np.array_equal(row[0], seed_image(plain, a))
        assert np.array_equal(row[2], seed_image(plain, b))
        assert np.array_equal(row[1], render(plain, ws.mean(0, keepdim=True), PLAIN)[0])


def test_interpolation_square_has_seeds_in_its_corners_and_their_mean_in_the_middle(plain):
    made = figures.interpolation(plain, [0, 1, 2, 3], 3, corners=True, look=PLAIN)
    found = tiles(made.image, 3, 3, left=False, top=False)
    corners = (found[0][0], found[0][2], found[2][0], found[2][2])
    for shown, seed in zip(corners, range(4), strict=True):
        assert np.array_equal(shown, seed_image(plain, seed))
    mean = map_seeds(plain, [0, 1, 2, 3], None, PLAIN).mean(0, keepdim=True)
    assert np.abs(found[1][1].astype(int) - render(plain, mean, PLAIN)[0]).max() <= 1


@pytest.mark.parametrize("cumulative", [False, True])
def test_swap_atlas_takes_the_named_layers(plain, cumulative):
    made = figures.swap_atlas(plain, [0, 1], [5, 6], cumulative, PLAIN)
    found = tiles(made.image, 10, 2)
    a, b = map_seeds(plain, [0, 1], None, PLAIN), map_seeds(plain, [5, 6], None, PLAIN)
    assert np.array_equal(found[0][1], seed_image(plain, 1))
    assert np.array_equal(found[1][0], seed_image(plain, 5))
    for layer in (0, 3, 7):
        layers = range(layer + 1) if cumulative else [layer]
        assert np.array_equal(found[2 + layer][0], render(plain, style_mix(a, b, layers)[:1], PLAIN)[0])
    assert np.array_equal(found[9][0], found[1][0]) is cumulative


def test_class_means_are_means_and_pull_samples():
    G = make(labels=3)
    mean = class_centres(G, [2], 50)[2]
    z, labels = z_from_seeds(range(50), G.config.z_dim), torch.eye(3)[[2] * 50]
    with torch.inference_mode():
        expected = G.mapping.w(z, labels)
        assert torch.allclose(mean, expected.mean(0), atol=1e-5)
        halfway = torch.lerp(mean, expected[7], 0.5).expand(1, 8, -1)
    made = figures.class_means(G, [7], 0.5, [2, 0], ["cat", "dog", "owl"], 50, PLAIN)
    found = tiles(made.image, 2, 2)
    assert np.array_equal(found[0][0], render(G, mean.expand(1, 8, -1), PLAIN)[0])
    assert np.abs(found[0][1].astype(int) - render(G, halfway, PLAIN)[0]).max() <= 1
    assert made.settings["classes"] == [2, 0]


def test_mixing_and_truncation_are_the_sheets_of_the_drawing_verbs(plain):
    from stylegan.drawing import mixing_sheet, truncation_sheet

    assert np.array_equal(figures.mixing(plain, [0], [1]).image, mixing_sheet(plain, [0], [1]))
    assert np.array_equal(figures.truncation(plain, [0], [1, -1]).image, truncation_sheet(plain, [0], [1, -1]))


def test_figures_refuse_what_a_model_does_not_have(plain):
    traditional = make(**TRADITIONAL)
    for draw in (figures.noise_detail, figures.noise_layers):
        with pytest.raises(UserError, match="no noise inputs"):
            draw(traditional, [0])
    with pytest.raises(UserError, match="no styles to mix"):
        figures.swap_atlas(traditional, [0], [1])
    with pytest.raises(UserError, match="without classes"):
        figures.class_means(plain, [0])
    with pytest.raises(UserError, match="even number"):
        figures.interpolation(plain, [0, 1, 2])
    with pytest.raises(UserError, match="--corners is bilinear in w"):
        figures.interpolation(traditional, [0, 1, 2, 3], corners=True)
    assert "great circles" in figures.interpolation(traditional, [0, 1], 2).caption


def test_page_keeps_the_picture_and_writes_below_it():
    image = np.random.default_rng(0).integers(0, 255, (40, 600, 3), dtype=np.uint8)
    page = Figure(image, "A title", "Many words " * 60).page("facts")
    assert np.array_equal(page[:40], image)
    assert page.shape[1] == 600
    assert (page[40:] == 255).mean() > 0.7
    assert page[40:].min() == 0
    narrow = Figure(image[:, :10], "A title", "words").page()
    assert narrow.shape[1] == 480
    assert np.array_equal(narrow[:40, 235:245], image[:, :10])


def test_wrapped_lines_fit():
    lines = wrap("one two three abcdefghijkl mno", 8, len)
    assert lines == ["one two", "three", "abcdefgh", "ijkl mno"]


def test_transparency_lies_over_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    assert opaque(clear)[0, 0].tolist() == [10, 20, 30]
    assert opaque(clear)[1, 1].tolist() == [255, 255, 255]
