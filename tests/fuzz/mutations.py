"""Random damage to the content of a file, decided by a seed alone."""

import random


def mutated(content: bytes, seed: int) -> bytes:
    """`content` with one to three changes, each decided by the seed alone."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 3))):
        begin = chance.randrange(len(content) + 1)
        end = min(len(content), begin + chance.choice((1, 2, 8, 64, 1000)))
        piece = content[begin:end]
        flipped = bytes(byte ^ (1 << chance.randrange(8)) for byte in piece)
        noise = chance.randbytes(chance.choice((1, 4, 16, 300)))
        middle = chance.choice((None, flipped, flipped[:1] + piece[1:], b"", noise + piece, noise, piece + piece))
        content = content[:begin] + (b"" if middle is None else middle + content[end:])
    return content


def changed(text: str, seed: int) -> bytes:
    """`text` with its lines, words or characters changed."""
    chance = random.Random(seed)
    if seed % 4 == 0:
        return mutated(text.encode(), seed)
    separator = ("\n", " ", ".")[seed % 4 - 1]
    parts = text.split(separator)
    for _ in range(chance.choice((1, 2, 4))):
        at, other = chance.randrange(len(parts)), chance.randrange(len(parts))
        action = chance.randrange(4)
        if action == 0:
            parts[at], parts[other] = parts[other], parts[at]
        elif action == 1 and len(parts) > 1:
            del parts[at]
        elif action == 2:
            parts.insert(at, parts[other])
        else:
            parts[at] = chance.choice(
                ["@", "%", "(", ")", "'", "x/", "[1,", "None", "\\", "# ", "include 'a'", "=", "\0"]
            )
    return separator.join(parts).encode()
