"""The least number of bytes that must pass through the client to join objects by one multipart upload.

Computed apart from Baler, by another method, so that one checks the other. A multipart upload joins parts; a part is a
range of one object copied by the store, or bytes uploaded. Every part but the last has at least `least` bytes. (The
greatest part, 5 GiB, and the greatest number of parts, 10,000, bind none of the inputs here.)

Take the joined bytes as a line of copied and read stretches in turns. A copied stretch lies within one object and has
`least` bytes at least, unless it ends the line; a read stretch likewise. A read stretch covers whole objects that are too
small, and where those are too few it is filled up with the tail of the object before it and the head of the one behind
it, as long as both keep `least` bytes to be copied. The programme walks over the copied objects; its state is which
object is copied and how many bytes of its head were given to the stretch before it.

`brute` tries every cut of small lines, and `check` holds the programme against it.
"""

INFINITY = float("inf")


def through(sizes: list[int], least: int = 5 << 20) -> int:
    """Fewest bytes read, for objects of these sizes in this order."""
    sizes = [size for size in sizes if size > 0]
    count = len(sizes)
    prefix = [0]
    for size in sizes:
        prefix.append(prefix[-1] + size)
    # states[i][lent]: fewest bytes read before the copied stretch of object `i`, `lent` of whose head were given away. Of
    # all ways to share what a read stretch is short by between its two neighbours, giving most from one of them is as
    # good as any: each neighbour has one other end, and what is left there only needs to be as much as possible.
    states: dict[int, dict[int, int]] = {}

    def put(at: int, lent: int, cost: int) -> None:
        known = states.setdefault(at, {})
        if cost < known.get(lent, INFINITY):
            known[lent] = cost

    best = prefix[count]  # everything is read
    for first in range(count):
        # The line begins with a stretch of the objects before `first`, which object `first` may fill up.
        missing = max(0, least - prefix[first]) if first > 0 else 0
        if sizes[first] - missing >= least or (first == count - 1 and sizes[first] > missing):
            put(first, missing, prefix[first] + missing)
    for at in range(count):
        for lent, cost in sorted(states.get(at, {}).items()):
            rest = sizes[at] - lent
            # The line ends with object `at`, or behind it with a stretch that may be short.
            best = min(best, cost + prefix[count] - prefix[at + 1])
            spare = rest - least
            if spare < 0:
                continue  # shorter than a part: only good as the end of the line
            for following in range(at + 1, count):
                between = prefix[following] - prefix[at + 1]
                last = following == count - 1
                room = sizes[following] - (1 if last else least)
                if cost + between >= best:
                    break
                if room < 0:
                    continue
                missing = max(0, least - between) if between > 0 else 0
                if between == 0:
                    # Copied up to the end of one and on from the beginning of the next: nothing is read.
                    put(following, 0, cost)
                    continue
                for head in {max(0, missing - spare), min(missing, room)}:
                    if missing - head <= spare and head <= room:
                        put(following, head, cost + between + missing)
    return best


def brute(sizes: list[int], least: int) -> int:
    """The same by trying every way to cut; for tiny sizes."""
    from functools import lru_cache

    owner = [i for i, size in enumerate(sizes) for _ in range(size)]
    total = len(owner)

    @lru_cache(None)
    def fewest(at: int) -> float:
        if at == total:
            return 0
        found = INFINITY
        for end in range(at + 1, total + 1):
            if end - at < least and end != total:
                continue
            here = 0 if owner[at] == owner[end - 1] else end - at
            found = min(found, here + fewest(end))
        return found

    return int(fewest(0)) if total else 0


def check() -> None:
    """Holds the programme against brute force on random small cases."""
    import random

    chance = random.Random(7)
    for _ in range(3000):
        least = chance.randint(1, 5)
        sizes = [chance.randint(0, 12) for _ in range(chance.randint(0, 6))]
        quick, slow = through(sizes, least), brute(sizes, least)
        if quick != slow:
            raise AssertionError(f"{sizes} with parts of {least}: {quick}, and brute force says {slow}")


if __name__ == "__main__":
    check()
    print("the programme agrees with brute force")
