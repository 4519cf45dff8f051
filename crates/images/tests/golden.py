"""Writes golden.txt, what Pillow makes of small images: python3 golden.py > golden.txt (Pillow 13.0.0).

A line an image: its width and height, those that it is resized to, and the bytes. Those of the source
are drawn by the generator that intake.rs has, too.
"""
from PIL import Image

SIZES = [
    (7, 5, 3, 2), (5, 7, 13, 4), (3, 4, 9, 11), (16, 9, 4, 4), (1, 1, 3, 3), (1, 9, 4, 2), (9, 1, 2, 5),
    (6, 6, 1, 1), (31, 17, 8, 8), (8, 8, 8, 3), (8, 8, 5, 8), (640, 2, 3, 2), (2, 640, 2, 3),
]


def drawn(count, state=1):
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        yield state >> 23


for width, height, to_width, to_height in SIZES:
    image = Image.frombytes("L", (width, height), bytes(drawn(width * height)))
    resized = image.resize((to_width, to_height), Image.Resampling.BILINEAR)
    print(width, height, to_width, to_height, *resized.tobytes())
