"""Other bytes with the same xxh3-128, in closed form: what whoever writes a model file can do to a hash without a key.

xxh3 reads a long input in blocks of 1024 bytes, of 16 stripes of eight 64-bit words. A word `d` at place `i` of a stripe
adds, modulo 2**64, `d` to the accumulator of its neighbour (`i ^ 1`) and `low(d ^ k) * high(d ^ k)` to its own, where `k`
is a word of a secret that everybody knows. Where one half of `d ^ k` is zero, so is the product, and the other half is free:
two such words, one with the high and one with the low half free, add any number that is wanted, and nothing else. So two
stripes (128 bytes) bring all eight accumulators to where they were, whatever was written into the rest of their block.
"""

from __future__ import annotations

import struct

BLOCK, STRIPE, WORD = 1024, 64, 8
MASK = (1 << 64) - 1
LOW = (1 << 32) - 1

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def forged(data: bytes, payload: bytes, at: int) -> bytes:
    """Return `data` with `payload` at the place `at`, and 128 bytes of the same block rewritten, with the same xxh3-128.

    The block must not be the last one.
    """
    begin = at - at % BLOCK
    fix = begin if at - begin >= 2 * STRIPE else begin + BLOCK - 2 * STRIPE
    assert at + len(payload) <= begin + BLOCK < len(data)
    assert not (at < fix + 2 * STRIPE and fix < at + len(payload))
    new = bytearray(data)
    new[at : at + len(payload)] = payload
    new[fix : fix + 2 * STRIPE] = bytes(2 * STRIPE)
    others = _added(new[begin : begin + BLOCK], skip=((fix - begin) // STRIPE, 2))
    wanted = _added(data[begin : begin + BLOCK])
    for place in range(8):
        # What is written at a place is added at its neighbour.
        left = (wanted[place ^ 1] - others[place ^ 1]) & MASK
        first, second = ((fix - begin) // STRIPE + number for number in (0, 1))
        one, two = _key(first, place), _key(second, place)
        low = (left - (two & LOW)) & LOW
        word = (one >> 32 << 32) | low  # the high half is that of the key
        high = ((left - word - (two & LOW)) & MASK) >> 32
        for number, value in enumerate((word, (high << 32) | (two & LOW))):
            struct.pack_into("<Q", new, fix + number * STRIPE + place * WORD, value)
    return bytes(new)


def _key(stripe: int, place: int) -> int:
    return int(struct.unpack_from("<Q", SECRET, stripe * WORD + place * WORD)[0])


def _added(block: bytes, skip: tuple[int, int] = (0, 0)) -> list[int]:
    """Return what a block adds to the accumulators, without the stripes from `skip[0]`, `skip[1]` of them."""
    sums = [0] * 8
    for stripe in range(BLOCK // STRIPE):
        if skip[0] <= stripe < sum(skip):
            continue
        for place in range(8):
            (word,) = struct.unpack_from("<Q", block, stripe * STRIPE + place * WORD)
            mixed = word ^ _key(stripe, place)
            sums[place ^ 1] = (sums[place ^ 1] + word) & MASK
            sums[place] = (sums[place] + (mixed & LOW) * (mixed >> 32)) & MASK
    return sums
