"""Packs a file as gzip with a module that has zlib's interface, to stdout: compress.py MODULE SETTINGS FILE

SETTINGS are those of SPEC section 5.8. With only MODULE, prints the version of what the module calls.
"""

import importlib
import sys

STRATEGIES = {"default": 0, "filtered": 1, "huffman": 2, "rle": 3, "fixed": 4}
GZIP_HEADER = 16


def packed(zlib, plain, settings):
    level, strategy, memory_level, *more = settings.split()
    options = {name: int(value) for name, value in zip(more[::2], more[1::2])}
    window = GZIP_HEADER + options.get("window", 15)
    stream = zlib.compressobj(
        int(level), zlib.DEFLATED, window, int(memory_level), STRATEGIES[strategy]
    )
    step = options.get("by") or options.get("flush") or len(plain)
    for at in range(0, len(plain), step):
        yield stream.compress(plain[at : at + step])
        if "flush" in options:
            yield stream.flush(zlib.Z_SYNC_FLUSH)
    yield stream.flush()


def main(module, settings=None, path=None):
    zlib = importlib.import_module(module)
    if settings is None:
        print(getattr(zlib, "ZLIBNG_VERSION", zlib.ZLIB_RUNTIME_VERSION))
        return
    with open(path, "rb") as file:
        plain = file.read()
    for piece in packed(zlib, plain, settings):
        sys.stdout.buffer.write(piece)


main(*sys.argv[1:])
