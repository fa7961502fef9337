"""Rendering, sheets and walks, from Python."""

import numpy as np
import pytest
import torch

from stylegan import drawing, images, latents
from stylegan.drawing import Look, Sheet
from stylegan.drawing.render import map_latents
from stylegan.drawing.sheets import figure_3_bands
from stylegan.errors import UserError
from tests.drawing.conftest import TRADITIONAL, make


@pytest.mark.parametrize("noise", ["random", "stored", "none"])
def test_a_seed_gives_the_same_image_whatever_the_batch(plain, noise):
    drawn = [
        [image.clone() for image in drawing.draw_seeds(plain, range(5), Look(psi=0.7, noise=noise, batch=batch))]
        for batch in (1, 3, 16)
    ]
    alone = next(drawing.draw_seeds(plain, [4], Look(psi=0.7, noise=noise)))
    for other in drawn[1:]:
        assert all(torch.equal(a, b) for a, b in zip(drawn[0], other, strict=True))
    assert torch.equal(drawn[0][4], alone)


def test_render_agrees_with_the_generator(plain):
    z = latents.z_from_seeds([3], 8)
    noise = latents.noise_from_seeds([3], plain.synthesis.noise_sizes(0.0))
    with torch.no_grad():
        expected = plain.synthesis(plain.truncate(plain.mapping(z), 0.5, 4), noise=noise)
    look = Look(psi=0.5, cutoff=4)
    found = drawing.render(plain, drawing.map_seeds(plain, [3], look=look), look, noise_seeds=[3])
    assert np.array_equal(found, images.to_uint8(expected))


def test_progress_counts_images(plain):
    seen = []
    list(drawing.draw_seeds(plain, range(3), progress=lambda done, total: seen.append((done, total))))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_default_look_is_the_models(plain, traditional):
    assert (drawing.default_look(plain).psi, drawing.default_look(plain).cutoff) == (0.7, 8)
    assert drawing.default_look(traditional).psi is None
    assert drawing.default_look(make(resolution=16)).cutoff == 6


def test_truncation_towards_the_mean_of_a_class():
    """psi 0 is the mean w of the image's own class; psi 1 changes nothing; between two classes the centre is too."""
    G = make(labels=3)
    centres = drawing.class_centres(G, count=40)
    z, labels = latents.z_from_seeds(range(40), 8), torch.eye(3)
    with torch.no_grad():
        for number in range(3):
            assert torch.allclose(centres[number], G.mapping.w(z, labels[[number] * 40]).mean(0), atol=1e-5)
    assert torch.equal(drawing.class_centres(G, [2], count=40)[[0, 1]], G.w_avg.repeat(2, 1))
    ws = drawing.map_seeds(G, [5, 6], look=Look(psi=0.0, cutoff=3, centres=centres))
    free = drawing.map_seeds(G, [5, 6])
    assert torch.allclose(ws[:, :3], centres[[2, 0], None].expand(-1, 3, -1))  # seed 5 has class 2, seed 6 class 0
    assert torch.equal(ws[:, 3:], free[:, 3:])
    assert torch.equal(drawing.map_seeds(G, [5, 6], look=Look(psi=1.0, centres=centres)), free)
    between = map_latents(G, z[:1], labels[:1] / 2 + labels[1:2] / 2, Look(psi=0.0, centres=centres))
    assert torch.allclose(between[0, 0], centres[:2].mean(0))
    for wrong in (make(), make(labels=3, z_dim=4, **TRADITIONAL)):
        with pytest.raises(UserError, match=r"without classes|traditional generator"):
            drawing.class_centres(wrong)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (Look(batch=0), "--batch 0"),
        (Look(cutoff=9), "has 8 layers"),
        (Look(channels=(3,)), "channels 0-2"),
        (Look(noise="loud"), "--noise loud"),
    ],
)
def test_looks_that_do_not_fit(plain, look, message):
    with pytest.raises(UserError, match=message):
        drawing.contact_sheet(plain, [0], look)


def test_contact_sheet_shows_every_seed(plain):
    page = drawing.contact_sheet(plain, range(4), Look(noise="none"))
    first = drawing.render(plain, drawing.map_seeds(plain, [0]), Look(noise="none"))[0]
    assert page.shape == (2 * 96 + 2, 2 * 96 + 2, 3)
    assert np.array_equal(page[:96, :96], images.enlarge(first, 3))
    assert drawing.contact_sheet(plain, range(9), shape=(3, 1)).shape == (96, 3 * 96 + 4, 3)
    with pytest.raises(UserError, match="at least one seed"):
        drawing.contact_sheet(plain, [])


def test_conditional_sheets_have_a_column_per_class():
    G = make(labels=5)
    assert drawing.contact_shape(G, 12) == (5, 3)
    assert drawing.class_of_seed(12, range(5)) == 2
    drawn = list(drawing.draw_seeds(G, [7, 7], Look(noise="none"), classes=[1]))
    other = list(drawing.draw_seeds(G, [7], Look(noise="none"), classes=[2]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], other[0])
    with pytest.raises(UserError, match="classes 0-4"):
        drawing.contact_sheet(G, [0], classes=[5])


