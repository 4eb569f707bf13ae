#!/usr/bin/env python3
"""check_weights.py A B...: do these models hold the same float32 weights?

Each argument is a GGUF file, an HF folder, or a folder of expected values from
make_models.py.  All are compared with the first; -0 equals +0.  Prints the
first difference of each and exits 1 if there is any.
"""

import sys

sys.dont_write_bytecode = True  # leave nothing behind in the source tree

import weights


def _first_unequal(one, other):
    """The index of the first value that differs, None if none does."""
    if one == other:
        return None
    for index, (a, b) in enumerate(zip(one, other)):
        if a != b:
            return index
    return min(len(one), len(other))


def _describe(name, one, other, index):
    if len(one.values) != len(other.values):
        return "%s: %d weights, not %d" % (name, len(other.values),
                                           len(one.values))
    # The expected values know no columns; the narrower one does.
    row, col = divmod(index, min(one.cols, other.cols))
    return "%s, row %d, column %d: %.9g, not %.9g" % (
        name, row, col, other.values[index], one.values[index])


def difference(one, other):
    """What first differs between two models, None if nothing does."""
    for name in sorted(set(one) | set(other)):
        if name not in other:
            return "%s is missing" % name
        if name not in one:
            return "%s is too many" % name
        index = _first_unequal(one[name].values, other[name].values)
        if index is not None:
            return _describe(name, one[name], other[name], index)
    return None


def _compare(reference, path):
    """Prints how the model at `path` compares; True if it is the same."""
    other = weights.load(path)
    found = difference(reference, other)
    print("%s: %s" % (path, found or "%d tensors agree" % len(other)))
    return found is None


def main(arguments):
    if len(arguments) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    reference = weights.load(arguments[0])
    same = [_compare(reference, path) for path in arguments[1:]]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
