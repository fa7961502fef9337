"""Official pickles: sound ones become networks that draw what the official program drew; all else is refused."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import stylegan
from stylegan.cli import cli
from stylegan.errors import UserError
from stylegan.formats import sniff
from stylegan.importing import read
from stylegan.official.pickles import parse_pickle, read_pickle
from stylegan.ops.switch import using_ops
from tests.interop import fuzz_pickles, official_files
from tests.parity import case

PARITY = Path(__file__).parents[1] / "parity"
HOSTILE = sorted(PARITY.glob("hostile/*.pkl"))
STYLE = fuzz_pickles.STYLE


@pytest.mark.parametrize("ops", ["reference", "fast"])
@pytest.mark.parametrize("name", case.NETWORKS)
def test_converted_networks_draw_what_was_recorded(name: str, ops: str, tmp_path: Path) -> None:
    """Through the command line and a model file, at the lod 0.25 that the file was saved with."""
    source = tmp_path / "network-snapshot-001234.pkl"
    source.write_bytes(official_files.dumps(official_files.recorded(name)))
    result = CliRunner().invoke(cli, ["convert", str(source), str(tmp_path / "m.safetensors"), "--training"])
    assert result.exit_code == 0, result.output
    model = stylegan.load(tmp_path / "m.safetensors")
    recorded = case.recorded(f"{name}_io")
    z, reals = case.tensor(recorded["z"]), case.tensor(recorded["reals"])
    assert model.generator.lod == 0.25
    assert model.generator_raw is not None
    assert model.discriminator is not None
    with torch.no_grad(), using_ops(ops):
        for network, key in ((model.generator, "Gs_pickle_img"), (model.generator_raw, "G_pickle_img")):
            recorded.check(key, network(z, psi=0.7, cutoff=8, noise="stored"))
        recorded.check("D_pickle_scores", model.discriminator(reals))
    entry = model.training["lineage"][0]
    assert entry["networks"]["Gs"]["arguments"]["resolution"] == 32
    assert model.training["kimg"] == 1234
    assert len(entry["sha256"]) == 64
    assert all(len(h) == 64 for h in entry["networks"]["Gs"]["source_sha256"].values())


def test_file_of_the_official_program() -> None:
    """A file that the official program itself wrote: class-conditional, protocol 4."""
    made = read(PARITY / "style16l_tiny.pkl", training=True)
    assert made.generator.config.labels == 3
    assert made.discriminator is not None
    images = made.generator(torch.zeros(2, 16), torch.tensor([0, 2]))
    assert images.shape == (2, 3, 16, 16)
    assert not torch.equal(images[0], images[1])
    assert made.discriminator(images, torch.tensor([0, 2])).shape == (2, 1)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("numpy", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_protocol_and_spelling(protocol: int, numpy: str, version: int) -> None:
    networks = official_files.small("style", STYLE | {"label_size": 2}, version)
    data = official_files.dumps(networks, protocol, numpy=numpy)
    found = parse_pickle(memoryview(data), "file").generator
    whole = dict(networks[2].state["variables"])
    for part in networks[2].state.get("components", {}).values():
        whole |= {f"{part.state['name']}/{key}": value for key, value in part.state["variables"]}
    assert set(found.variables) == set(whole)
    assert all(np.array_equal(found.variables[key], whole[key]) for key in whole)
    assert found.build().config.labels == 2


def test_arrays_in_fortran_order_and_other_floats() -> None:
    networks = official_files.small("progan", fuzz_pickles.KWARGS)
    for i, (key, value) in enumerate(networks[2].state["variables"]):
        changed = np.asfortranarray(value) if i % 3 else np.asarray(value, np.float64 if i % 2 else ">f4")
        networks[2].state["variables"][i] = (key, changed)
    for protocol in (4, 5):
        found = parse_pickle(memoryview(official_files.dumps(networks[2], protocol)), "file").generator
        for key, value in networks[2].state["variables"]:
            assert np.array_equal(found.variables[key], value)
        found.build()


def test_single_networks() -> None:
    gs, d = official_files.small("style", STYLE)[2], official_files.small("style", STYLE)[1]
    assert parse_pickle(memoryview(official_files.dumps(gs)), "file").generator.name == "Gs"
    with pytest.raises(UserError, match="only a discriminator"):
        parse_pickle(memoryview(official_files.dumps(d)), "file").generator  # noqa: B018


def test_progressive_gan_of_2017() -> None:
    """That program's class is tfutil.Network, and it stored up-convolutions as k, k, out, in."""
    kwargs = fuzz_pickles.KWARGS | {"fmap_base": 16, "fmap_max": 8}
    networks = official_files.small("progan", kwargs, version=2)
    wanted = parse_pickle(memoryview(official_files.dumps(networks)), "file").generator.build()
    for network in networks:
        network.state["variables"] = [
            (key, np.ascontiguousarray(value.swapaxes(2, 3)) if key.endswith("Conv0_up/weight") else value)
            for key, value in network.state["variables"]
        ]
    data = official_files.dumps(networks, module="tfutil")
    found = parse_pickle(memoryview(data), "file").generator.build()
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), wanted.state_dict().values(), strict=True)
    )