def test_classes_by_number_and_name():
    names = ["cat", "dog, small", "0"]
    assert drawing.parse_classes(None, 3, names) == (0, 1, 2)
    assert drawing.parse_classes("0", 3, names) == (2,)
    assert drawing.parse_classes("1,cat", 3, names) == (1, 0)
    assert drawing.parse_classes("dog, small", 3, names) == (1,)
    assert drawing.parse_classes(None, 0) is None
    with pytest.raises(UserError, match="named for example cat"):
        drawing.parse_classes("cot", 3, names)
    with pytest.raises(UserError, match="without classes"):
        drawing.parse_classes("1", 0)


def test_mixing_sheet_mixes(plain):
    """Copying every layer from B gives B; copying none would give A."""
    look = Look(noise="none")
    page = drawing.mixing_sheet(plain, [1], [2, 3], {"all": range(8)}, look)
    sheet = Sheet(2, 3, (32, 32, 3), ["", "A"], ["", "B", "B"], [("all", 1)], lead=True)
    (y1, x1), (y0, _) = sheet._corner(1, 2), sheet._corner(0, 2)
    assert np.array_equal(page[y1 : y1 + 96, x1 : x1 + 96], page[y0 : y0 + 96, x1 : x1 + 96])
    assert drawing.mixing_sheet(plain, [1, 2, 3], [4], look=look).shape[0] > page.shape[0]


def test_figure_3_shares_out_its_rows():
    assert [(name, n) for name, _, n in figure_3_bands(6, 18)] == [("coarse", 3), ("middle", 2), ("fine", 1)]
    assert [n for _, _, n in figure_3_bands(4, 18)] == [2, 1, 1]
    assert [n for _, _, n in figure_3_bands(1, 18)] == [1, 1, 1]
    assert [n for _, _, n in figure_3_bands(6, 8)] == [4, 2]


def test_truncation_sheet_sweeps(plain):
    look = Look(noise="stored")
    page = drawing.truncation_sheet(plain, [0, 1], [1, 0], look)
    sheet = Sheet(2, 2, (32, 32, 3), ["a", "b"], ["a", "b"])
    tiles = {(i, j): page[y : y + 96, x : x + 96] for i in range(2) for j in range(2) for y, x in [sheet._corner(i, j)]}
    assert np.array_equal(tiles[0, 1], tiles[1, 1])
    assert not np.array_equal(tiles[0, 0], tiles[1, 0])
    plain_image = drawing.render(plain, drawing.map_seeds(plain, [1]), look)[0]
    assert np.array_equal(tiles[1, 0], images.enlarge(plain_image, 3))


def test_traditional_generators_draw_but_refuse_styles(traditional):
    assert drawing.contact_sheet(traditional, [0, 1]).shape[2] == 3
    with pytest.raises(UserError, match="no styles to mix"):
        drawing.mixing_sheet(traditional, [0], [1])
    with pytest.raises(UserError, match="no average w"):
        drawing.truncation_sheet(traditional, [0], [1.0])
    with pytest.raises(UserError, match="no average w"):
        drawing.contact_sheet(traditional, [0], Look(psi=0.5))


def test_growing_and_oblong_generators_draw_at_their_size():
    G = make(resolution=(48, 80), lod=1.5)
    ws = drawing.map_seeds(G, [0])
    assert drawing.render(G, ws).shape == (1, 24, 40, 3)
    assert drawing.render(G, ws, Look(lod=0.0)).shape == (1, 48, 80, 3)


@pytest.mark.parametrize("space", ["z", "w"])
@pytest.mark.parametrize("loop", [True, False])
def test_walks_pass_through_their_seeds(plain, space, loop):
    frames = 12 if loop else 7
    ws = drawing.interpolation_path(plain, [0, 1, 2], frames, space, loop)
    stations = drawing.map_seeds(plain, [0, 1, 2])
    at = [0, 4, 8] if loop else [0, 3, 6]
    assert ws.shape == (frames, 8, 8)
    assert torch.equal(ws[at], stations)
    assert not torch.allclose(ws[1], ws[0])


def test_a_looping_walk_closes_evenly(plain):
    ws = drawing.interpolation_path(plain, [0, 1], 10, "w")[:, 0]
    assert torch.allclose((ws[1] - ws[0]).norm(), (ws[0] - ws[9]).norm(), rtol=1e-4)


def test_walk_frames(plain):
    frames = list(drawing.interpolation_frames(plain, [0, 1], 4, easing="smooth", look=Look(psi=0.7)))
    assert len(frames) == 4
    assert frames[0].shape == (32, 32, 3)
    conditional = make(labels=3)
    assert len(list(drawing.interpolation_frames(conditional, [0, 1], 2))) == 2


@pytest.mark.parametrize(("count", "frames", "message"), [(1, 5, "at least two"), (2, 0, "--frames 0")])
def test_walks_that_go_nowhere(plain, count, frames, message):
    with pytest.raises(UserError, match=message):
        drawing.interpolation_path(plain, list(range(count)), frames)


def test_large_sheets_are_reduced():
    sheet = Sheet(1, 100, (4, 200, 1))
    assert sheet.reduce == 3
    sheet.place(0, 99, np.full((4, 200, 1), 7, dtype=np.uint8))
    assert sheet.image().shape[1] < 9000
    assert (sheet.image()[0, -67:] == 7).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_draws_the_same_image_up_to_one_level():
    G = make(resolution=64)
    expected = drawing.render(G, drawing.map_seeds(G, range(5))).astype(int)
    G = G.cuda()
    for batch in (1, 3, 16):
        look = Look(batch=batch)
        found = drawing.render(G, drawing.map_seeds(G, range(5), look=look), look).astype(int)
        assert np.abs(found - expected).max() <= 1
