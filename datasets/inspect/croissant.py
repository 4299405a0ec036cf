"""Data set cards in Croissant (MLCommons, version 1.0), a format that programs which list data sets can read.

A card describes the samples as the benchmark reads them (id, label, kind, partition, group, digest of the bytes); it holds no
image and no path of this machine.
Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import mimetypes
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from osad_bench.datasets.base import Dataset

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

FIELDS = {
    "id": ("sc:Text", "path of the image below the data set's folder, with #left,top,right,bottom for a part of it"),
    "label": ("sc:Integer", "0 normal, 1 anomaly"),
    "kind": ("sc:Text", "kind of anomaly; empty for a normal image"),
    "partition": ("sc:Text", "train or test where the data set fixes it, else empty"),
    "group": ("sc:Text", "what the image shows, where the data set has several sorts of image, else empty"),
    "sha256": ("sc:Text", "of the bytes that the image is read from"),
}


def card(dataset: Dataset) -> dict[str, Any]:
    """Croissant card of a data set, ready to be written as JSON.

    Raises
    ------
    DatasetError
        The data set cannot be listed or one of its files cannot be read.
    """
    counts = dataset.counts
    kinds = ", ".join(f"{kind} {counts[f'kind {kind}']}" for kind in dataset.kinds)
    endings = Counter(PurePosixPath(sample.id.partition("#")[0]).suffix for sample in dataset.samples)
    digests = dataset.digests
    rows = [
        {
            "samples/id": sample.id,
            "samples/label": sample.label,
            "samples/kind": sample.kind or "",
            "samples/partition": sample.partition or "",
            "samples/group": sample.group or "",
            "samples/sha256": digests[sample.id],
        }
        for sample in dataset.samples
    ]
    described = {
        "description": (
            f"{counts['normal']} normal and {counts['anomaly']} anomalous images"
            + (f" of {dataset.domain}" if dataset.domain else "")
            + f" as osad-bench reads them for open-set supervised anomaly detection (kinds: {kinds or 'none'})."
        ),
        "url": dataset.homepage,
        "license": dataset.licence,
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": dataset.full_name.replace("/", "-"),
        **{name: value for name, value in described.items() if value},
        "version": f"{dataset.reader}.0.0+{dataset.fingerprint[:12]}",
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": f"images{ending}",
                "name": f"images{ending}",
                "encodingFormat": mimetypes.types_map.get(ending.lower(), "application/octet-stream"),
                "includes": f"**/*{ending}",
            }
            for ending in sorted(endings)
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "description": "One row per image, or part of an image, that the benchmark trains on or tests.",
                "key": {"@id": "samples/id"},
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"samples/{name}",
                        "name": f"samples/{name}",
                        "description": text,
                        "dataType": kind,
                    }
                    for name, (kind, text) in FIELDS.items()
                ],
                "data": rows,
            }
        ],
    }