CHECK = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
events = []
def hear(event, arguments):
    if armed and not (event == "open" and arguments[1] in ("r", "rb")):
        events.append(event)
armed = False
sys.addaudithook(hear)
from stylegan.errors import UserError
from stylegan.official.pickles import read_pickle
import pathlib
read_pickle(sys.argv[3]).generator.build()  # imports what PyTorch imports on demand
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pkl")):
    begin, armed = time.perf_counter(), True
    try:
        read_pickle(path).generator.build()
        text = "ACCEPTED"
    except UserError as error:
        text = str(error)
    armed = False
    print(f"{path.stem}|{time.perf_counter() - begin:.3f}|{','.join(sorted(set(events)))}|{text}")
    events.clear()
print("memory|" + open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""

# what the sentence about each file must say
SAYS = {
    "a_eval": "builtins.eval", "a_os_system": "posix.system", "a_os_system_proto0": "posix.system",
    "b_exec_build_module_src": "variables do not fit its resolution", "b_in_components": "posix.system",
    "b_in_object_array": "element type 'O8'", "b_in_static_kwargs": "posix.system", "b_in_variables": "posix.system",
    "c_empty": "is empty", "c_text": "no pickle opcode", "c_truncated_lastbyte": "cut short",
    "d_dotted_network_builtins": "Network.__init__.__globals__", "d_dotted_numpy2_os_system": "os.system",
    "d_dotted_numpy_os_system": "os.system", "d_numpy_load_path": "numpy.load", "d_numpy_runstring": "runstring",
    "e_dict_instead_of_tuple": "holds a dictionary", "e_no_variables": "has no 'variables'",
    "e_two_networks": "holds 2 networks", "e_version99": "version 99", "f_binbytes8_huge": "1,099,511,627,776 bytes",
    "f_ndarray_shape_bomb": "needs", "g_ok_version2_no_components": "variables do not fit",
}  # fmt: skip


def test_hostile_files_are_refused_quickly_in_little_memory() -> None:
    """In a process of limited address space, listening to every audit event (only reading the file is allowed)."""
    limit = 6 << 30  # address space; PyTorch alone maps about 3 GB, the resident memory is checked below
    result = subprocess.run(
        [sys.executable, "-c", CHECK, str(PARITY / "hostile"), str(limit), str(PARITY / "style16l_tiny.pkl")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    *lines, memory = result.stdout.splitlines()
    assert len(lines) == len(HOSTILE) == len(SAYS)
    for line in lines:
        name, seconds, events, text = line.split("|", 3)
        assert float(seconds) < 2, line
        assert SAYS[name] in text, line
        assert set(events.split(",")) <= {"", "mmap.__new__"}, line
    assert int(memory.split("|")[1]) < 1_000_000  # kilobytes, PyTorch included
    assert not Path("/tmp/pwned").exists()


def test_refusal_needs_no_pytorch(tmp_path: Path) -> None:
    """The command refuses hostile files before PyTorch is imported: fast, and in 100 MB."""
    code = (
        "import sys; from stylegan.cli import main\n"
        "try: main(['convert', sys.argv[1], sys.argv[2]])\n"
        "finally: print('torch' in sys.modules, open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    for path in HOSTILE:
        command = [sys.executable, "-c", code, str(path), str(tmp_path / "o.safetensors")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
        loaded, kilobytes = result.stdout.split()
        assert loaded == "False"
        assert int(kilobytes) < 100_000


def test_the_good_one_among_them_is_read() -> None:
    """Version 2, no components. Its arrays are dummies, so that it cannot become a network."""
    file = read_pickle(PARITY / "hostile" / "g_ok_version2_no_components.pkl")
    assert list(file.networks) == ["G", "D", "Gs"]
    assert file.generator.version == 2


def _nested(depth: int) -> bytes:
    return b"\x80\x04" + b"(" * depth


def _shared() -> bytes:
    """One array used under many names: small file, large network."""
    value = np.zeros((64, 64), np.float32)
    variables = {f"4x4/Dense{i}/weight": value for i in range(100)}
    return official_files.dumps(official_files.network("G", "G_paper", fuzz_pickles.KWARGS, variables))


def _with(**kwargs: Any) -> bytes:
    network = official_files.small("style", STYLE)[2]
    network.state["static_kwargs"] |= kwargs
    for part in network.state["components"].values():
        part.state["static_kwargs"] |= kwargs
    return official_files.dumps(network)


def _state(**state: Any) -> bytes:
    network = official_files.small("progan", fuzz_pickles.KWARGS)[2]
    network.state |= state
    return official_files.dumps(network)


def _latin1_bomb() -> bytes:
    text = b"x" * 100_000
    one = b"c_codecs\nencode\nX" + len(text).to_bytes(4, "little") + text + b"q\x01X\x06\x00\x00\x00latin1\x86R0"
    again = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R0"
    return b"\x80\x02" + one + again * 5000 + b"N."


MINE: dict[str, tuple[bytes, str]] = {
    "deep marks": (_nested(1_000_000), "marks are open"),
    "many steps": (b"\x80\x04" + b"N" * 1_000_000 + b".", "steps"),
    "tuple doubling": (b"\x80\x04)" + b"2\x86" * 100_000 + b".", "not official networks"),
    "list in itself": (b"\x80\x04]2a.", "not official networks"),
    "list as key": (b"\x80\x04}]Ns.", "dictionary key is a list"),
    "huge long": (b"\x80\x02\x8b\x00\x00\x00\x40", "an integer of"),
    "huge text": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "announces"),
    "negative string": (b"\x80\x02T\xff\xff\xff\xff", "announces"),
    "long decimal": (b"I" + b"9" * 100_000 + b"\n.", "more than 64 bits"),
    "endless line": (b"\x80\x00I" + b"9" * 1_000_000, "does not end"),
    "memo hole": (b"\x80\x02j\xff\xff\xff\xff.", "does not exist"),
    "persistent id": (b"\x80\x04NQ.", "BINPERSID"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "INST": (b"(S'x'\nios\nsystem\n.", "INST"),
    "OBJ": (b"\x80\x02(cnumpy\nndarray\no.", "OBJ"),
    "NEWOBJ of an array": (b"\x80\x02cnumpy\nndarray\n)\x81.", "makes an object of the name numpy.ndarray"),
    "NEWOBJ_EX": (b"\x80\x04\x92.", "NEWOBJ_EX"),
    "out of band": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "call of the class": (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)R.", "calls dnnlib.tflib.network.Network"),
    "call of a list": (b"\x80\x02])R.", "calls a list"),
    "state twice": (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81}b}b.", "gives a network a state"),
    "protocol 9": (b"\x80\x09N.", "protocol 9"),
    "no value": (b"\x80\x02.", "ends with 0 values"),
    "copies one text often": (_latin1_bomb(), "copies more bytes"),
    "bad text": (b"\x80\x04\x8c\x02\xff\xfe.", "not valid Unicode"),
    "one array, many names": (_shared(), "larger than the file"),
    "mapping layers": (_with(mapping_layers=10**9), "at most 64"),
    "resolution": (_with(resolution=2**30), "at most 16,384"),
    "odd resolution": (_with(resolution=12), "power of two"),
    "text resolution": (_with(resolution="big"), "make no network"),
    "unknown argument": (_with(num_heads=3), "num_heads"),
    "nested argument": (_with(blur_filter=[[1]]), "list of lists"),
    "infinite argument": (_with(fmap_decay=float("inf")), "makes sense"),
    "other function": (_state(build_func_name="os.system"), "known are"),
    "lod of a list": (_state(variables=[("lod", np.zeros(3, np.float32))]), "level of detail"),
    "lod of nothing": (_state(variables=[("lod", np.float32("nan"))]), "level of detail"),
    "same name twice": (_state(variables=[("a", np.zeros(1, np.float32))] * 2), "a second variable"),
    "integers": (_state(variables=[("a", np.zeros(1, np.int64))]), "int64"),
    "not a component": (_state(components={"mapping": 3}), "expected networks"),
    "version of text": (_state(version="3"), "version text"),
}


@pytest.mark.parametrize("name", list(MINE))
def test_more_hostile_files(name: str) -> None:
    data, says = MINE[name]
    with pytest.raises(UserError) as caught:
        parse_pickle(memoryview(data), "file.pkl").generator.build()
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_every_cut_is_refused() -> None:
    data = official_files.dumps(official_files.small("progan", fuzz_pickles.KWARGS))
    for end in [*range(400), *range(400, len(data), 97)]:
        with pytest.raises(UserError):
            parse_pickle(memoryview(data[:end]), "file")


def test_python_would_have_run_it(tmp_path: Path) -> None:
    """The hostile files are live: Python's unpickler runs them. (In a child process, with a harmless command.)"""
    marker = tmp_path / "ran"
    data = (PARITY / "hostile" / "a_os_system_proto0.pkl").read_bytes().replace(b"/tmp/pwned", str(marker).encode())
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({data!r})"], timeout=60, check=False)
    assert marker.exists()


def test_fuzz() -> None:
    """2,000 mutations here; 20,000 and more by `python -m tests.interop.fuzz_pickles --count 20000`."""
    command = [sys.executable, "-m", "tests.interop.fuzz_pickles", "--count", "2000", "--seed", "7"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=PARITY.parents[1])
    summary = json.loads(result.stdout)
    assert result.returncode == 0, summary
    assert not summary["failures"]
    assert summary["refused"] > 1000
    assert summary["memory_grown_mb"] < 200


def test_the_fuzzer_hears() -> None:
    """Its audit hook does notice what Python's unpickler does. In a child, as hooks cannot be taken off."""
    code = (
        "import pickle; from tests.interop.fuzz_pickles import Watch; w = Watch(); w.armed = True\n"
        "try: pickle.loads(b'cbuiltins\\neval\\n(V1\\ntR.')\n"
        "finally: w.armed = False\n"
        "print('pickle.find_class' in w.events and 'compile' in w.events)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PARITY.parents[1])
    assert result.stdout.strip() == "True", result.stderr


def test_command_line_refusals(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = subprocess.run([sys.executable, "-m", "stylegan", *arguments], capture_output=True, text=True)
        return result.returncode, result.stderr

    good = str(PARITY / "style16l_tiny.pkl")
    code, text = run("convert", str(PARITY / "hostile" / "a_eval.pkl"), str(tmp_path / "o.safetensors"))
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert "builtins.eval" in text
    assert not (tmp_path / "o.safetensors").exists()
    assert "must be named .safetensors" in run("convert", good, str(tmp_path / "o.pkl"))[1]
    assert "cannot be read" in run("convert", str(tmp_path / "none.pkl"), str(tmp_path / "o.safetensors"))[1]


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    for name, head, says in (
        ("page.pkl", b"<!DOCTYPE html><html>", "a web page"),
        ("text.pkl", b"hello there", "text"),
        ("image.pkl", b"\x89PNG\r\n\x1a\n\x00", "another format"),
    ):
        (tmp_path / name).write_bytes(head)
        with pytest.raises(UserError, match=says):
            sniff(tmp_path / name)
    (tmp_path / "misnamed.pth").write_bytes((PARITY / "style16l_tiny.pkl").read_bytes())
    assert sniff(tmp_path / "misnamed.pth") == "pickle"


@pytest.mark.skipif("STYLEGAN_SLOW" not in os.environ, reason="0.3 GB; set STYLEGAN_SLOW=1")
def test_true_size(tmp_path: Path) -> None:
    """The 1024x1024 model: under 20 s of processor time (the machine may be shared) and 3 GB."""
    kwargs = {"num_channels": 3, "resolution": 1024, "label_size": 0}
    (tmp_path / "big.pkl").write_bytes(official_files.dumps(official_files.small("style", kwargs)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "stylegan", "convert", "big.pkl", "big.safetensors", "--training"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20
    assert after.ru_maxrss < 3 << 20  # kilobytes


def test_nothing_of_pythons_unpickler_is_used() -> None:
    """The reader imports neither pickle nor anything that evaluates."""
    folder = Path(stylegan.__file__).parent / "official"
    for name in ("unpickle.py", "pickle_values.py", "pickles.py"):
        text = (folder / name).read_text()
        assert not any(
            word in text for word in ("import pickle\n", "eval(", "exec(", "__import__", "importlib", "getattr(")
        )
    assert pickle.HIGHEST_PROTOCOL >= 5
