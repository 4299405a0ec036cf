"""`osad-bench splits`: export the splits as text, or check exported ones against the data here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def splits(
    datasets: Annotated[str, typer.Option(help="Names, folder:PATH or csv:FILE, separated by commas.")] = "elpv",
    setting: Annotated[str, typer.Option(help="general, hard or both, separated by commas.")] = "general",
    shots: Annotated[str, typer.Option(help="M, separated by commas.")] = "10",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to n-1.")] = 5,
    reserve: Annotated[int, typer.Option(min=0, help="Leave this many anomalies out of the test part at every M.")] = 0,
    dedup: Annotated[bool, typer.Option("--dedup", help="Keep one of each group of identical images.")] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to, a file a split.")] = Path("osad-splits"),
    check: Annotated[
        list[Path] | None, typer.Option(help="Check these files instead: same images, same split here?")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="OSAD_BENCH_DATA", help="Folder of the data sets' original downloads.")
    ] = None,
) -> int:
    """Write the splits that `run` uses as text files, so that other code can train and test on the same images."""
    from osad_bench.benchmark.catalogue import open_dataset
    from osad_bench.benchmark.cli.run import _names, _numbers
    from osad_bench.benchmark.errors import InputError
    from osad_bench.benchmark.protocol import known_kinds, read_split, split, write_split
    from osad_bench.datasets.duplicates import duplicate_groups
    from osad_bench.results.record import Protocol

    def groups(dataset: object, wanted: bool) -> list[tuple[str, ...]]:
        return duplicate_groups(dataset) if wanted else []  # type: ignore[arg-type]

    if check:
        different = 0
        for path in check:
            header, given = read_split(path)
            dataset = open_dataset(header["dataset"], data_root)
            protocol = Protocol.model_validate_json(header["protocol"])
            ours = split(dataset, protocol, groups(dataset, protocol.dedup))
            same = ours.digest == given.digest and dataset.fingerprint == header["fingerprint"]
            different += not same
            images = (
                "same images" if dataset.fingerprint == header["fingerprint"] else "other images (fingerprints differ)"
            )
            print(f"{path}: {'the same split' if ours.digest == given.digest else 'another split'}, {images}")
        return 1 if different else 0
    written = 0
    for name in _names(datasets) or []:
        dataset = open_dataset(name, data_root)
        for one in _names(setting) or []:
            if one not in ("general", "hard"):
                raise InputError(f"--setting {one}: expected general or hard")
            for m in _numbers("shots", shots) or []:
                for kind in known_kinds(dataset, max(m, reserve)) if one == "hard" else (None,):
                    for seed in range(seeds):
                        protocol = Protocol(
                            setting=one, shots=m, known_kind=kind, seed=seed, reserve=reserve, dedup=dedup
                        )
                        parts = [
                            dataset.full_name.replace("/", "-"),
                            one,
                            *([kind] if kind else []),
                            f"m{m}",
                            f"seed{seed}",
                        ]
                        path = out / ("_".join(parts) + ".tsv")
                        write_split(path, dataset, protocol, split(dataset, protocol, groups(dataset, dedup)))
                        print(path)
                        written += 1
    typer.echo(f"wrote {written} splits to {out}", err=True)
    return 0
