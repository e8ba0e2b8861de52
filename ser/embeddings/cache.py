"""Embed all utterances of a manifest once, in batches of similar length, and cache the result."""

import hashlib
import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ser.batch import Padded
from ser.batching.bucketing import Plan, plan_evaluation
from ser.data.cache import one_process
from ser.data.feature_store import SKIPPING, read_features
from ser.data.manifest import Manifest, first_ten
from ser.data.store import Store
from ser.embeddings.base import Embedder
from ser.errors import DataError, SerError
from ser.files import write_atomic
from ser.sources import digest_of_code

_DIGEST_BYTES = hashlib.sha256().digest_size
_TIMES_ON_GPU = 4  # frames in a batch on a GPU / on a CPU
_MAX_UTTERANCES = 256
_BAR_AFTER_S = 2.0

_log = logging.getLogger(__name__)


def embed(
    manifest: Manifest,
    train: np.ndarray,
    embedder: Embedder,
    *,
    cache_dir: str,
    device: torch.device,
    corpus: str | None = None,
) -> np.ndarray:
    """Return the embeddings of all utterances, [N, D] float32, in the manifest's order.

    Args:
        manifest: Manifest of N utterances.
        train: Indices of the training utterances [n], from which alone the embedder computes a corpus's statistics.
        embedder: Embedder; afterwards it is on the device, with the statistics of this corpus.
        cache_dir: Folder of the cache; created if it does not exist.
        device: Device of the computation.
        corpus: Name of the corpus, for published statistics; None if it has none.

    Raises:
        DataError: A recording cannot be read or is too short, an embedding is not finite, or the cache cannot be
            written.
        ConfigError: There are no statistics of the corpus.
    """
    store = stored_features(manifest, embedder, cache_dir=cache_dir)
    _check_lengths(manifest, store, embedder)
    if embedder.needs_statistics:
        utterances = store.select(np.asarray(train, dtype=np.int64))
        embedder.fit(
            (_features(utterances, [place]).values[0] for place in range(len(utterances))), corpus=corpus
        )
    path = Path(cache_dir) / f"{_key(store, embedder)}.npy"
    with one_process(path.with_suffix(".lock")):
        known = _read_cached(path, (len(store), embedder.dim))
        if known is not None:
            return known
        embeddings = _compute(store, embedder, device, manifest.source)
        _check_finite(manifest, embeddings)
        _write_cached(path, embeddings)
        return embeddings


@contextmanager
def no_skipping() -> Iterator[None]:
    """Leave out of messages that recordings can be skipped, where none are."""
    try:
        yield
    except SerError as error:
        raise type(error)(str(error).replace(SKIPPING, "")) from error


def stored_features(manifest: Manifest, embedder: Embedder, *, cache_dir: str) -> Store:
    """Return the embedder's input features of all utterances; digests are equal for equal recordings.

    Raises:
        DataError: A recording cannot be read, or the cache cannot be written.
    """
    extractor = embedder.extractor
    settings = json.dumps(extractor.portable(embedder.features), sort_keys=True)
    return read_features(manifest, extractor, cache_dir=cache_dir, settings=settings).store


def _compute(store: Store, embedder: Embedder, device: torch.device, source: str) -> np.ndarray:
    embedder.to(device).eval()
    max_frames = embedder.max_frames * (1 if device.type == "cpu" else _TIMES_ON_GPU)
    plan = plan_evaluation(store.lengths, max_frames=max_frames, max_utterances=_MAX_UTTERANCES)
    embeddings = np.empty((len(store), embedder.dim), dtype=np.float32)

    @torch.no_grad()
    def encode(batch: list[int]) -> np.ndarray:
        encoded: np.ndarray = embedder.encode(_features(store, batch).to(device)).cpu().numpy()
        return encoded

    with (
        torch.backends.cudnn.flags(allow_tf32=False),  # rounding of TF32 depends on the shape of a batch
        _one_thread_per_operation(device) as threads,
        ThreadPoolExecutor(threads) as pool,
    ):
        waiting = [pool.submit(encode, batch) for batch in plan]
        try:
            for place, batch in enumerate(_with_bar(plan, len(store), source)):
                embeddings[batch] = waiting[place].result()
        finally:
            pool.shutdown(cancel_futures=True)  # otherwise an interrupt would wait for all batches
    return embeddings


@contextmanager
def _one_thread_per_operation(device: torch.device) -> Iterator[int]:
    """Set torch to one thread per operation; yield the number of batches to process in parallel.

    On a CPU, batches in parallel are faster than convolutions in several threads, and the result does not depend on
    the number of threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads if device.type == "cpu" else 1
    finally:
        torch.set_num_threads(threads)


def _features(store: Store, places: list[int]) -> Padded:
    """Read the features of some utterances as a batch."""
    indices = np.asarray(places)
    lengths = store.lengths[indices]
    return Padded(store.gather(indices, np.zeros_like(lengths), lengths), torch.from_numpy(lengths))


def _key(store: Store, embedder: Embedder) -> str:
    return hashlib.sha256(
        json.dumps([digest_of_code(__name__), store.fingerprint, embedder.settings()]).encode()
    ).hexdigest()


def _write_cached(path: Path, embeddings: np.ndarray) -> None:
    """Write a .npy file followed by a digest of its content."""
    buffer = io.BytesIO()
    np.save(buffer, embeddings, allow_pickle=False)
    write_atomic(path, buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())


def _read_cached(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Delete it.") from error
    array, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(array).digest() == digest:
        embeddings: np.ndarray = np.load(io.BytesIO(array), allow_pickle=False)
        if embeddings.shape == shape:
            return embeddings
    _log.warning("%s: is not as it was written; the embeddings are computed again", path)
    return None


def _check_lengths(manifest: Manifest, store: Store, embedder: Embedder) -> None:
    short = [manifest.utterances[place].id for place in np.flatnonzero(store.lengths < embedder.min_steps)]
    if short:
        needed = 1000 * embedder.min_steps * embedder.extractor.frame_shift_s
        raise DataError(
            f"{manifest.source}: {len(short)} of {len(manifest)} recordings are too short for "
            f"{type(embedder).__name__}, which needs {needed:.0f} ms:{first_ten(short)}\n"
            "Remove them from the corpus."
        )


def _check_finite(manifest: Manifest, embeddings: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if wrong.size:
        names = [manifest.utterances[place].id for place in wrong]
        raise DataError(
            f"{manifest.source}: {wrong.size} of {len(manifest)} embeddings are not finite:{first_ten(names)}\n"
            "Remove these recordings from the corpus, or give other weights."
        )


def _with_bar(plan: Plan, utterances: int, source: str) -> Iterator[list[int]]:
    """Yield the batches, with a progress bar after 2 s if the output is a terminal."""
    if not sys.stderr.isatty():
        yield from plan
        return
    from rich.console import Console  # imported here, because a start from the cache shows no bar
    from rich.markup import escape
    from rich.progress import Progress

    begin = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(f"Embedding {source}"), total=utterances, visible=False)
        for batch in plan:
            yield batch
            late = time.monotonic() - begin > _BAR_AFTER_S
            bar.update(task, advance=len(batch), visible=late)
