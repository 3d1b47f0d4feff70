"""The training of `ocelli learn`, done by PyTorch and Pillow.

usage: python learn_peer.py gradients FILE
       python learn_peer.py loop --weights FILE --list FILE [FLAGS]

`gradients` compares descriptors, loss and gradients that Ocelli computed with those of PyTorch's
autograd on one graph over all photos. The file is a safetensors file of

- `input.N`, (1, 3, H, W), and `descriptor.N`, (D,): what enters the network, and what leaves it;
- `triplets`, (T, 3): numbers N of query, positive and negative; `loss`, (1,): their mean loss;
- `parameter.NAME` and `gradient.NAME` for each trained tensor;
- the metadata of the network, and `margin`, the margin of the loss (default .1).

`loop` trains as `ocelli-learn train` does and reports the time: a pool of random photos, hard
triplets, the descriptors of an iteration without a graph, then photo by photo with one. Seconds
begin before the first pool and end after the last step; the network was read before.

The last line of both is one JSON object.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

# Read when PyTorch is loaded. By default threads that wait would spin, and take the cores from
# those that decode.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

import learn_torch

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-5
MIN_SIDE_PX = 32
# Draws of a query for each triplet that is wanted, before fewer are taken.
DRAWS = 50
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def with_prefix(arrays, prefix):
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def relative(found, expected):
    """The distance of two tensors over the length of the second; of zeros infinity, or 0."""
    apart, length = float((found - expected).norm()), float(expected.norm())
    return apart / length if length else float("inf") if apart else 0.0


def gradients(args):
    arrays, metadata = learn_torch.read(args.file)
    network = learn_torch.Network.of(with_prefix(arrays, "parameter."), metadata)
    expected = with_prefix(arrays, "gradient.")
    if set(expected) != set(network.parameters):
        odd = sorted(set(expected) ^ set(network.parameters))
        sys.exit(f"{args.file}: expected a gradient for each tensor of the network, differs: {odd}")
    inputs, theirs = with_prefix(arrays, "input."), with_prefix(arrays, "descriptor.")
    places = sorted(inputs, key=int)
    if places != [str(at) for at in range(len(places))] or set(places) != set(theirs):
        sys.exit(f"{args.file}: expected input.N and descriptor.N for N of 0 and up, each of both")
    tensor = torch.from_numpy
    rows = [network.descriptor(tensor(inputs[at].copy()).to(network.dtype)) for at in places]
    descriptors = torch.stack(rows)
    triplets = tensor(arrays["triplets"].astype(np.int64))
    margin = float(metadata.get("margin", "0.1"))
    losses = learn_torch.triplet_losses(descriptors, triplets, margin)
    loss = losses.mean()
    loss.backward()
    loss, losses = float(loss.detach()), losses.detach()
    apart = (descriptors.detach() - tensor(np.stack([theirs[at] for at in places]))).abs()
    (their_loss,) = arrays["loss"].tolist()
    print(f"{'tensor':32} {'shape':18} {'length':>11} {'relative':>11}")
    worst = 0.0
    for name, parameter in network.parameters.items():
        gradient = tensor(expected[name].copy()).double().reshape(parameter.shape)
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        distance = relative(found.double(), gradient)
        # Also where it is no number.
        worst = distance if not distance <= worst else worst
        shape = "x".join(map(str, parameter.shape))
        print(f"{name:32} {shape:18} {float(gradient.norm()):11.4e} {distance:11.3e}")
    found = {
        "descriptor": float(apart.max()),
        "loss": abs(loss - their_loss) / abs(their_loss) if their_loss else loss,
        "gradient": worst,
        "parameters": len(network.parameters),
        "photos": len(places),
        "active": int((losses > 0).sum()),
        "dtype": str(network.dtype).removeprefix("torch."),
    }
    print(json.dumps(found))


class Photos:
    """The photos of a list that are trained on: those of the split "train" or of none, without
    classes that have one of them only."""

    def __init__(self, path, size):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        entries = [entry for entry in entries if entry.get("split") in (None, "train")]
        counts = Counter(entry["class"] for entry in entries)
        self.entries = [entry for entry in entries if counts[entry["class"]] > 1]
        names = sorted({entry["class"] for entry in self.entries})
        if len(names) < 2:
            sys.exit(f"{path}: expected at least two classes of several photos")
        numbers = {name: number for number, name in enumerate(names)}
        self.classes = torch.tensor([numbers[entry["class"]] for entry in self.entries])
        self.root, self.size, self.failed = path.parent, size, 0

    def picture(self, item, margins=(0.0,) * 4):
        """The picture of a photo without `margins`, shares of left, top, right and bottom, its
        longest side of `size`. None for one that cannot be read."""
        entry = self.entries[item]
        try:
            with Image.open(self.root / entry["path"]) as image:
                return self._part(image, entry.get("box"), margins)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{entry['path']}: left out: {error}", file=sys.stderr)
            self.failed += 1
            return None

    def _part(self, image, box, margins):
        width, height = image.size
        if min(width, height) < MIN_SIDE_PX:
            raise ValueError(f"{width} x {height} pixels")
        x0, y0, x1, y1 = box or (0, 0, width, height)
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            raise ValueError("a box outside of the photo")
        left, top, right, bottom = margins
        x0, x1 = x0 + left * (x1 - x0), x1 - right * (x1 - x0)
        y0, y1 = y0 + top * (y1 - y0), y1 - bottom * (y1 - y0)
        scale = self.size / max(x1 - x0, y1 - y0)
        made = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
        # A JPEG is decoded at half, a quarter or an eighth where that is not less than what is
        # wanted.
        if scale < 1:
            image.draft("RGB", (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
        across, down = image.size[0] / width, image.size[1] / height
        part = (x0 * across, y0 * down, x1 * across, y1 * down)
        picture = image.convert("RGB").resize(made, Image.Resampling.BILINEAR, part)
        return picture if turn is None else picture.transpose(turn)


def ahead(make, items, threads):
    """make(item) of each item, in order. With several threads, some items are made ahead."""
    if threads == 1:
        yield from map(make, items)
        return
    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Pool:
    """Random photos with their descriptors, and their hardest triplets."""

    def __init__(self, items, rows, classes, margin, hardest):
        """Descriptors `rows`, (n, D), and `classes`, (n,), of `items`."""
        self.items, self.rows, self.classes = items, rows, classes
        self.margin, self.most, self.known = margin, hardest, {}

    def hardest(self, query):
        """Rows (k, 3) of query, positive and negative with the largest losses, all above 0."""
        if query in self.known:
            return self.known[query]
        apart = 2 - 2 * (self.rows @ self.rows[query])
        same = self.classes == self.classes[query]
        negatives = (~same).nonzero().squeeze(1)
        same[query] = False
        positives = same.nonzero().squeeze(1)
        near = apart[negatives].topk(min(self.most, len(negatives)), largest=False)
        far = apart[positives].topk(min(self.most, len(positives)))
        excess = (far.values[:, None] - near.values[None, :] + self.margin).flatten()
        best = excess.topk(min(self.most, len(excess)))
        pairs = best.indices[best.values > 0]
        count = max(1, len(near.values))
        found = torch.stack(
            [
                torch.full_like(pairs, query),
                positives[far.indices[pairs // count]],
                negatives[near.indices[pairs % count]],
            ],
            1,
        ).tolist()
        self.known[query] = found
        return found

    def draw(self, count, rng):
        """Up to `count` triplets of items: a row at random, then one of its hardest triplets."""
        triplets = []
        for _ in range(DRAWS * count):
            if len(triplets) == count:
                break
            hard = self.hardest(int(rng.integers(len(self.items))))
            if hard:
                triplets.append([self.items[row] for row in hard[rng.integers(len(hard))]])
        return triplets


class Training:
    """The loop, and what it has spent."""

    def __init__(self, args):
        self.args, self.rng = args, np.random.default_rng(args.seed)
        self.network = learn_torch.Network(args.weights, channels_last=not args.plain)
        self.photos = Photos(args.list, args.size)
        self.pool, self.pool_seconds, self.runs = None, 0.0, Counter()
        parameters = list(self.network.parameters.values())
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.sgd = torch.optim.SGD(
            parameters, lr=args.rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )

    def rows(self, name, items, picture):
        """Descriptors of those of `items` that have one, without a graph, and these items."""
        kept, rows = [], []
        with torch.inference_mode():
            for item, image in zip(items, ahead(picture, items, self.args.threads)):
                if image is None:
                    continue
                row = self.network.descriptor(self.network.input(image), torch.float32)
                self.runs[name] += 1
                if bool(row.any()):
                    kept.append(item)
                    rows.append(row)
        if not rows:
            sys.exit("expected photos that can be read, found none")
        return kept, torch.stack(rows)

    def refresh(self):
        start = time.perf_counter()
        count = min(self.args.pool, len(self.photos.entries))
        items = sorted(self.rng.choice(len(self.photos.entries), count, replace=False).tolist())
        items, rows = self.rows("pool", items, self.photos.picture)
        classes = self.photos.classes[torch.tensor(items)]
        self.pool = Pool(items, rows, classes, self.args.margin, self.args.hardest)
        self.pool_seconds += time.perf_counter() - start

    def iterate(self, iteration):
        """One step. Returns its loss, the photos, and the triplets with a loss."""
        if iteration % self.args.refresh == 0:
            self.refresh()
        triplets = self.pool.draw(self.args.triplets, self.rng)
        items = sorted({item for triplet in triplets for item in triplet})
        margins = {item: self.rng.uniform(0, self.args.crop, 4) for item in items}
        kept = {}

        def picture(item):
            if item in kept:
                return kept[item]
            made = self.photos.picture(item, margins[item])
            if self.args.keep_pictures:
                kept[item] = made
            return made

        if not items:
            self.step()
            return 0.0, 0, 0
        items, rows = self.rows("first", items, picture)
        rows.requires_grad_()
        place = {item: at for at, item in enumerate(items)}
        placed = [[place[i] for i in t] for t in triplets if all(i in place for i in t)]
        losses = learn_torch.triplet_losses(
            rows, torch.tensor(placed, dtype=torch.int64).reshape(-1, 3), self.args.margin
        )
        (losses.sum() / max(1, len(placed))).backward()
        moved = [at for at, row in enumerate(rows.grad) if bool(row.any())]
        pictures = ahead(picture, [items[at] for at in moved], self.args.threads)
        for at, image in zip(moved, pictures):
            if image is not None:
                row = self.network.descriptor(self.network.input(image), torch.float32)
                row.backward(rows.grad[at])
                self.runs["second"] += 1
        self.step()
        mean = float(losses.detach().sum()) / max(1, len(placed))
        return mean, len(items), int((losses > 0).sum())

    def step(self):
        self.sgd.step()
        # Zeros and not None, so that tensors without a gradient move on, too.
        self.sgd.zero_grad(set_to_none=False)


def loop(args):
    torch.set_num_threads(args.threads)
    training = Training(args)
    start, begun = time.perf_counter(), time.process_time()
    for iteration in range(args.iterations):
        before = time.perf_counter()
        loss, photos, active = training.iterate(iteration)
        seconds = time.perf_counter() - before
        print(
            f"iteration {iteration + 1}: loss {loss:.6f}, {active} triplets active, "
            f"{photos} photos, {seconds:.2f} s",
            flush=True,
        )
    seconds = time.perf_counter() - start
    spent, runs = time.process_time() - begun, training.runs
    found = {
        "iterations_per_s": args.iterations / seconds,
        "seconds": seconds,
        # Of all threads, on the processor.
        "cpu_seconds": spent,
        "iterations": args.iterations,
        # Pictures that passed the network, and of which part of the loop they were.
        "photos": runs.total(),
        "photos_per_s": runs.total() / seconds,
        "pool_photos": runs["pool"],
        "first_pass_photos": runs["first"],
        "second_pass_photos": runs["second"],
        "pool_seconds": training.pool_seconds,
        "failed_photos": training.photos.failed,
        "last_loss": loss,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "torch": torch.__version__,
    }
    print(json.dumps(found))


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("gradients", help="gradients of Ocelli and of autograd")
    command.add_argument("file", type=Path)
    command.set_defaults(run=gradients)
    command = commands.add_parser("loop", help="the training loop, timed")
    command.add_argument("--weights", type=Path, required=True, help="folded, with their metadata")
    command.add_argument("--list", type=Path, required=True, help="JSON lines, as for `learn`")
    for flag, default in [
        ("size", 800),
        ("iterations", 10),
        ("pool", 5000),
        ("refresh", 64),
        ("triplets", 64),
        ("hardest", 25),
        ("threads", 1),
    ]:
        command.add_argument(f"--{flag}", type=at_least_one, default=default)
    for flag, default in [("margin", 0.1), ("rate", 1e-3), ("crop", 0.05)]:
        command.add_argument(f"--{flag}", type=float, default=default)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument(
        "--plain",
        action="store_true",
        help="maps as (C, H, W) in memory, not (H, W, C), which is faster on most CPUs",
    )
    command.add_argument(
        "--keep-pictures",
        action="store_true",
        help="keep the pictures of an iteration (8-bit) between its passes: each is decoded once",
    )
    command.set_defaults(run=loop)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
